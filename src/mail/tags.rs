//! Lists of tags, `v=1; a=b; c=`, as DKIM, ARC, DMARC, MTA-STS and TLS reports write them (RFC 6376 §3.2).
//! Pure.
//!
//! Knows no tag by name. White space and line ends (LF or CR LF) around names and values do not count; those
//! inside a value stay in it. Names are case-sensitive, and one that stands twice is an error.

use crate::limits::trust::TAGS_MAX;
use std::fmt;
use std::ops::Range;

/// One tag, where it lies in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// A letter, then letters, digits and `_`.
    pub name: &'a str,
    /// Without white space around it; may be empty. Printable ASCII, octets from 128 on, and white space
    /// inside.
    pub value: &'a [u8],
    /// All between `=` and `;`, in octets of the text: what is left out where a signature signs itself
    /// (RFC 6376 §3.7).
    pub span: Range<usize>,
}

/// The tags of a text in their order, each name once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags<'a>(Vec<Tag<'a>>);

/// Why a text is no list of tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadTags {
    /// Nothing, or nothing before a `;`.
    Empty,
    /// A piece without `=`, or with another name before it than the grammar has; cut to a few octets.
    Name(String),
    /// A control character in the value of this tag.
    Value(String),
    /// This tag stands twice.
    Twice(String),
    /// More than [`TAGS_MAX`].
    TooMany,
}

impl fmt::Display for BadTags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTags::Empty => f.write_str("an empty tag"),
            BadTags::Name(text) => write!(f, "\"{text}\" is no tag"),
            BadTags::Value(name) => write!(f, "a control character in {name}="),
            BadTags::Twice(name) => write!(f, "{name}= stands twice"),
            BadTags::TooMany => write!(f, "more than {TAGS_MAX} tags"),
        }
    }
}

impl<'a> Tags<'a> {
    /// Reads a whole text; one `;` may end it.
    ///
    /// Fails with the first thing that the grammar does not allow.
    pub fn read(text: &'a [u8]) -> Result<Tags<'a>, BadTags> {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in pieces(text) {
            let tag = tag?;
            if tags.len() == TAGS_MAX {
                return Err(BadTags::TooMany);
            }
            if tags.iter().any(|known| known.name == tag.name) {
                return Err(BadTags::Twice(shown(tag.name.as_bytes())));
            }
            tags.push(tag);
        }
        if tags.is_empty() { Err(BadTags::Empty) } else { Ok(Tags(tags)) }
    }

    /// In the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = &Tag<'a>> {
        self.0.iter()
    }

    /// The tag of this name.
    pub fn tag(&self, name: &str) -> Option<&Tag<'a>> {
        self.0.iter().find(|tag| tag.name == name)
    }

    /// The value of the tag of this name.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.tag(name).map(|tag| tag.value)
    }
}

/// The pieces of a text between `;`, each read for itself, for readers that pass over broken ones (DMARC,
/// RFC 9989): neither names that stand twice nor their number are looked at. What follows the last `;` is
/// a piece only where it is not white space.
pub fn pieces(text: &[u8]) -> impl Iterator<Item = Result<Tag<'_>, BadTags>> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let end = memchr::memchr(b';', &text[from..]).map(|at| from + at);
        start = end.map(|end| end + 1);
        let range = from..end.unwrap_or(text.len());
        if end.is_none() && trimmed(&text[range.clone()]).is_empty() {
            return None;
        }
        Some(piece(text, range))
    })
}

