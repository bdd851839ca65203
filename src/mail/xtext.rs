//! How the parameters of MAIL and RCPT write text that must hold no space: xtext (RFC 3461 §4), and
//! addresses in UTF-8 as ASCII (RFC 6533 §3). Pure.

use crate::limits::ENVID_MAX;

/// What xtext means: `+` and two upper-case hex digits are one octet, other printable octets but
/// `+` and `=` stand for themselves (RFC 3461 §4).
pub fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    let (mut decoded, mut rest) = (Vec::new(), text);
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(match (first, after) {
            (b'+', [high, low, after @ ..]) => {
                rest = after;
                hex(*high)? << 4 | hex(*low)?
            }
            (b'+' | b'=', _) => return None,
            (33..=126, _) => *first,
            _ => return None,
        });
    }
    Some(decoded)
}

/// Text as xtext; see [`decode`].
pub fn encode(text: &[u8]) -> String {
    let plain = |b: u8| (33..=126).contains(&b) && !matches!(b, b'+' | b'=');
    let write = |&b: &u8| if plain(b) { char::from(b).to_string() } else { format!("+{b:02X}") };
    text.iter().map(write).collect()
}

/// Whether a text can be an ENVID: up to 100 octets that mean printable ones (RFC 3461 §4.4).
pub fn is_envid(text: &[u8]) -> bool {
    let printable = |meant: Vec<u8>| meant.iter().all(|b| (32..=126).contains(b));
    (1..=ENVID_MAX).contains(&text.len()) && decode(text).is_some_and(printable)
}

/// What an address of the type `utf-8` means, in which each backslash begins a `\x{HEX}`, which is a
/// character (RFC 6533 §3).
pub fn decode_unicode(address: &str) -> Option<String> {
    let mut parts = address.split('\\');
    let mut decoded = parts.next()?.to_owned();
    for part in parts {
        let (hex, rest) = part.strip_prefix("x{")?.split_once('}')?;
        let good = (2..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(hex, 16).ok().filter(|_| good)?;
        decoded.push(char::from_u32(code)?);
        decoded.push_str(rest);
    }
    Some(decoded)
}

/// An address as `utf-8-addr-xtext`, all in ASCII (RFC 6533 §3); see [`decode_unicode`].
pub fn encode_unicode(address: &str) -> String {
    let escaped = |c: char| match c {
        '\\' | '+' | '=' => escape(c),
        '!'..='~' => c.to_string(),
        _ => escape(c),
    };
    address.chars().map(escaped).collect()
}

/// One character as ASCII, `\x{E9}`.
pub fn escape(c: char) -> String {
    format!("\\x{{{:02X}}}", u32::from(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext() {
        for (text, meant) in [("a+2Bb+3D", Some("a+b=")), ("", Some("")), ("+20", Some(" "))] {
            assert_eq!(decode(text.as_bytes()), meant.map(|m| m.as_bytes().to_vec()));
        }
        for bad in ["a=b", "+2b", "+", "+2", "a b", "\u{e9}", "+G0"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn unicode_and_back() {
        for (text, meant) in [
            ("\\x{E9}va@mx.test", "\u{e9}va@mx.test"),
            ("\\x{6771}\\x{4EAC}@mx.test", "\u{6771}\u{4eac}@mx.test"),
            ("a\\x{5C}\\x{2B}\\x{3D}\\x{20}b@mx.test", "a\\+= b@mx.test"),
            ("\\x{1F600}", "\u{1f600}"),
            ("", ""),
        ] {
            assert_eq!(decode_unicode(text).as_deref(), Some(meant));
            assert_eq!(encode_unicode(meant), text);
        }
        assert_eq!(decode_unicode("\u{e9}\\x{e9}").as_deref(), Some("\u{e9}\u{e9}"));
        for bad in ["\\", "\\x", "\\x{E9", "\\x{9}", "\\x{+9}", "\\x{D800}", "\\x{1234567}", "\\e"]
        {
            assert_eq!(decode_unicode(bad), None, "{bad}");
        }
    }
}
