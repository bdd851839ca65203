//! A header field with 8 bits as one with 7: encoded words where text or a phrase may stand (RFC 2047 §5),
//! extended parameters in MIME fields (RFC 2231 §4). In an address proper neither is allowed, and a mark
//! stands for what cannot be said.

use super::hex;
use crate::mail::header::Field;

/// Longest encoded word (RFC 2047 §2).
const WORD: usize = 75;

/// Octets of a parameter in one section (RFC 2231 §3), so that lines stay short.
const SECTION: usize = 20;

/// Appends the field, which has octets over 127, without any.
pub fn seven(field: &Field<'_>, out: &mut Vec<u8>) {
    let Field { name, value, lines, .. } = *field;
    marked(&lines[..lines.len() - value.len()], out);
    let (value, end) = match value.strip_suffix(b"\n") {
        Some(value) => (value, &b"\n"[..]),
        None => (value, &b""[..]),
    };
    let name = name.to_ascii_lowercase();
    let charset = if std::str::from_utf8(value).is_ok() { "utf-8" } else { "unknown-8bit" };
    match name.as_slice() {
        b"content-type" | b"content-disposition" => parameters(value, charset, out),
        b"from" | b"to" | b"cc" | b"bcc" | b"sender" | b"reply-to" => {
            structured(value, charset, out);
        }
        name if name.starts_with(b"resent-") => structured(value, charset, out),
        _ => text(value, charset, out),
    }
    out.extend_from_slice(end);
}

/// With a mark for each octet that cannot be said.
pub fn marked(octets: &[u8], out: &mut Vec<u8>) {
    out.extend(octets.iter().map(|octet| if octet.is_ascii() { *octet } else { b'?' }));
}

fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\n' | b'\r')
}

/// Words beside each other that have 8 bits are one text: space between encoded words is not shown.
fn text(value: &[u8], charset: &str, out: &mut Vec<u8>) {
    let mut rest = value;
    // A reader takes the space away that stands between this and the next encoded word.
    let mut after_encoded = false;
    let mut space: &[u8] = b"";
    while !rest.is_empty() {
        let length = rest.iter().position(|octet| !is_space(*octet)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..length]);
        if length > 0 {
            space = &rest[..length];
        }
        rest = &rest[length..];
        let run = eight_bit_run(rest);
        if run > 0 {
            let mut words = Vec::new();
            if after_encoded {
                words.extend(space.iter().filter(|octet| matches!(octet, b' ' | b'\t')));
            }
            words.extend(rest[..run].iter().filter(|octet| !matches!(octet, b'\n' | b'\r')));
            encoded(&words, charset, out);
            after_encoded = true;
            rest = &rest[run..];
        } else {
            let end = rest.iter().position(|octet| is_space(*octet)).unwrap_or(rest.len());
            after_encoded = rest[..end].starts_with(b"=?") && rest[..end].ends_with(b"?=");
            out.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
        }
    }
}

/// How far the words go that have 8 bits each; 0 where the first has none.
fn eight_bit_run(octets: &[u8]) -> usize {
    let (mut end, mut at) = (0, 0);
    while at < octets.len() {
        let word = octets[at..].iter().position(|octet| is_space(*octet));
        let stop = word.map_or(octets.len(), |length| at + length);
        if octets[at..stop].is_ascii() {
            break;
        }
        end = stop;
        at = octets[stop..]
            .iter()
            .position(|octet| !is_space(*octet))
            .map_or(octets.len(), |n| stop + n);
    }
    end
}

/// Addresses: names, quoted or not, and comments become encoded words.
fn structured(value: &[u8], charset: &str, out: &mut Vec<u8>) {
    let mut rest = value;
    let mut in_angle = false;
    while let Some(&first) = rest.first() {
        let length = match first {
            b'"' => quoted_end(rest),
            b'(' | b')' | b'<' | b'>' | b',' | b':' | b';' | b'@' | b'[' | b']' | b'\\' => 1,
            _ => {
                let special = |octet: &u8| b"\"()<>,:;@[]\\".contains(octet);
                rest.iter().position(special).unwrap_or(rest.len())
            }
        };
        let (token, more) = rest.split_at(length);
        rest = more;
        in_angle = match first {
            b'<' => true,
            b'>' => false,
            _ => in_angle,
        };
        let is_local = more.first() == Some(&b'@') || out.last() == Some(&b'@');
        match (token.is_ascii(), first) {
            (true, _) => out.extend_from_slice(token),
            (false, _) if in_angle || is_local => marked(token, out),
            (false, b'"') => encoded(&unquoted(token), charset, out),
            (false, _) => text(token, charset, out),
        }
        // An encoded word stands alone.
        if !token.is_ascii()
            && out.ends_with(b"?=")
            && matches!(more.first(), Some(b'<' | b'"' | b'('))
        {
            out.push(b' ');
        }
    }
}

