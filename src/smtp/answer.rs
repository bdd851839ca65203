//! A next hop's replies out of a stream of octets, at any split (RFC 5321 §4.2, §4.2.1).
//!
//! Takes what hosts really send: unknown codes, no text at all, lines that end in LF alone. Octets that are
//! no reply, or have no end, are a [`BadAnswer`]: the host is broken, and nothing it said counts. The text of an
//! [`Answer`] holds no control or hidden character, so it may be shown anywhere.

use super::reply::quoted;
use crate::limits::{ANSWER_KEPT, ANSWER_LINE_MAX, ANSWER_MAX};
use crate::mail::visible::is_hidden;
use std::fmt;

/// One reply of another host, of one line or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From 200 to 599.
    code: u16,
    /// Without codes and line ends; never empty.
    lines: Vec<String>,
}

/// The first digit of a reply, which alone decides its meaning (RFC 5321 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 2yz: done.
    Good,
    /// 3yz: go on.
    More,
    /// 4yz: not now.
    Later,
    /// 5yz: never.
    Never,
}

/// Why octets are no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// The line, escaped and shortened.
    NoReply(String),
    LineTooLong,
    /// All lines together are too long.
    TooLong,
    /// Lines that contradict each other, such as 250 and 550.
    Mixed,
    /// Octets that came before a command asked for them.
    Early,
}

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadAnswer::NoReply(line) => write!(f, "\"{line}\" is no reply"),
            BadAnswer::LineTooLong => f.write_str("a reply with a line that is too long"),
            BadAnswer::TooLong => f.write_str("a reply without end"),
            BadAnswer::Mixed => f.write_str("a reply whose lines have different codes"),
            BadAnswer::Early => f.write_str("octets before their time"),
        }
    }
}

impl Answer {
    /// Reads one whole reply with its line ends, and nothing behind it.
    pub fn parse(octets: &[u8]) -> Result<Answer, BadAnswer> {
        match AnswerBuffer::default().feed(octets) {
            (used, Some(answer)) if used == octets.len() => answer,
            _ => Err(BadAnswer::NoReply(quoted(octets))),
        }
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    pub fn kind(&self) -> Kind {
        match self.code / 100 {
            2 => Kind::Good,
            3 => Kind::More,
            4 => Kind::Later,
            _ => Kind::Never,
        }
    }

    /// The text of each line.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The enhanced status code, such as `5.1.1`, when there is one and it does not contradict the
    /// code (RFC 2034 §4).
    pub fn enhanced(&self) -> Option<&str> {
        let word = self.lines.first()?.split(' ').next()?;
        let is_number = |part: &str| {
            (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
        };
        let mut parts = word.split('.');
        let class = parts.next() == Some(&(self.code / 100).to_string());
        let good = class && word.split('.').count() == 3 && parts.all(is_number);
        good.then_some(word)
    }

    /// As it was said, line by line, without the last line end.
    pub fn text(&self) -> String {
        let last = self.lines.len().saturating_sub(1);
        let mark = |index| if index == last { ' ' } else { '-' };
        let lines = self.lines.iter().enumerate();
        let lines = lines.map(|(index, line)| format!("{}{}{line}", self.code, mark(index)));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Cut to [`ANSWER_KEPT`], because a journal and a notice repeat it for each recipient.
    pub fn shortened(mut self) -> Answer {
        let mut room = ANSWER_KEPT;
        for index in 0..self.lines.len() {
            let line = &mut self.lines[index];
            if line.len() > room {
                line.truncate(line.floor_char_boundary(room));
                line.push_str("...");
                self.lines.truncate(index + 1);
                break;
            }
            room -= line.len();
        }
        self
    }
}

/// On one line.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// Gathers one reply at a time; never holds more than [`ANSWER_MAX`] and a line.
#[derive(Debug, Default)]
pub struct AnswerBuffer {
    /// The line so far.
    line: Vec<u8>,
    /// The lines so far.
    answer: Option<Answer>,
    /// Octets in those lines.
    octets: usize,
}

impl AnswerBuffer {
    /// Takes octets up to the end of one reply; gives how many it took. After a [`BadAnswer`] the connection is
    /// of no more use, because nobody knows where the next reply begins.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Result<Answer, BadAnswer>>) {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            // Only CR LF ends a line (§2.3.8), but a host that forgets the CR hurts nobody here: its
            // replies are its own words, and a message is never read from it.
            let end = memchr::memchr(b'\n', rest).map(|at| at + 1);
            let piece = &rest[..end.unwrap_or(rest.len())];
            used += piece.len();
            if self.line.len() + piece.len() > ANSWER_LINE_MAX {
                return (used, Some(Err(BadAnswer::LineTooLong)));
            }
            self.line.extend_from_slice(piece);
            if end.is_some()
                && let Some(answer) = self.line_ended().transpose()
            {
                return (used, Some(answer));
            }
        }
        (used, None)
    }

    /// Gives the answer when this was its last line.
    fn line_ended(&mut self) -> Result<Option<Answer>, BadAnswer> {
        let line = std::mem::take(&mut self.line);
        self.octets += line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (code, more, words) = read(text).ok_or_else(|| BadAnswer::NoReply(quoted(text)))?;
        let answer = self.answer.get_or_insert(Answer { code, lines: Vec::new() });
        // Codes with one first digit may differ, and the last line's counts; others contradict each other.
        if answer.code / 100 != code / 100 {
            return Err(BadAnswer::Mixed);
        }
        answer.code = code;
        answer.lines.push(shown(words));
        if self.octets > ANSWER_MAX {
            return Err(BadAnswer::TooLong);
        }
        if more {
            return Ok(None);
        }
        self.octets = 0;
        Ok(self.answer.take())
    }
}

/// Code, whether more lines follow, and text of one line. The text, and even the space before it, may
/// be missing (§4.2).
fn read(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let good = matches!(digits[0], b'2'..=b'5') && digits.iter().all(u8::is_ascii_digit);
    let code = str::from_utf8(digits).ok().filter(|_| good)?.parse().ok()?;
    match rest {
        [] => Some((code, false, rest)),
        [b' ', text @ ..] => Some((code, false, text)),
        [b'-', text @ ..] => Some((code, true, text)),
        _ => None,
    }
}

/// Text that may be shown to anybody.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.trim_end().chars().map(|c| match c {
        '\t' => ' ',
        c if is_hidden(c) => '?',
        c => c,
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that these octets say up to the first flaw, fed in pieces of `step`.
    fn answers(input: &[u8], step: usize) -> Vec<Result<String, BadAnswer>> {
        let (mut buffer, mut found) = (AnswerBuffer::default(), Vec::new());
        for mut piece in input.chunks(step) {
            while !piece.is_empty() {
                let (used, answer) = buffer.feed(piece);
                piece = &piece[used..];
                found.extend(answer.map(|answer| answer.map(|answer| answer.to_string())));
                if matches!(found.last(), Some(Err(_))) {
                    return found;
                }
            }
        }
        found
    }