fn piece(text: &[u8], range: Range<usize>) -> Result<Tag<'_>, BadTags> {
    let whole = &text[range.clone()];
    if trimmed(whole).is_empty() {
        return Err(BadTags::Empty);
    }
    let bad = || BadTags::Name(shown(trimmed(whole)));
    let equals = memchr::memchr(b'=', whole).ok_or_else(bad)?;
    let name = trimmed(&whole[..equals]);
    let follows = |octet: &u8| octet.is_ascii_alphanumeric() || *octet == b'_';
    if !(name.first().is_some_and(u8::is_ascii_alphabetic) && name.iter().all(follows)) {
        return Err(bad());
    }
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    let value = trimmed(&whole[equals + 1..]);
    if value.iter().any(|octet| octet.is_ascii_control() && !is_space(*octet)) {
        return Err(BadTags::Value(shown(name.as_bytes())));
    }
    Ok(Tag { name, value, span: range.start + equals + 1..range.end })
}

/// White space of a folded field.
pub fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

/// A text without white space around it.
pub fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// A value without any white space, as base64 and lists are read (RFC 6376 §3.5).
pub fn without_space(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|octet| !is_space(*octet)).collect()
}

/// The first octets of a text that a peer wrote, fit for a reason.
pub fn shown(text: &[u8]) -> String {
    const SHOWN: usize = 40;
    let cut = &text[..text.len().min(SHOWN)];
    let dots = if cut.len() < text.len() { "..." } else { "" };
    format!("{}{dots}", cut.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (text, expected) in [
            ("v=1", vec![("v", "1")]),
            ("v=1;", vec![("v", "1")]),
            (" v = 1 ; \n", vec![("v", "1")]),
            ("a=b\n c ;d=\r\n\te=f;_=", vec![]),
            ("a=b\n c ;d=\r\n\te=f;g_1=", vec![("a", "b\n c"), ("d", "e=f"), ("g_1", "")]),
            ("p=;P=x", vec![("p", ""), ("P", "x")]),
            ("n=h\u{e4}", vec![("n", "h\u{e4}")]),
        ] {
            let read = Tags::read(text.as_bytes());
            let pair = |tag: &Tag| (tag.name.to_owned(), tag.value.to_vec());
            let found: Vec<_> = read.iter().flat_map(|tags| tags.iter()).map(pair).collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect();
            assert_eq!(found, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list() {
        let bad = |text: &[u8]| Tags::read(text).unwrap_err();
        for text in ["", " \n ", ";", "v=1;;a=b", "v=1; ;"] {
            assert_eq!(bad(text.as_bytes()), BadTags::Empty, "{text:?}");
        }
        for text in ["v", "=1", "1v=1", "v =1; a b=c", "v\u{e4}=1", "v-w=1"] {
            assert!(matches!(bad(text.as_bytes()), BadTags::Name(_)), "{text:?}");
        }
        assert_eq!(bad(b"a=b;c=\0"), BadTags::Value("c".into()));
        assert_eq!(bad(b"a=b;c=d;a=b"), BadTags::Twice("a".into()));
        let many: Vec<u8> = (0..=TAGS_MAX).flat_map(|at| format!("t{at}=;").into_bytes()).collect();
        assert_eq!(bad(&many), BadTags::TooMany);
        assert_eq!(
            bad(&b"x".repeat(99)).to_string(),
            format!("\"{}...\" is no tag", "x".repeat(40))
        );
    }

    #[test]
    fn spans_reach_from_sign_to_semicolon() {
        let text = b"a=1; b = x y \n z ;c=";
        let tags = Tags::read(text).unwrap();
        let span = |name| tags.tag(name).unwrap().span.clone();
        assert_eq!(&text[span("b")], b" x y \n z ");
        assert_eq!(span("c"), 20..20);
        assert_eq!((tags.get("b"), tags.get("d")), (Some(&b"x y \n z"[..]), None));
    }

    #[test]
    fn broken_pieces_can_be_passed_over() {
        let found: Vec<_> = pieces(b"v=DMARC1;;p;p=none;x=\x01").map(|piece| piece.ok()).collect();
        let names: Vec<_> = found.iter().map(|tag| tag.as_ref().map(|tag| tag.name)).collect();
        assert_eq!(names, [Some("v"), None, None, Some("p"), None]);
    }
}
