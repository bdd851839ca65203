//! The few header fields that a listing shows, read from the head of a message.
//!
//! Values stay raw octets, unfolded; `words` decodes them. Never fails: whatever a message begins
//! with, there is a field or there is none. Grammar: RFC 5322 §2.2, with §4.5's obsolete space
//! before the colon.

use crate::mail::header::is_mbox_from;
use crate::mail::words::VALUE_MAX;
use memchr::memchr;

/// How far into a message a header is read, in octets.
pub const HEADER_MAX: usize = 64 * 1024;

/// Raw values of the first fields of these names; none where the header has no such field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    pub from: Option<Vec<u8>>,
    pub subject: Option<Vec<u8>>,
}

impl Fields {
    /// Reads the header at the start of `head`, up to the empty line, the end, or [`HEADER_MAX`]. As
    /// in `header`, a line that is no field ends it: a message without header begins with its text.
    pub fn read(head: &[u8]) -> Fields {
        let mut fields = Fields::default();
        let mut rest = &head[..head.len().min(HEADER_MAX)];
        // The value that a continuation line adds to; none under a field we do not show.
        let mut open: Option<&mut Vec<u8>> = None;
        while let Some(line) = next_line(&mut rest) {
            if line.first().is_some_and(|&octet| is_space(octet)) {
                if let Some(value) = &mut open {
                    unfold(value, line);
                }
                continue;
            }
            open = match split(line) {
                Some((name, value)) => fields.begin(name, value),
                // Of an mbox; some programs leave it in the header.
                None if is_mbox_from(line) => None,
                None => break,
            };
        }
        for value in [&mut fields.from, &mut fields.subject].into_iter().flatten() {
            *value = value.trim_ascii().to_vec();
        }
        fields
    }

    /// Starts the value of a field that is shown, unless one of its name came before.
    fn begin(&mut self, name: &[u8], text: &[u8]) -> Option<&mut Vec<u8>> {
        let field = if name.eq_ignore_ascii_case(b"from") {
            &mut self.from
        } else if name.eq_ignore_ascii_case(b"subject") {
            &mut self.subject
        } else {
            return None;
        };
        if field.is_some() {
            return None;
        }
        let value = field.insert(Vec::new());
        append(value, text.iter().copied());
        Some(value)
    }
}

/// Name and text of a field's first line; none when the name is no name (RFC 5322 §2.2, §4.5).
pub fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', line)?;
    let name = line[..colon].trim_ascii_end();
    let good = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    good.then_some((name, &line[colon + 1..]))
}

/// Whether the header ends inside `head`, so that reading on would show nothing new.
pub fn is_complete(head: &[u8]) -> bool {
    let mut rest = head;
    while let Some(line) = next_line(&mut rest) {
        if line.is_empty() {
            return true;
        }
    }
    false
}

/// Takes the next line off `rest`, without its LF or CR LF; the last one may lack it.
pub fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = memchr(b'\n', rest).unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 1..).unwrap_or_default();
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Adds a continuation line (RFC 5322 §2.2.3). The tabs that it is folded with become spaces: they
/// belong to the fold, and a reader should not see them as controls.
pub fn unfold(value: &mut Vec<u8>, line: &[u8]) {
    let spaces = line.iter().take_while(|&&octet| is_space(octet)).count();
    append(value, line[..spaces].iter().map(|_| b' '));
    append(value, line[spaces..].iter().copied());
}

/// Adds as much as [`VALUE_MAX`] leaves room for.
pub fn append(value: &mut Vec<u8>, octets: impl Iterator<Item = u8>) {
    let room = VALUE_MAX.saturating_sub(value.len());
    value.extend(octets.take(room));
}

pub fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
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
        let late = [b"X: y\n".repeat(HEADER_MAX / 5 + 1), b"Subject: late\n".to_vec()].concat();
        assert_eq!(Fields::read(&late), Fields::default());
    }

    #[test]
    fn the_end_of_a_header_is_seen() {
        for (head, complete) in [
            (&b"A: b\n\nx"[..], true),
            (b"A: b\r\n\r\n", true),
            (b"\n", true),
            (b"A: b\n", false),
            (b"A: b", false),
            (b"", false),
        ] {
            assert_eq!(is_complete(head), complete, "{head:?}");
        }
    }
}