/// Where a quoted string ends, with its last quote.
fn quoted_end(octets: &[u8]) -> usize {
    let mut at = 1;
    while at < octets.len() {
        match octets[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    octets.len()
}

/// What a quoted string says.
fn unquoted(quoted: &[u8]) -> Vec<u8> {
    let mut inside = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    let mut said = Vec::new();
    let mut octets = inside.iter();
    while let Some(&octet) = octets.next() {
        match octet {
            b'\\' => said.extend(octets.next()),
            b'\n' | b'\r' => {}
            _ => said.push(octet),
        }
    }
    said
}

/// Appends encoded words, in Q with nothing in the clear that a phrase could not have (RFC 2047 §5 (3)).
fn encoded(text: &[u8], charset: &str, out: &mut Vec<u8>) {
    let start = format!("=?{charset}?Q?");
    let room = WORD - start.len() - 2;
    let mut word: Vec<u8> = Vec::new();
    let mut is_first = true;
    let mut finish = |word: &mut Vec<u8>, out: &mut Vec<u8>| {
        if !std::mem::replace(&mut is_first, false) {
            out.extend_from_slice(b"\n ");
        }
        out.extend_from_slice(start.as_bytes());
        out.append(word);
        out.extend_from_slice(b"?=");
    };
    let mut rest = text;
    while !rest.is_empty() {
        let length = if charset == "utf-8" { character(rest) } else { 1 };
        let (octets, more) = rest.split_at(length);
        rest = more;
        let mut token = Vec::new();
        for &octet in octets {
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => token.push(octet),
                b' ' => token.push(b'_'),
                _ => token.extend([b'=', hex(octet >> 4), hex(octet & 15)]),
            }
        }
        if word.len() + token.len() > room {
            finish(&mut word, out);
        }
        word.append(&mut token);
    }
    finish(&mut word, out);
}

/// The octets of the first character in UTF-8.
fn character(octets: &[u8]) -> usize {
    1 + octets[1..].iter().take_while(|octet| (0x80..0xc0).contains(*octet)).count()
}

/// A MIME field: each parameter with 8 bits in its extended form.
fn parameters(value: &[u8], charset: &str, out: &mut Vec<u8>) {
    let mut rest = value;
    let mut is_first = true;
    while !rest.is_empty() || is_first {
        let length = parameter_end(rest);
        let (parameter, more) = rest.split_at(length);
        let equals = memchr::memchr(b'=', parameter).filter(|_| !is_first);
        match equals {
            Some(at) if !parameter.is_ascii() && parameter[..at].is_ascii() => {
                extended(&parameter[..at], &parameter[at + 1..], charset, out);
            }
            _ => marked(parameter, out),
        }
        is_first = false;
        rest = match more.split_first() {
            Some((semicolon, more)) => {
                out.push(*semicolon);
                more
            }
            None => more,
        };
    }
}

/// Where the next semicolon is that is not quoted.
fn parameter_end(octets: &[u8]) -> usize {
    let mut at = 0;
    while at < octets.len() {
        match octets[at] {
            b'"' => at += quoted_end(&octets[at..]),
            b';' => return at,
            _ => at += 1,
        }
    }
    octets.len()
}

fn extended(name: &[u8], value: &[u8], charset: &str, out: &mut Vec<u8>) {
    let space = name.iter().position(|octet| !is_space(*octet)).unwrap_or(name.len());
    out.extend_from_slice(&name[..space]);
    let name = name.trim_ascii();
    let value = value.trim_ascii();
    // Extended already, but with octets that should have been written as numbers.
    if name.ends_with(b"*") {
        out.extend_from_slice(name);
        out.push(b'=');
        return value.iter().for_each(|octet| match octet.is_ascii() {
            true => out.push(*octet),
            false => out.extend([b'%', hex(octet >> 4), hex(octet & 15)]),
        });
    }
    let said = if value.starts_with(b"\"") { unquoted(value) } else { value.to_vec() };
    let is_one = said.len() <= SECTION;
    for (number, section) in said.chunks(SECTION).enumerate() {
        if number > 0 {
            out.extend_from_slice(b";\n ");
        }
        out.extend_from_slice(name);
        if !is_one {
            out.extend_from_slice(format!("*{number}").as_bytes());
        }
        out.extend_from_slice(b"*=");
        if number == 0 {
            out.extend_from_slice(format!("{charset}''").as_bytes());
        }
        for &octet in section {
            match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => out.push(octet),
                _ => out.extend([b'%', hex(octet >> 4), hex(octet & 15)]),
            }
        }
    }
}
