//! Makes any text fit for a notice: no control or hidden character, no line that is too long, no octet over
//! 127 where none is allowed. Pure.

use crate::limits::{LINE_WIDTH, WORD_MAX};
use crate::mail::visible::is_hidden;
use crate::mail::xtext::escape;

/// One line that shows what it holds; a tab is a space, what hides or turns text is `?`.
pub fn shown(text: &str) -> String {
    let one = |c: char| match c {
        '\t' => ' ',
        c if is_hidden(c) => '?',
        c => c,
    };
    text.chars().map(one).collect()
}

/// As [`shown`], in ASCII: other characters are written as in addresses (RFC 6533 §3).
pub fn ascii(text: &str) -> String {
    let one = |c: char| if c.is_ascii() { c.to_string() } else { escape(c) };
    shown(text).chars().map(one).collect()
}

/// The first octets of a text, at most `most`, with `...` where something is missing.
pub fn cut(text: &str, most: usize) -> String {
    match text.len() > most {
        true => format!("{}...", &text[..text.floor_char_boundary(most)]),
        false => text.to_owned(),
    }
}

/// The lines of a text, whatever ends them; empty ones at its end are left out.
pub fn lines(text: &str) -> impl Iterator<Item = String> {
    text.trim_end().split('\n').map(|line| shown(line.trim_end()))
}

/// A text on lines of at most [`LINE_WIDTH`] characters: the first begins with `first`, the others
/// with `indent`. One space stands between words; a word longer than a line is cut only past [`WORD_MAX`].
/// When `indent` is a space, this is a folded field (RFC 5322 §2.2.3).
pub fn wrap(first: &str, indent: &str, text: &str) -> String {
    let mut wrapped = first.to_owned();
    let mut width = first.chars().count();
    let mut begins = true;
    for word in shown(text).split(' ').flat_map(pieces) {
        let wide = word.chars().count();
        if !begins && width + 1 + wide > LINE_WIDTH {
            wrapped.extend(["\n", indent]);
            width = indent.chars().count();
        } else if !begins {
            wrapped.push(' ');
            width += 1;
        }
        wrapped.push_str(word);
        width += wide;
        begins = false;
    }
    wrapped + "\n"
}

/// A word in pieces of at most [`WORD_MAX`] octets; an empty word has none.
fn pieces(word: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), word);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(WORD_MAX));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Text in quoted-printable, its line ends kept (RFC 2045 §6.7).
pub fn quoted_printable(text: &str) -> String {
    /// Octets of a line, with the `=` that breaks it.
    const LINE: usize = 76;
    let mut encoded = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let mut column = 0;
        for (at, octet) in line.bytes().enumerate() {
            // A space at the end of a line gets lost on the way.
            let literal = match octet {
                b'=' => false,
                b' ' => at + 1 < line.len(),
                _ => octet.is_ascii_graphic(),
            };
            let wide = if literal { 1 } else { 3 };
            if column + wide >= LINE {
                encoded.push_str("=\n");
                column = 0;
            }
            match literal {
                true => encoded.push(char::from(octet)),
                false => encoded.push_str(&format!("={octet:02X}")),
            }
            column += wide;
        }
        encoded.push_str(end);
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_is_left() {
        assert_eq!(shown("a\tb\r\nc\u{202e}d\u{85}\0é"), "a b??c?d??é");
        assert_eq!(ascii("é \u{202e}京"), "\\x{E9} ?\\x{4EAC}");
        assert_eq!((cut("éé", 3), cut("éé", 4)), ("é...".to_owned(), "éé".to_owned()));
        assert_eq!(lines("a \r\nb\r\n\r\n").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn words_are_wrapped_and_only_the_longest_cut() {
        assert_eq!(wrap("A: ", " ", "  b   c "), "A: b c\n");
        assert_eq!(wrap("A: ", " ", ""), "A: \n");
        let text = format!("{} {}", "x".repeat(70), "y".repeat(10));
        assert_eq!(wrap("A: ", " ", &text), format!("A: {}\n", text.replace(' ', "\n ")));
        assert_eq!(wrap("A:", "", &"x ".repeat(38)), format!("A:{}x\n", "x ".repeat(37)));
        assert_eq!(wrap("A:  ", "", &"x ".repeat(38)), format!("A:  {}x\nx\n", "x ".repeat(36)));
        let long = wrap("", "  ", &"é".repeat(1000));
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [900, 902, 202]);
    }

    #[test]
    fn quoted_printable_is_short_and_ascii() {
        assert_eq!(quoted_printable("a=b \n \té\n"), "a=3Db=20\n =09=C3=A9\n");
        assert_eq!(quoted_printable(" "), "=20");
        let line = "é".repeat(100);
        let encoded = quoted_printable(&line);
        assert!(encoded.lines().all(|line| line.len() <= 76), "{encoded}");
        assert_eq!(encoded.replace("=\n", ""), "=C3=A9".repeat(100));
        assert_eq!(quoted_printable(&"x".repeat(76)), format!("{}=\nx", "x".repeat(75)));
    }
}
