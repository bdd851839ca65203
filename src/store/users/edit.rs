//! Changes one user in the text of a users file; comments, unknown lines, their order and the other
//! fields of a line stay octet for octet. Pure: [`super::super::table::change`] writes it.

use super::name;
use crate::mail::address::Domain;

/// The text with this password for a user: in his line where he has one, in a new one at the end
/// otherwise. `field`: `{SCHEME}hash`, without a colon.
pub fn set(text: &[u8], domain: &Domain, user: &str, field: &str) -> Vec<u8> {
    let mut changed = Vec::with_capacity(text.len() + user.len() + field.len() + 8);
    let mut found = false;
    for line in text.split_inclusive(|&octet| octet == b'\n') {
        // Of two lines the first one counts.
        match !found && is_of(line, domain, user) {
            true => {
                found = true;
                push_with(&mut changed, line, field);
            }
            false => changed.extend_from_slice(line),
        }
    }
    if !found {
        if !changed.is_empty() && !changed.ends_with(b"\n") {
            changed.push(b'\n');
        }
        // As the contract writes it; Dovecot counts fields.
        changed.extend_from_slice(format!("{user}:{field}:::::\n").as_bytes());
    }
    changed
}

/// The text without a user, all lines of him; none when there was no line.
pub fn remove(text: &[u8], domain: &Domain, user: &str) -> Option<Vec<u8>> {
    let lines = text.split_inclusive(|&octet| octet == b'\n');
    let kept = lines.filter(|line| !is_of(line, domain, user)).collect::<Vec<_>>().concat();
    (kept.len() < text.len()).then_some(kept)
}

/// Whether a line is this user's; a bad one is nobody's.
fn is_of(line: &[u8], domain: &Domain, user: &str) -> bool {
    let line = line.trim_ascii();
    let is_comment = line.is_empty() || line.starts_with(b"#");
    !is_comment && name(line, domain).is_ok_and(|name| name.eq_ignore_ascii_case(user))
}

/// The line with another password.
fn push_with(changed: &mut Vec<u8>, line: &[u8], field: &str) {
    let colon = |from: usize| line[from..].iter().position(|&octet| octet == b':');
    // A line that is somebody's has a colon behind the name.
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
                 ann:again\n",
            ),
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
    }

    #[test]
    fn octets_that_are_no_text_stay() {
        let changed = set(b"\xff\xfe:x\nann:y\n", &domain(), "ann", "z");
        assert_eq!(changed, b"\xff\xfe:x\nann:z\n");
    }
}
