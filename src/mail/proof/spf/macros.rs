//! Macros in what an SPF record says, `%{ir}.%{v}._spf.%{d2}`: their grammar and what becomes of a value
//! (RFC 7208 §7). What the letters stand for is asked of the caller.

use crate::limits::trust::SPF_EXPANSION_MAX;

/// Where a text stands, which decides on the letters that are allowed (RFC 7208 §7.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MacroPlace {
    /// In a name that is asked for.
    Name,
    /// In an explanation, and in modifiers nobody knows: `c`, `r` and `t` as well.
    Text,
}

/// A piece of a macro string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacroPart<'a> {
    Literal(&'a [u8]),
    /// `%%`, `%_` and `%-`, by what they stand for.
    Escape(&'static [u8]),
    Macro(Macro<'a>),
}

/// `%{l2r+-}`: the letter and what is done with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macro<'a> {
    /// In lower case.
    pub letter: u8,
    /// An upper-case letter asks for percent escapes (RFC 7208 §7.3).
    escaped: bool,
    /// How many of the last pieces stay; all where it is none.
    keep: Option<usize>,
    reversed: bool,
    /// What the value is cut at; dots where it is empty.
    delimiters: &'a [u8],
}

/// A macro string is broken: where a `%` has nothing to expand, or an octet is not visible ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadMacro;

/// The parts of a macro string, to the first that is broken. Spaces are allowed in explanations only
/// (RFC 7208 §6.2).
pub fn parts(
    text: &[u8],
    place: MacroPlace,
) -> impl Iterator<Item = Result<MacroPart<'_>, BadMacro>> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.filter(|text| !text.is_empty())?;
        let part = first(text, place);
        rest = part.map(|(_, rest)| rest).ok();
        Some(part.map(|(part, _)| part))
    })
}

/// The first part of a text that is not empty, and what is behind it.
fn first(text: &[u8], place: MacroPlace) -> Result<(MacroPart<'_>, &[u8]), BadMacro> {
    let literal = |octet: &u8| octet.is_ascii_graphic() && *octet != b'%';
    let space = |octet: &u8| place == MacroPlace::Text && *octet == b' ';
    let end = text.iter().position(|octet| !literal(octet) && !space(octet)).unwrap_or(text.len());
    if end > 0 {
        return Ok((MacroPart::Literal(&text[..end]), &text[end..]));
    }
    match text {
        [b'%', b'%', rest @ ..] => Ok((MacroPart::Escape(b"%"), rest)),
        [b'%', b'_', rest @ ..] => Ok((MacroPart::Escape(b" "), rest)),
        [b'%', b'-', rest @ ..] => Ok((MacroPart::Escape(b"%20"), rest)),
        [b'%', b'{', rest @ ..] => {
            let end = rest.iter().position(|&octet| octet == b'}').ok_or(BadMacro)?;
            Ok((MacroPart::Macro(read(&rest[..end], place)?), &rest[end + 1..]))
        }
        _ => Err(BadMacro),
    }
}

/// What stands between the braces.
fn read(text: &[u8], place: MacroPlace) -> Result<Macro<'_>, BadMacro> {
    let (&first, rest) = text.split_first().ok_or(BadMacro)?;
    let letter = first.to_ascii_lowercase();
    let known = match place {
        MacroPlace::Name => b"slodiphv".contains(&letter),
        MacroPlace::Text => b"slodiphvcrt".contains(&letter),
    };
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (number, rest) = rest.split_at(digits);
    let (reversed, delimiters) = match rest.split_first() {
        Some((b'r' | b'R', rest)) => (true, rest),
        _ => (false, rest),
    };
    // A number beyond all labels keeps all of them.
    let number = number.iter().fold(0_usize, |number, digit| {
        number.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    let good = delimiters.iter().all(|octet| b".-+,/_=".contains(octet));
    if !known || !good || (digits > 0 && number == 0) {
        return Err(BadMacro);
    }
    let keep = (digits > 0).then_some(number);
    Ok(Macro { letter, escaped: first.is_ascii_uppercase(), keep, reversed, delimiters })
}

impl Macro<'_> {
    /// What becomes of the value of the letter (RFC 7208 §7.3).
    fn apply(&self, value: &[u8]) -> Vec<u8> {
        let cut = |octet: &u8| match self.delimiters {
            [] => *octet == b'.',
            delimiters => delimiters.contains(octet),
        };
        let mut pieces: Vec<&[u8]> = value.split(cut).collect();
        if self.reversed {
            pieces.reverse();
        }
        let left_out = self.keep.map_or(0, |keep| pieces.len().saturating_sub(keep));
        let joined = pieces[left_out..].join(&b'.');
        if self.escaped { percent(&joined) } else { joined }
    }
}

