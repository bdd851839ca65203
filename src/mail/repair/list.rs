//! A list of addresses in a header field (RFC 5322 §3.4, with the obsolete forms of §4.4): display
//! names, groups, routes and comments are read and dropped, mailboxes are kept.
//!
//! Lenient where the meaning is clear and programs do write it: an empty group that the end of the field
//! closes, an `@` or a dot in a display name without quotes, nothing between two commas. The address itself
//! follows the grammar of RCPT.

use super::lexer::{Lexer, Token};
use crate::limits::ADDRESS_WORDS_MAX;
use crate::mail::address::{BadAddress, Domain, Mailbox, ReversePath};
use std::fmt;
use std::ops::Range;

/// What is wrong in a list of addresses, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadList {
    /// Octets of the value, from the start of the address to where it went wrong.
    pub piece: Range<usize>,
    pub flaw: ListFlaw,
}

/// What is wrong with an address or a list of them; [`fmt::Display`] is written for its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFlaw {
    Address(BadAddress),
    /// A quote, comment, literal or angle bracket that is opened and not closed.
    NoEnd(char),
    /// An octet that may not stand there.
    Stray(u8),
    /// Several words where one address should be.
    Words,
    /// Something behind the closing angle bracket.
    AfterBracket,
    /// A group without a name, or in another.
    Group,
    LongAddress,
    TooMany(usize),
}

impl fmt::Display for ListFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListFlaw::Address(why) => why.fmt(f),
            ListFlaw::NoEnd(mark) => write!(f, "{mark} is opened and not closed"),
            ListFlaw::Stray(octet @ b'!'..=b'~') => {
                write!(f, "unexpected {}", char::from(*octet))
            }
            ListFlaw::Stray(octet) => write!(f, "unexpected octet {octet}"),
            ListFlaw::Words => f.write_str(
                "a name and an address are written Name <user@domain>, several addresses with \
                 commas between them",
            ),
            ListFlaw::AfterBracket => f.write_str("a comma is missing behind the >"),
            ListFlaw::Group => f.write_str("a group is written name: address, address;"),
            ListFlaw::LongAddress => {
                write!(f, "an address has at most {ADDRESS_WORDS_MAX} words and marks")
            }
            ListFlaw::TooMany(most) => write!(f, "more than {most} addresses"),
        }
    }
}

/// Gives every mailbox of the list to `take`, in order; one without a domain is at `default`. Ends at
/// the first that does not read, or that `take` refuses.
pub fn read(
    value: &[u8],
    default: &Domain,
    take: impl FnMut(Mailbox) -> Result<(), ListFlaw>,
) -> Result<(), BadList> {
    List::new(value, default, take).all().map(drop)
}

/// The places where addresses without a domain end, and where `@domain` can be put. Fails like [`read`].
pub fn unqualified(value: &[u8], default: &Domain) -> Result<Vec<usize>, BadList> {
    List::new(value, default, |_| Ok(())).all()
}

struct List<'a, F> {
    lexer: Lexer<'a>,
    default: &'a Domain,
    take: F,
    /// How many addresses the group that is open has so far.
    group: Option<usize>,
    /// Where the last word ends.
    word_end: usize,
    /// Where addresses without a domain end.
    bare: Vec<usize>,
}