    #[test]
    fn replies_of_any_shape_at_any_split() {
        let none = |line: &str| Err(BadAnswer::NoReply(line.to_owned()));
        type Case<'a> = (&'a [u8], &'a [Result<&'a str, BadAnswer>]);
        let cases: [Case<'_>; 17] = [
            (b"220 mx.test hi\r\n", &[Ok("220 mx.test hi")]),
            (b"250-a\r\n250-\r\n250 c\r\n250 d\r\n", &[Ok("250 a /  / c"), Ok("250 d")]),
            (b"250\r\n250 \r\n", &[Ok("250 "), Ok("250 ")]),
            (b"299 odd\r\n477 odd\r\n", &[Ok("299 odd"), Ok("477 odd")]),
            (b"250-a\n250 b\n", &[Ok("250 a / b")]),
            (b"250-a\r\n251 b\r\n", &[Ok("251 a / b")]),
            (b"250 \x1b[2J\0\tx\xff\xe2\x80\xae\r\n", &[Ok("250 ?[2J? x\u{fffd}?")]),
            (b"250 a\rb\r\n", &[Ok("250 a?b")]),
            (b"250-a\r\n", &[]),
            (b"250 a", &[]),
            (b"250-a\r\n550 b\r\n", &[Err(BadAnswer::Mixed)]),
            (b"150 a\r\n", &[none("150 a")]),
            (b"650 a\r\n", &[none("650 a")]),
            (b"250x\r\n", &[none("250x")]),
            (b"25\r\n", &[none("25")]),
            (b"\r\n", &[none("")]),
            (b"HTTP/1.1 400\r\n", &[none("HTTP/1.1 400")]),
        ];
        for (input, expected) in cases {
            for step in 1..=input.len() {
                let found = answers(input, step);
                let expected: Vec<_> =
                    expected.iter().cloned().map(|answer| answer.map(str::to_owned)).collect();
                assert_eq!(found, expected, "{} at {step}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn nothing_is_without_end() {
        let line = [b"250-".to_vec(), vec![b'x'; ANSWER_LINE_MAX]].concat();
        let lines = b"250-x\r\n".repeat(ANSWER_MAX);
        let fits = [&line[..ANSWER_LINE_MAX - 2], b"\r\n250 end\r\n"].concat();
        for step in [1, 1000, 1 << 20] {
            assert_eq!(answers(&line, step), [Err(BadAnswer::LineTooLong)]);
            assert_eq!(answers(&lines, step), [Err(BadAnswer::TooLong)]);
            assert!(answers(&fits, step)[0].is_ok());
        }
    }

    #[test]
    fn enhanced_codes() {
        for (text, expected) in [
            ("550 5.1.1 nobody", Some("5.1.1")),
            ("550-5.1.1 nobody\r\n550 5.1.1 here", Some("5.1.1")),
            ("250 2.0.0", Some("2.0.0")),
            ("452 4.5.3 too many", Some("4.5.3")),
            ("550 4.1.1 contradicts", None),
            ("550 5.1 short", None),
            ("550 5.1.1.1 long", None),
            ("550 5.1.1000 long", None),
            ("550 5..1 empty", None),
            ("550", None),
        ] {
            let answer = Answer::parse(format!("{text}\r\n").as_bytes()).unwrap();
            assert_eq!(answer.enhanced(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = format!("550-{}\r\n", "é".repeat(400)).repeat(5) + "550 end\r\n";
        let kept = Answer::parse(long.as_bytes()).unwrap().shortened();
        assert!(kept.lines().len() == 3 && kept.to_string().len() <= ANSWER_KEPT + 20);
        assert!(kept.lines()[2].ends_with("é..."));
        let short = Answer::parse(b"250-a\r\n250 b\r\n").unwrap();
        assert_eq!(short.clone().shortened(), short);
    }
}
