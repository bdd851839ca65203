//! Text for a terminal: everything is escaped that could move the cursor, forge a line, or turn text
//! around.
//!
//! Never changes what is written to a file or a pipe, and never asks what kind of terminal it is.
//! A backslash stays as it is: the result is for eyes, not for reading back.

pub use crate::mail::visible::escape;
use crate::mail::visible::push;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use std::fmt::Write as _;
use std::io::{self, Write};

/// The columns that escaped text takes, about: wide East Asian characters and emoji count two, combining
/// marks none. A wrong guess only shifts the rest of a line.
pub fn width(text: &str) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff => 2,
            0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
            0x1f300..=0x1f64f | 0x1f900..=0x1faff | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

/// Shows a message on a terminal: escapes as [`escape`] does, except line ends and tabs, and shows octets
/// that are no UTF-8 as `\xNN`.
///
/// Call [`Screen::finish`] at the end: a character that a chunk ends within waits for its rest.
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    /// The begun character at the end of the last chunk, at most three octets.
    begun: Vec<u8>,
}

impl<'a> Screen<'a> {
    pub fn new(out: &'a mut dyn Write) -> Screen<'a> {
        Screen { out, begun: Vec::new() }
    }

    /// Shows what is left of a character that never ended, and flushes.
    pub fn finish(mut self) -> io::Result<()> {
        let mut shown = String::new();
        push_octets(&mut shown, &std::mem::take(&mut self.begun));
        self.out.write_all(shown.as_bytes())?;
        self.out.flush()
    }
}

impl Write for Screen<'_> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let mut octets = std::mem::take(&mut self.begun);
        octets.extend(chunk);
        self.begun = octets.split_off(octets.len() - begun_at_end(&octets));
        let mut shown = String::with_capacity(octets.len());
        for part in octets.utf8_chunks() {
            push_lines(&mut shown, part.valid());
            push_octets(&mut shown, part.invalid());
        }
        self.out.write_all(shown.as_bytes())?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Hides what is typed, until this is dropped.
pub struct Quiet(Termios);

impl Quiet {
    /// Fails where stdin is no terminal.
    pub fn begin() -> io::Result<Quiet> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        // Input that was typed before was shown, so it is dropped.
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// How many octets at the end begin a character of UTF-8 whose rest may still come.
fn begun_at_end(octets: &[u8]) -> usize {
    let begun = |length: &usize| match std::str::from_utf8(&octets[octets.len() - length..]) {
        Ok(_) => false,
        Err(error) => error.valid_up_to() == 0 && error.error_len().is_none(),
    };
    (1..=octets.len().min(3)).find(begun).unwrap_or(0)
}

fn push_lines(shown: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '\n' | '\t') {
            shown.push(c);
        } else {
            push(shown, c);
        }
    }
}

fn push_octets(shown: &mut String, octets: &[u8]) {
    for octet in octets {
        // Writing to a String cannot fail.
        let _ = write!(shown, "\\x{octet:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::visible::is_hidden;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        for (text, shown) in [
            ("", ""),
            ("Grüße, 日本 ❤\u{fe0f}", "Grüße, 日本 ❤\u{fe0f}"),
            ("a\\b", "a\\b"),
            ("\u{1b}[2J\r\n\t\0\u{7f}", "\\x1b[2J\\x0d\\x0a\\x09\\x00\\x7f"),
            ("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}"),
            ("\u{202e}gpj\u{2066}\u{200f}", "\\u{202e}gpj\\u{2066}\\u{200f}"),
            ("a\u{2028}b\u{2029}c", "a\\u{2028}b\\u{2029}c"),
            ("\u{feff}\u{ad}\u{e0041}", "\\u{feff}\\u{ad}\\u{e0041}"),
        ] {
            assert_eq!(escape(text), shown, "{text:?}");
            assert!(!escape(text).contains(is_hidden));
        }
    }

    #[test]
    fn a_message_is_shown_the_same_however_it_is_split() {
        let message = "Subject: €\t𝄞\r\n\u{1b}]0;x\u{7}\u{9b}\u{2028}ü".as_bytes();
        let message = [message, b"\xff\xe2\x82\n\xc0\xaf\xf0\x9d\x84"].concat();
        let shown = "Subject: €\t𝄞\\x0d\n\\x1b]0;x\\x07\\u{9b}\\u{2028}ü\
                     \\xff\\xe2\\x82\n\\xc0\\xaf\\xf0\\x9d\\x84";
        for size in 1..=message.len() {
            let mut out = Vec::new();
            let mut screen = Screen::new(&mut out);
            for chunk in message.chunks(size) {
                screen.write_all(chunk).unwrap();
            }
            screen.finish().unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), shown, "in chunks of {size}");
        }
    }

    #[test]
    fn widths_are_counted() {
        for (text, columns) in
            [("", 0), ("abc", 3), ("ü", 1), ("u\u{308}", 1), ("日本", 4), ("😀", 2)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
    }
}
