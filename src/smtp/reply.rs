//! Replies: a code, an enhanced status code, and words for a person (RFC 5321 §4.2, RFC 2034).
//!
//! A reply never carries a control octet and never a line over 512 octets, whatever it quotes.

use crate::limits::{QUOTED_MAX, REPLY_LINE_MAX};
use std::fmt::{self, Write as _};

/// One reply, of one line or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    /// Empty only in the greeting, in 250 to EHLO and HELO, and in 354.
    enhanced: &'static str,
    lines: Vec<String>,
}

impl Reply {
    /// A reply with an enhanced status code, such as `2.1.5` (RFC 3463).
    pub fn new(code: u16, enhanced: &'static str, text: impl Into<String>) -> Reply {
        Reply { code, enhanced, lines: vec![text.into()] }
    }

    /// A reply without an enhanced status code: greeting, EHLO, HELO and 354 (RFC 2034 §3).
    pub fn plain(code: u16, text: impl Into<String>) -> Reply {
        Reply::new(code, "", text)
    }

    /// The reply with one more line.
    pub fn line(mut self, text: impl Into<String>) -> Reply {
        self.lines.push(text.into());
        self
    }

    /// The reply ending in ` [SESSION]`: a refusal of a client, sender, recipient or message names the session,
    /// so that a person can ask about it.
    pub fn about(mut self, session: &str) -> Reply {
        if let Some(last) = self.lines.last_mut() {
            // Cut before the mark is added, so that a long line never loses the mark.
            truncate(last, REPLY_LINE_MAX - 12 - 3 - session.len());
            last.push_str(&format!(" [{session}]"));
        }
        self
    }

    pub fn code(&self) -> u16 {
        self.code
    }

    /// 4xx and 5xx.
    pub fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// 5xx.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it goes over the wire.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for (index, text) in self.lines.iter().enumerate() {
            let begin = out.len();
            let more = if index + 1 < self.lines.len() { '-' } else { ' ' };
            // Appending cannot fail.
            let _ = match self.enhanced {
                "" => write!(Octets(out), "{}{more}{text}", self.code),
                enhanced => write!(Octets(out), "{}{more}{enhanced} {text}", self.code),
            };
            if let Ok(line) = str::from_utf8(&out[begin..]) {
                let length = line.floor_char_boundary(REPLY_LINE_MAX - 2);
                out.truncate(begin + length);
            }
            // Only our own text and checked addresses get here; this is a second safeguard.
            for octet in out[begin..].iter_mut().filter(|octet| octet.is_ascii_control()) {
                *octet = b'?';
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Takes text behind octets that are there already.
struct Octets<'a>(&'a mut Vec<u8>);

impl fmt::Write for Octets<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// On one line, as the log tells it.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.enhanced.is_empty() {
            write!(f, " {}", self.enhanced)?;
        }
        write!(f, " {}", self.lines.join(" / "))
    }
}

/// A peer's text as a reply may repeat it: shortened, with everything but printable ASCII escaped.
pub fn quoted(text: &[u8]) -> String {
    let mut shown = String::new();
    for &b in text {
        if shown.len() >= QUOTED_MAX {
            shown.push_str("...");
            break;
        }
        match b {
            32..=126 => shown.push(char::from(b)),
            _ => shown.push_str(&format!("\\x{b:02x}")),
        }
    }
    shown
}

fn truncate(text: &mut String, octets: usize) {
    text.truncate(text.floor_char_boundary(octets));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines() {
        assert_eq!(wire(&Reply::plain(220, "mx.test")), "220 mx.test\r\n");
        let help = Reply::new(214, "2.0.0", "one").line("two");
        assert_eq!(wire(&help), "214-2.0.0 one\r\n214 2.0.0 two\r\n");
        assert_eq!(help.to_string(), "214 2.0.0 one / two");
    }

    #[test]
    fn a_long_line_is_cut_but_keeps_its_session() {
        let reply = Reply::new(550, "5.1.1", "x".repeat(1000)).about("s123");
        let wire = wire(&reply);
        assert!(wire.len() <= REPLY_LINE_MAX && wire.ends_with(" [s123]\r\n"), "{wire}");
    }

    #[test]
    fn no_control_octet_gets_out() {
        assert_eq!(wire(&Reply::new(550, "5.1.1", "a\r\n250 b")), "550 5.1.1 a??250 b\r\n");
        assert_eq!(quoted(b"a\r\n\xff"), "a\\x0d\\x0a\\xff");
    }
}
