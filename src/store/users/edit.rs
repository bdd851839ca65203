//! Changes one user in the text of a users file; comments, unknown lines, their order and the other
//! fields of a line stay octet for octet. Pure: [`super::super::table::change`] writes it.

use super::{entries, name};
use crate::mail::address::Domain;
use std::ops::Range;

/// The text with this password for a user: in all lines of the user, or in a new line at the end where there is
/// none. `field`: `{SCHEME}hash`, without a colon.
pub fn set(text: &[u8], domain: &Domain, user: &str, field: &str) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len() + user.len() + field.len() + 8);
    let (mut found, mut done) = (false, 0);
    // Of several lines the first one counts here. The others are changed too, because another program may read
    // one of them.
    for range in lines_of(text, domain, user) {
        changed.extend_from_slice(&text[done..range.start]);
        done = range.end;
        push_with(&mut changed, &text[range], field);
        found = true;
    }
    changed.extend_from_slice(&text[done..]);
    if !found {
        let is_new_line = crate::store::table::without_mark(&changed).is_empty();
        if !is_new_line && !changed.ends_with(b"\n") {
            changed.push(b'\n');
        }
        // With all colons, because Dovecot counts fields.
        changed.extend_from_slice(format!("{user}:{field}:::::\n").as_bytes());
    }
    changed
}

/// The text without all lines of a user; none when there was no line.
pub fn remove(text: &[u8], domain: &Domain, user: &str) -> Option<Vec<u8>> {
    let (mut kept, mut done) = (Vec::with_capacity(text.len()), 0);
    for range in lines_of(text, domain, user) {
        kept.extend_from_slice(&text[done..range.start]);
        done = range.end;
    }
    kept.extend_from_slice(&text[done..]);
    (kept.len() < text.len()).then_some(kept)
}

/// The places of a user's lines; a bad line belongs to no user.
fn lines_of(text: &[u8], domain: &Domain, user: &str) -> impl Iterator<Item = Range<usize>> {
    let is_his = move |line| name(line, domain).is_ok_and(|name| name.eq_ignore_ascii_case(user));
    entries(text).filter(move |entry| is_his(entry.line)).map(|entry| entry.range)
}

/// The line with another password.
fn push_with(changed: &mut Vec<u8>, line: &[u8], field: &str) {
    let colon = |from: usize| line[from..].iter().position(|&octet| octet == b':');
    // A user's line has a colon behind the name.
    let start = colon(0).map_or(line.len(), |at| at + 1);
    let end_of_line = line.trim_ascii_end().len().max(start);
    let end = colon(start).map_or(end_of_line, |length| start + length);
    changed.extend_from_slice(&line[..start]);
    changed.extend_from_slice(field.as_bytes());
    changed.extend_from_slice(&line[end..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> Domain {
        Domain::parse("mx.test").unwrap()
    }

    fn set_in(text: &str) -> String {
        String::from_utf8(set(text.as_bytes(), &domain(), "ann", "{PLAIN}new")).unwrap()
    }

    #[test]
    fn a_password_is_set() {
        for (text, expected) in [
            ("", "ann:{PLAIN}new:::::\n"),
            ("# people\n", "# people\nann:{PLAIN}new:::::\n"),
            ("bob:x", "bob:x\nann:{PLAIN}new:::::\n"),
            ("ann:{PLAIN}old:::::\n", "ann:{PLAIN}new:::::\n"),
            (
                "bob:x\r\n\nAnn@MX.test:old:1:2:Ann Smith:/home/ann:/bin/sh:a=b\nann:again\n",
                "bob:x\r\n\nAnn@MX.test:{PLAIN}new:1:2:Ann Smith:/home/ann:/bin/sh:a=b\n\
                 ann:{PLAIN}new\n",
            ),
            // A mark that an editor has put on top is part of no name.
            ("\u{feff}ann:old:::::\n", "\u{feff}ann:{PLAIN}new:::::\n"),
            (
                "\u{feff}ann:old\r\nbob:x\r\nANN:y\r\n",
                "\u{feff}ann:{PLAIN}new\r\nbob:x\r\nANN:{PLAIN}new\r\n",
            ),
            ("\u{feff}", "\u{feff}ann:{PLAIN}new:::::\n"),
            ("ann:", "ann:{PLAIN}new"),
            ("ann:\r\n", "ann:{PLAIN}new\r\n"),
            (
                "#ann:x\nann@far.test:y\nno colon\n",
                "#ann:x\nann@far.test:y\nno colon\nann:{PLAIN}new:::::\n",
            ),
        ] {
            assert_eq!(set_in(text), expected, "{text:?}");
            assert_eq!(set_in(expected), expected, "it is there already");
        }
    }

    #[test]
    fn a_user_is_removed() {
        let without = |text: &str| remove(text.as_bytes(), &domain(), "ANN");
        assert_eq!(without("bob:x\n#ann:y\n"), None);
        assert_eq!(without(""), None);
        let text = "# one\nann:x\n\nbob:y\nann@mx.test:z";
        assert_eq!(without(text).unwrap(), b"# one\n\nbob:y\n");
        let text = "\u{feff}\u{feff}ann:x\r\nbob:y\r\nAnn@MX.test:z\r\n";
        assert_eq!(without(text).unwrap(), "\u{feff}\u{feff}bob:y\r\n".as_bytes());
    }

    /// What was changed is what the reader finds, however the file was written.
    #[test]
    fn the_reader_finds_what_was_changed() {
        let file = std::path::Path::new("u");
        for mark in ["", "\u{feff}", "\u{feff}\u{feff}"] {
            for end in ["\n", "\r\n", " \t\r\n"] {
                for name in ["ann", "ANN", "ann@mx.test", " Ann@MX.TEST"] {
                    let line = format!("{name}:{{PLAIN}}old:::::{end}");
                    let text = format!("{mark}{line}bob:{{PLAIN}}x{end}{line}");
                    let changed = set(text.as_bytes(), &domain(), "ann", "{PLAIN}new");
                    let (users, _) = super::super::Users::parse(&changed, file, &domain());
                    let password = users.password("ann").unwrap();
                    assert_eq!(password.verify("new"), Ok(true), "{text:?}");
                    assert!(!String::from_utf8(changed).unwrap().contains("old"), "{text:?}");
                    let removed = remove(text.as_bytes(), &domain(), "ann").unwrap();
                    let (users, _) = super::super::Users::parse(&removed, file, &domain());
                    assert_eq!(
                        (users.get("ann"), users.get("bob")),
                        (None, Some("bob")),
                        "{text:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn octets_that_are_no_text_stay() {
        let changed = set(b"\xff\xfe:x\nann:y\n", &domain(), "ann", "z");
        assert_eq!(changed, b"\xff\xfe:x\nann:z\n");
    }
}