impl<'a, F: FnMut(Mailbox) -> Result<(), ListFlaw>> List<'a, F> {
    fn new(value: &'a [u8], default: &'a Domain, take: F) -> List<'a, F> {
        let (group, word_end, bare) = Default::default();
        List { lexer: Lexer::new(value), default, take, group, word_end, bare }
    }

    /// Reads to the end; gives where addresses without a domain end.
    fn all(mut self) -> Result<Vec<usize>, BadList> {
        loop {
            let start = self.lexer.at;
            match self.next() {
                Ok(true) => {}
                Ok(false) => return Ok(self.bare),
                Err(flaw) => return Err(BadList { piece: start..self.lexer.at, flaw }),
            }
        }
    }

    /// Reads up to the next comma, or the start or the end of a group; false at the end of all.
    fn next(&mut self) -> Result<bool, ListFlaw> {
        let (words, end) = self.words(b",;:<")?;
        match end {
            Some(b'<') => {
                // All that stood before it is a display name.
                self.angle()?;
                match self.lexer.token()? {
                    None => self.ended(None),
                    Some(Token::Mark(mark @ (b',' | b';'))) => self.ended(Some(mark)),
                    Some(_) => Err(ListFlaw::AfterBracket),
                }
            }
            Some(b':') => {
                // An address that stands there is meant; and groups are not nested (RFC 5322 §3.4).
                let no_name = words.is_empty() || words.contains(&Token::Mark(b'@'));
                match self.group.replace(0) {
                    None if !no_name => Ok(true),
                    _ => Err(ListFlaw::Group),
                }
            }
            end => {
                if !words.is_empty() {
                    self.found(&words)?;
                }
                self.ended(end)
            }
        }
    }

    /// An address, or nothing, was ended by this mark; false where the field ended it.
    fn ended(&mut self, mark: Option<u8>) -> Result<bool, ListFlaw> {
        match (mark, self.group) {
            (Some(b';'), None) => Err(ListFlaw::Stray(b';')),
            (Some(b';'), Some(_)) => {
                self.group = None;
                Ok(true)
            }
            (Some(_), _) => Ok(true),
            // With addresses in it, something else may have been meant by the colon.
            (None, Some(1..)) => Err(ListFlaw::Group),
            (None, _) => Ok(false),
        }
    }

    /// The words of an address.
    fn found(&mut self, words: &[Token]) -> Result<(), ListFlaw> {
        self.group = self.group.map(|addresses| addresses + 1);
        if !words.contains(&Token::Mark(b'@')) {
            self.bare.push(self.word_end);
        }
        (self.take)(mailbox(words, self.default)?)
    }

    /// The tokens up to one of these marks, and that mark; none where the field ends before one.
    fn words(&mut self, ends: &[u8]) -> Result<(Vec<Token<'a>>, Option<u8>), ListFlaw> {
        let mut words = Vec::new();
        while let Some(token) = self.lexer.token()? {
            match token {
                Token::Mark(mark) if ends.contains(&mark) => return Ok((words, Some(mark))),
                Token::Mark(b'>') => return Err(ListFlaw::Stray(b'>')),
                _ if words.len() == ADDRESS_WORDS_MAX => return Err(ListFlaw::LongAddress),
                token => {
                    self.word_end = self.lexer.at;
                    words.push(token);
                }
            }
        }
        Ok((words, None))
    }

    /// Behind the `<`. A route is dropped (RFC 5322 §4.4).
    fn angle(&mut self) -> Result<(), ListFlaw> {
        let (words, end) = self.words(b">")?;
        if end.is_none() {
            return Err(ListFlaw::NoEnd('<'));
        }
        let address = match words.first() {
            Some(Token::Mark(b'@' | b',')) => {
                let end = words.iter().position(|word| *word == Token::Mark(b':'));
                &words[end.ok_or(ListFlaw::Address(BadAddress::Route))? + 1..]
            }
            _ => &words,
        };
        self.found(address)
    }
}

/// `local@host` or `local`. Written anew without the spaces and comments that it may have between
/// its words, then judged by the parser of paths: one grammar for what is an address.
fn mailbox(words: &[Token], default: &Domain) -> Result<Mailbox, ListFlaw> {
    let at = words.iter().position(|word| *word == Token::Mark(b'@'));
    let (local, host) = match at {
        Some(at) => (&words[..at], Some(&words[at + 1..])),
        None => (words, None),
    };
    if local.is_empty() {
        return Err(ListFlaw::Address(BadAddress::LocalPart));
    }
    let mut path = b"<".to_vec();
    let is_quoted = local.iter().any(|word| matches!(word, Token::Quoted(_)));
    path.extend(is_quoted.then_some(b'"'));
    dotted(&mut path, local, is_quoted, BadAddress::LocalPart)?;
    path.extend(is_quoted.then_some(b'"'));
    path.push(b'@');
    match host {
        Some(host) => dotted(&mut path, host, false, BadAddress::Domain)?,
        None => path.extend_from_slice(default.as_str().as_bytes()),
    }
    path.push(b'>');
    match ReversePath::parse(&path) {
        Ok((ReversePath::Mailbox(mailbox), [])) => Ok(mailbox),
        Ok(_) => Err(ListFlaw::Address(BadAddress::Domain)),
        Err(why) => Err(ListFlaw::Address(why)),
    }
}

/// Words with dots between them; `in_quotes`: inside quotes, where some octets need a
/// backslash.
fn dotted(
    path: &mut Vec<u8>,
    words: &[Token],
    in_quotes: bool,
    wrong: BadAddress,
) -> Result<(), ListFlaw> {
    let is_dot = |word: &Token| *word == Token::Mark(b'.');
    let is_mark = |word: &Token| matches!(word, Token::Mark(_));
    if words.windows(2).any(|pair| !is_mark(&pair[0]) && !is_mark(&pair[1])) {
        return Err(ListFlaw::Words);
    }
    // Where the dots stand is for the grammar of paths to judge.
    if words.is_empty() || words.iter().any(|word| is_mark(word) && !is_dot(word)) {
        return Err(ListFlaw::Address(wrong));
    }
    for word in words {
        match word {
            Token::Mark(mark) => path.push(*mark),
            Token::Atom(text) | Token::Literal(text) => path.extend_from_slice(text),
            Token::Quoted(text) if in_quotes => {
                for octet in text {
                    path.extend(matches!(octet, b'"' | b'\\').then_some(b'\\'));
                    path.push(*octet);
                }
            }
            Token::Quoted(_) => return Err(ListFlaw::Address(wrong)),
        }
    }
    Ok(())
}
