//! The words and marks of a structured field: comments, folds and white space are left out
//! (RFC 5322 §3.2, with §4's obsolete forms; UTF-8: RFC 6532 §3.2).

use super::list::ListFlaw;
use crate::mail::address::is_atext;

/// A piece that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    Atom(&'a [u8]),
    /// The content of a quoted string, without its quotes, backslashes and line ends.
    Quoted(Vec<u8>),
    /// An address literal with its brackets.
    Literal(&'a [u8]),
    /// One of `. , : ; < > @`.
    Mark(u8),
}

/// Reads a value from front to back.
pub struct Lexer<'a> {
    text: &'a [u8],
    /// Octets read so far.
    pub at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a [u8]) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    /// The next token; none at the end.
    pub fn token(&mut self) -> Result<Option<Token<'a>>, ListFlaw> {
        self.skip_space()?;
        let Some(&octet) = self.text.get(self.at) else {
            return Ok(None);
        };
        let start = self.at;
        self.at += 1;
        match octet {
            b'"' => self.quoted().map(Some),
            b'[' => {
                let length = memchr::memchr(b']', &self.text[self.at..]);
                self.at += length.ok_or(ListFlaw::NoEnd('['))? + 1;
                Ok(Some(Token::Literal(&self.text[start..self.at])))
            }
            b'.' | b',' | b':' | b';' | b'<' | b'>' | b'@' => Ok(Some(Token::Mark(octet))),
            octet if is_word(octet) => {
                let rest = &self.text[self.at..];
                self.at += rest.iter().take_while(|octet| is_word(**octet)).count();
                Ok(Some(Token::Atom(&self.text[start..self.at])))
            }
            octet => Err(ListFlaw::Stray(octet)),
        }
    }

    /// White space, folds and comments, which may be nested.
    pub fn skip_space(&mut self) -> Result<(), ListFlaw> {
        // A count, not a recursion: no depth of parentheses is too much.
        let mut depth = 0_usize;
        while let Some(octet) = self.text.get(self.at) {
            match octet {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b'\\' if depth > 0 => self.at += 1,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ if depth > 0 => {}
                _ => return Ok(()),
            }
            self.at += 1;
        }
        // A backslash may have been the last octet.
        self.at = self.at.min(self.text.len());
        if depth > 0 { Err(ListFlaw::NoEnd('(')) } else { Ok(()) }
    }

    /// Behind the opening quote.
    fn quoted(&mut self) -> Result<Token<'a>, ListFlaw> {
        let mut content = Vec::new();
        while let Some(&octet) = self.text.get(self.at) {
            self.at += 1;
            match octet {
                b'"' => return Ok(Token::Quoted(content)),
                b'\\' => {
                    content.extend(self.text.get(self.at));
                    self.at = (self.at + 1).min(self.text.len());
                }
                // A fold inside is its white space alone (RFC 5322 §3.2.4).
                b'\r' | b'\n' => {}
                octet => content.push(octet),
            }
        }
        Err(ListFlaw::NoEnd('"'))
    }
}

/// Octets over 127 are allowed in any charset: in a display name they do no harm.
fn is_word(octet: u8) -> bool {
    is_atext(octet) || octet > 127
}
