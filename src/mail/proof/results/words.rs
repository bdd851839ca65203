//! Words of Authentication-Results between comments, white space and signs (RFC 8601 §2.2, RFC 5322 §3.2.2).

use crate::mail::tags::is_space;

/// Reads a value from its beginning. Comments and white space before each thing are passed over; a comment
/// or quoted string without end fits nothing.
pub struct ResultWords<'a> {
    rest: &'a [u8],
}

/// Where a comment that begins here ends; none where it has no end. Comments lie within each other as deep
/// as they like.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(octet) = text.get(at) {
        match octet {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at.min(text.len()));
        }
    }
    None
}

/// A quoted string that begins here, without its quotes, and what follows it. Line ends in it are those of
/// folding.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let (mut found, mut at) = (Vec::new(), 1);
    loop {
        match text.get(at)? {
            b'"' => return Some((found, &text[at + 1..])),
            b'\\' => {
                at += 1;
                found.push(*text.get(at)?);
            }
            b'\r' | b'\n' => {}
            octet => found.push(*octet),
        }
        at += 1;
    }
}

impl<'a> ResultWords<'a> {
    pub fn new(rest: &'a [u8]) -> ResultWords<'a> {
        ResultWords { rest }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes over white space and whole comments.
    fn skip(&mut self) {
        loop {
            match self.rest.first() {
                Some(octet) if is_space(*octet) => self.rest = &self.rest[1..],
                Some(b'(') => match comment(self.rest) {
                    Some(end) => self.rest = &self.rest[end..],
                    None => return,
                },
                _ => return,
            }
        }
    }

    pub fn is_over(&mut self) -> bool {
        self.skip();
        self.rest.is_empty()
    }

    pub fn is_at(&mut self, sign: u8) -> bool {
        self.skip();
        self.rest.first() == Some(&sign)
    }

    /// Takes this sign, where it is the next.
    pub fn sign(&mut self, sign: u8) -> bool {
        let is_next = self.is_at(sign);
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    /// Takes letters, digits, `-` and `_`; gives them in lower case.
    pub fn keyword(&mut self) -> Option<String> {
        self.skip();
        let good = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
        let end = self.rest.iter().position(|octet| !good(octet)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (end > 0).then(|| word.iter().map(|octet| char::from(octet.to_ascii_lowercase())).collect())
    }

    /// Takes a value: quoted strings, and all else up to white space, a comment or a `;`, as they follow each
    /// other.
    pub fn value(&mut self) -> Option<String> {
        self.skip();
        let mut found = Vec::new();
        let mut is_there = false;
        loop {
            match self.rest.first() {
                Some(b'"') => {
                    let (text, rest) = quoted(self.rest)?;
                    // A local part keeps its quotes.
                    if rest.first() == Some(&b'@') {
                        let written = self.rest.len() - rest.len();
                        found.extend_from_slice(&self.rest[..written]);
                    } else {
                        found.extend(text);
                    }
                    self.rest = rest;
                }
                Some(octet) if !is_space(*octet) && !b"(;".contains(octet) => {
                    if octet.is_ascii_control() {
                        return None;
                    }
                    found.push(*octet);
                    self.rest = &self.rest[1..];
                }
                _ => break,
            }
            is_there = true;
        }
        is_there.then(|| String::from_utf8_lossy(&found).into_owned())
    }
}

/// What may be the name that stands first in a value: the word there, with or without quotes, up to any
/// octet that no token has (RFC 2045 §5.1); and all up to white space, where that is more. Where a comment or
/// quoted string without end stands there: all words before the first `;`.
pub fn first(value: &[u8]) -> Vec<Vec<u8>> {
    let ends = |octet: &u8| is_space(*octet) || b"()<>@,;:\\\"/[]?=".contains(octet);
    let mut words = ResultWords::new(value);
    words.skip();
    let rest = words.rest;
    let word = match rest.first() {
        Some(b'(') => None,
        Some(b'"') => quoted(rest).map(|(found, _)| found.trim_ascii().to_vec()),
        _ => {
            let end = rest.iter().position(ends).unwrap_or(rest.len());
            Some(rest[..end].to_vec())
        }
    };
    match word {
        Some(word) => {
            let whole = words.value().map(String::into_bytes);
            [word].into_iter().chain(whole).collect()
        }
        None => {
            let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
            rest[..end].split(ends).map(<[u8]>::to_vec).collect()
        }
    }
}
