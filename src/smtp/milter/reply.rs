//! A reply that a filter wants its client to hear.

use super::answer::BadFilterAnswer;
use crate::limits::{FILTER_REPLY_LINES_MAX, REPLY_LINE_MAX};
use crate::mail::visible;
use crate::smtp::reply::Reply;

/// A code and lines of text, fit for a client and a log: nothing hidden is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterReply {
    code: u16,
    /// Each begins with an enhanced status code of the same class.
    lines: Vec<String>,
}

impl FilterReply {
    /// Reads `550 5.7.1 text`, or several lines of it as SMTP writes them. A percent sign is written twice, since
    /// Sendmail takes the text for a format. Where the first line has no enhanced code of the class, it is X.7.1;
    /// a later line without one has that of the first.
    pub(super) fn parse(text: &[u8]) -> Result<FilterReply, BadFilterAnswer> {
        let (code, _) = code_of(text).ok_or(BadFilterAnswer::Code)?;
        let mut lines = Vec::new();
        let mut enhanced = format!("{}.7.1", code / 100);
        let whole = text.strip_suffix(b"\n").unwrap_or(text);
        for line in whole.split(|octet| *octet == b'\n').take(FILTER_REPLY_LINES_MAX) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // A line of another code, or of none, is all text.
            let line = match code_of(line) {
                Some((of_line, rest)) if of_line == code => rest,
                _ => line,
            };
            let line = shown(&line[..line.len().min(REPLY_LINE_MAX)]).replace("%%", "%");
            let line = line.trim();
            match enhanced_of(line, code) {
                Some(own) => {
                    if lines.is_empty() {
                        own.clone_into(&mut enhanced);
                    }
                    lines.push(line.to_owned());
                }
                None => lines.push(format!("{enhanced} {line}").trim_end().to_owned()),
            }
        }
        Ok(FilterReply { code, lines })
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    /// For the client. The enhanced codes stand in the lines.
    pub fn to_reply(&self) -> Reply {
        let mut lines = self.lines.iter();
        let first = Reply::plain(self.code, lines.next().cloned().unwrap_or_default());
        lines.fold(first, |reply, line| reply.line(line.clone()))
    }
}

/// The code of a line, 4xx or 5xx, and its text.
fn code_of(line: &[u8]) -> Option<(u16, &[u8])> {
    let (code, rest) = line.split_first_chunk::<3>()?;
    if !matches!(code[0], b'4' | b'5') || !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    let rest = match rest.split_first() {
        None => rest,
        Some((b' ' | b'-' | b'\r' | b'\n', behind)) => behind,
        Some(_) => return None,
    };
    Some((code, rest))
}

/// The enhanced status code at the start of a text, where it is of the code's class (RFC 3463 §2, RFC 2034 §4).
fn enhanced_of(line: &str, code: u16) -> Option<&str> {
    let word = line.split(' ').next()?;
    let mut parts = word.split('.');
    let is_number = |part: &str| {
        (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit())
    };
    let is_class = parts.next() == Some(&(code / 100).to_string());
    let is_whole = (0..2).all(|_| parts.next().is_some_and(is_number)) && parts.next().is_none();
    (is_class && is_whole).then_some(word)
}

/// A text as it may be shown: controls and octets that are no UTF-8 are escaped.
pub(super) fn shown(text: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in text.utf8_chunks() {
        shown.push_str(&visible::escape(chunk.valid()));
        chunk.invalid().iter().for_each(|octet| shown.push_str(&format!("\\x{octet:02x}")));
    }
    shown
}