/// All but the unreserved octets as `%XX` (RFC 3986 §2.3).
fn percent(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for &octet in text {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            escaped.push(octet);
        } else {
            escaped.extend_from_slice(format!("%{octet:02X}").as_bytes());
        }
    }
    escaped
}

/// The text with its macros expanded; `value` gives what a letter stands for. None where the text is
/// broken, or longer than [`SPF_EXPANSION_MAX`] when expanded.
pub fn expand(
    text: &[u8],
    place: MacroPlace,
    mut value: impl FnMut(u8) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let mut expanded = Vec::new();
    for part in parts(text, place) {
        match part.ok()? {
            MacroPart::Literal(text) => expanded.extend_from_slice(text),
            MacroPart::Escape(text) => expanded.extend_from_slice(text),
            MacroPart::Macro(part) => expanded.extend_from_slice(&part.apply(&value(part.letter))),
        }
        if expanded.len() > SPF_EXPANSION_MAX {
            return None;
        }
    }
    Some(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of RFC 7208 §7.4, and what goes beyond it.
    #[test]
    fn values_are_cut_turned_and_escaped() {
        let value = |letter: u8| -> Vec<u8> {
            match letter {
                b's' => b"strong-bad@email.example.com".to_vec(),
                b'o' | b'd' => b"email.example.com".to_vec(),
                b'l' => b"strong-bad".to_vec(),
                b'i' => b"192.0.2.3".to_vec(),
                b'v' => b"in-addr".to_vec(),
                b'h' => b"a b/c".to_vec(),
                letter => vec![letter],
            }
        };
        let table = [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{l1r-}.lp.%{ir}.%{v}._spf.%{d2}", "strong.lp.3.2.0.192.in-addr._spf.example.com"),
            ("%{d99999999999999999999999999}", "email.example.com"),
            ("%{D1R}%%%_%-", "email% %20"),
            ("%{H}", "a%20b%2Fc"),
            ("%{h/}", "a b.c"),
            ("%{S2+@}", ""),
            ("%{d0}", ""),
            ("%{d00}", ""),
            ("%{}", ""),
            ("%{x}", ""),
            ("%{c}", ""),
            ("%{drr}", ""),
            ("%{d", ""),
            ("%", ""),
            ("%a", ""),
            ("a b", ""),
            ("\u{e9}", ""),
        ];
        for (text, wanted) in table {
            let expanded = expand(text.as_bytes(), MacroPlace::Name, value);
            let wanted = Some(wanted.as_bytes().to_vec()).filter(|wanted| !wanted.is_empty());
            assert_eq!(expanded, wanted, "{text}");
        }
        let text = expand(b"%{c} is %{t}", MacroPlace::Text, value);
        assert_eq!(text.as_deref(), Some(&b"c is t"[..]));
    }

    #[test]
    fn what_grows_without_end_is_none() {
        let text = b"%{h}".repeat(16_000);
        assert_eq!(expand(&text, MacroPlace::Name, |_| vec![b'x'; 2_000]), None);
    }
}
