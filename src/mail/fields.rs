//! The few header fields that a listing shows, read from the head of a message.
//!
//! Values stay raw octets, unfolded; [`super::words`] decodes them. Never fails: a message has a field or it
//! has not. [`super::header`] decides what a field is.

use super::header::{Header, below_folds};
use super::words::VALUE_MAX;

/// How far into a message a listing looks for its fields, in octets.
pub const LISTED_MAX: usize = 64 * 1024;

/// Raw values of the first fields of these names; none where the header has no such field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub from: Option<Vec<u8>>,
    pub subject: Option<Vec<u8>>,
}

impl Fields {
    /// Reads the header at the start of `head`, as far as [`LISTED_MAX`].
    pub fn read(head: &[u8]) -> Fields {
        let header = Header::read(below_folds(&head[..head.len().min(LISTED_MAX)]));
        let first = |name| header.named(name).next().map(|field| field.unfolded(VALUE_MAX));
        Fields { from: first("From"), subject: first("Subject") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &[u8], from: Option<&str>, subject: Option<&str>) {
        let fields = Fields::read(head);
        let text = |value: &Option<Vec<u8>>| {
            value.as_ref().map(|octets| String::from_utf8_lossy(octets).into_owned())
        };
        assert_eq!(text(&fields.from).as_deref(), from);
        assert_eq!(text(&fields.subject).as_deref(), subject);
    }

    #[test]
    fn fields_are_found() {
        check(b"From: a@b\nSubject: hello\n\nbody", Some("a@b"), Some("hello"));
        check(b"FROM \t:a@b\r\nsUBJECT:\r\n\r\nbody", Some("a@b"), Some(""));
        check(b"Subject: one\nSubject: two\n\n", None, Some("one"));
        check(b"X: y\n From: no\nSubject: a\n  b\n\tc \n\n", None, Some("a  b c"));
        check(
            b"Subject:\n =?utf-8?q?a?=\n =?utf-8?q?b?=\n",
            None,
            Some("=?utf-8?q?a?= =?utf-8?q?b?="),
        );
        check(b"Subject: end", None, Some("end"));
        check(b"X-Subject: no\nSubject2: no\n\nSubject: body", None, None);
        check(b"Subject: a\n \nFrom: b\n", Some("b"), Some("a"));
    }

    #[test]
    fn broken_headers_are_fine() {
        check(b"", None, None);
        check(b"\n", None, None);
        check(b"\nSubject: body\n", None, None);
        check(b"\r\nSubject: body\r\n", None, None);
        check(b" starts folded\nSubject: a\n\n", None, Some("a"));
        check(b"From nobody Mon Jan  1 00:00\nFrom: a@b\n>From x\nX: y", Some("a@b"), None);
        check(b"From: a@b\nHello,\nSubject: body\n", Some("a@b"), None);
        check(b"Sub ject: no\nSubject: body\n", None, None);
        check(b": no name\nSubject: body\n", None, None);
        check(b"Subject: \0a\0\n", None, Some("\0a\0"));
        check(b"\0\0\0", None, None);
        check(b"Subject: a\rb\n", None, Some("a\rb"));
        check(b"Subject: \xff\n", None, Some("\u{fffd}"));
    }

    #[test]
    fn sizes_are_bounded() {
        let mut long = b"Subject: ".to_vec();
        long.resize(1 << 20, b'a');
        let subject = Fields::read(&long).subject.unwrap_or_default();
        assert_eq!(subject.len(), VALUE_MAX - 1); // trimmed
        let folded = [
            b"Subject: a
"
            .to_vec(),
            b" b
"
            .repeat(30_000),
        ]
        .concat();
        let subject = Fields::read(&folded).subject.unwrap_or_default();
        assert_eq!(subject.len(), VALUE_MAX - 1); // trimmed
        let late = [b"X: y\n".repeat(LISTED_MAX / 5 + 1), b"Subject: late\n".to_vec()].concat();
        assert_eq!(Fields::read(&late), Fields::default());
    }
}
