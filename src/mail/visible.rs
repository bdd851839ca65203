//! Which characters a person sees: all but controls and what hides or turns other text. Pure.
//!
//! Logs, listings and terminals escape the others, so that no text of a peer can forge a line, move a
//! cursor or show itself backwards.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One line of text as it may be shown: line ends and tabs are escaped too, `\x1b`, `\u{202e}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    text.chars().for_each(|c| push(&mut shown, c));
    Cow::Owned(shown)
}

/// Adds one character of a text that is shown.
pub fn push(shown: &mut String, c: char) {
    if !is_hidden(c) {
        return shown.push(c);
    }
    // Writing to a String cannot fail.
    let _ = match c.is_ascii() {
        true => write!(shown, "\\x{:02x}", u32::from(c)),
        false => write!(shown, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// Whether a character may not reach a terminal as it is: controls (C0, DEL, C1), line and paragraph
/// separators, direction marks, and what has no shape of its own.
pub fn is_hidden(c: char) -> bool {
    // Nearly all text is ASCII.
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() || HIDDEN.iter().any(|range| range.contains(&c))
}

/// Unicode's format characters (category Cf but those with a shape), separators (Zl, Zp) and
/// fillers. The variation selectors U+FE00 to FE0F are left out: they only choose how an emoji looks.
const HIDDEN: [std::ops::RangeInclusive<char>; 18] = [
    '\u{ad}'..='\u{ad}',
    '\u{34f}'..='\u{34f}',
    '\u{61c}'..='\u{61c}',
    '\u{70f}'..='\u{70f}',
    '\u{115f}'..='\u{1160}',
    '\u{17b4}'..='\u{17b5}',
    '\u{180b}'..='\u{180f}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{feff}'..='\u{feff}',
    '\u{ffa0}'..='\u{ffa0}',
    '\u{fff0}'..='\u{fffb}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e0fff}',
];
