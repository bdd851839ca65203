//! A mailbox with a display name, as From wants it (RFC 5322 §3.4, RFC 2047 §5).

use crate::limits::QUOTED_MAX;
use crate::mail::address::is_atext;
use crate::mail::visible::is_hidden;

/// Longest encoded word, in octets (RFC 2047 §2).
const WORD_MAX: usize = 75;

const BEGIN: &str = "=?utf-8?q?";
const END: &str = "?=";

/// `Ann Smith <ann@mx.test>`; the name is quoted or encoded where it must be, and left out when it has no
/// visible character. Users choose their names, so no octet of a name can end the field.
pub fn display(name: Option<&str>, address: &str) -> String {
    let clean = |name: &str| {
        let spaced = name.chars().map(|c| if c.is_whitespace() { ' ' } else { c });
        let visible: String = spaced.filter(|c| !is_hidden(*c)).take(QUOTED_MAX).collect();
        visible.trim().to_owned()
    };
    match name.map(clean).filter(|name| !name.is_empty()) {
        Some(name) if name.is_ascii() => format!("{} <{address}>", ascii(&name)),
        Some(name) => format!("{}\n <{address}>", encoded(&name)),
        None => address.to_owned(),
    }
}

/// Bare words, or one quoted string.
fn ascii(name: &str) -> String {
    // A word that looks like an encoded one is quoted, so that no reader decodes it.
    let bare = |word: &str| word.bytes().all(is_atext) && !word.contains("=?");
    if name.split(' ').all(bare) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Encoded words, one a line, none of which splits a character (RFC 2047 §5).
fn encoded(name: &str) -> String {
    let mut text = BEGIN.to_owned();
    let mut length = BEGIN.len();
    for c in name.chars() {
        let piece: String = c.encode_utf8(&mut [0; 4]).bytes().map(octet).collect();
        if length + piece.len() + END.len() > WORD_MAX {
            text.push_str(&format!("{END}\n {BEGIN}"));
            length = BEGIN.len();
        }
        text.push_str(&piece);
        length += piece.len();
    }
    text + END
}

/// Q-encoding with the octets that a phrase allows (RFC 2047 §5, rule 3).
fn octet(octet: u8) -> String {
    match octet {
        b' ' => "_".to_owned(),
        b'!' | b'*' | b'+' | b'-' | b'/' => char::from(octet).to_string(),
        octet if octet.is_ascii_alphanumeric() => char::from(octet).to_string(),
        octet => format!("={octet:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::words;

    fn shown(name: &str) -> String {
        display(Some(name), "ann@mx.test")
    }

    #[test]
    fn names() {
        assert_eq!(display(None, "ann@mx.test"), "ann@mx.test");
        for (name, field) in [
            ("", "ann@mx.test"),
            (" \u{200b}\t", "ann@mx.test"),
            ("Ann Smith", "Ann Smith <ann@mx.test>"),
            ("Smith, Ann", "\"Smith, Ann\" <ann@mx.test>"),
            ("Ann J. Smith", "\"Ann J. Smith\" <ann@mx.test>"),
            ("Ann  Smith", "Ann  Smith <ann@mx.test>"),
            ("a\"b\\c", "\"a\\\"b\\\\c\" <ann@mx.test>"),
            ("=?utf-8?q?x?=", "\"=?utf-8?q?x?=\" <ann@mx.test>"),
            ("x\r\nBcc: eve@x", "\"x  Bcc: eve@x\" <ann@mx.test>"),
            ("Ann (x) \u{1b}[2J", "\"Ann (x) [2J\" <ann@mx.test>"),
            ("\u{c9}va K", "=?utf-8?q?=C3=89va_K?=\n <ann@mx.test>"),
        ] {
            assert_eq!(shown(name), field, "{name:?}");
        }
    }

    #[test]
    fn long_names_are_folded_and_read_again() {
        for name in ["\u{e9}".repeat(QUOTED_MAX), "a \u{20ac} _=?".repeat(25), "\u{1f600}".into()] {
            let field = shown(&name);
            assert!(field.lines().all(|line| line.len() <= WORD_MAX + 1), "{field}");
            let value = field.replace("\n ", " ");
            let read = words::decode(value.as_bytes());
            assert_eq!(read, format!("{} <ann@mx.test>", name.trim()));
        }
    }
}
