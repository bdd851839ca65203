//! One line of the log or the trace: `event key=value ...`. No value can end the line or forge another one,
//! and lines can be read back.

use crate::mail::visible::is_hidden;
use std::fmt::{Display, Write as _};
use std::path::Path;

/// Octets that most lines need.
const LINE_USUAL: usize = 192;

/// A line while it is written; each value is escaped when it is added.
pub struct Line(String);

impl Line {
    /// Begins with the name of an event.
    pub fn new(event: &str) -> Line {
        let mut line = String::with_capacity(LINE_USUAL);
        line.push_str(event);
        Line(line)
    }

    /// Adds a value.
    pub fn add(mut self, key: &str, value: &(impl Display + ?Sized)) -> Line {
        self.0.push(' ');
        self.0.push_str(key);
        self.0.push('=');
        let at = self.0.len();
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        // Most values need no quotes, and are written only once.
        if !is_plain(&self.0[at..]) {
            let value = self.0.split_off(at);
            push_value(&mut self.0, &value);
        }
        self
    }

    /// Adds octets of a peer, cut to [`crate::limits::QUOTED_MAX`] before they are decoded.
    pub fn octets(self, key: &str, value: &[u8]) -> Line {
        let value = String::from_utf8_lossy(&value[..value.len().min(crate::limits::QUOTED_MAX)]);
        self.add(key, &value)
    }

    pub fn path(self, key: &str, value: &Path) -> Line {
        self.add(key, &value.display())
    }

    /// The line, without a line end.
    pub fn finish(self) -> String {
        self.0
    }
}

/// Writes a value: a plain word as it is, anything else in double quotes, with `\` before `"` and `\`, and
/// characters that could end a line or turn its direction as `\u{..}`.
pub fn push_value(line: &mut String, value: &str) {
    if is_plain(value) {
        return line.push_str(value);
    }
    line.push('"');
    // The fast way for most replies and commands, by octets.
    if value.bytes().all(|b| b == b' ' || b.is_ascii_graphic() && b != b'"' && b != b'\\') {
        line.push_str(value);
        return line.push('"');
    }
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if is_hidden(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Whether a value needs no quotes.
fn is_plain(value: &str) -> bool {
    // The fast way for most values, by octets.
    let is_word = value.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
    let is_plain = |c: char| !c.is_whitespace() && c != '"' && !is_hidden(c);
    !value.is_empty() && (is_word || value.chars().all(is_plain))
}

/// The key and the unescaped value of each `key=value` of a line, behind its first word; ends at the first
/// part that is none.
pub fn values(mut line: &str) -> impl Iterator<Item = (&str, String)> {
    line = line.split_once(' ').map_or("", |(_, rest)| rest);
    std::iter::from_fn(move || {
        let (key, rest) = line.split_once('=')?;
        let end = match rest.strip_prefix('"') {
            None => rest.find(' ').unwrap_or(rest.len()),
            Some(quoted) => 2 + closing_quote(quoted)?,
        };
        let value = unquote(&rest[..end]);
        line = rest[end..].trim_start_matches(' ');
        Some((key, value))
    })
}

/// Where a quoted value ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|octet| {
        let is_end = octet == b'"' && !is_escaped;
        is_escaped = octet == b'\\' && !is_escaped;
        is_end
    })
}

/// The value that [`push_value`] has written.
fn unquote(written: &str) -> String {
    let Some(mut rest) = written.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return written.to_owned();
    };
    let mut value = String::with_capacity(rest.len());
    while let Some((before, escape)) = rest.split_once('\\') {
        value.push_str(before);
        let hex = escape.strip_prefix("u{").and_then(|text| text.split_once('}'));
        let hidden = hex.and_then(|(hex, after)| {
            let code = u32::from_str_radix(hex, 16).ok()?;
            Some((char::from_u32(code)?, after))
        });
        let mut letters = escape.chars();
        let (letter, after) = match hidden {
            Some(found) => found,
            None => (letters.next().unwrap_or('\\'), letters.as_str()),
        };
        value.push(letter);
        rest = after;
    }
    value.push_str(rest);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        let mut line = String::new();
        push_value(&mut line, text);
        line
    }

    #[test]
    fn values() {
        for (text, written) in [
            ("plain", "plain"),
            ("a=b\\c", "a=b\\c"),
            ("", "\"\""),
            ("two words", "\"two words\""),
            ("say \"hi\" \\", "\"say \\\"hi\\\" \\\\\""),
            ("a\r\nb", "\"a\\u{d}\\u{a}b\""),
            ("\u{202e}x\u{2028}", "\"\\u{202e}x\\u{2028}\""),
            ("\u{85}\u{1b}[2J", "\"\\u{85}\\u{1b}[2J\""),
            ("\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(value(text), written);
            // And back again, with more behind it.
            let line = format!("event a={written} b=1");
            let read: Vec<_> = super::values(&line).collect();
            assert_eq!(read, [("a", text.to_owned()), ("b", "1".to_owned())]);
        }
    }

    #[test]
    fn what_is_no_line_of_ours_ends_the_values() {
        for (line, count) in [("", 0), ("event", 0), ("event x", 0), ("e a=1 b=\"2", 1), ("e =", 1)]
        {
            assert_eq!(super::values(line).count(), count, "{line}");
        }
    }
}
