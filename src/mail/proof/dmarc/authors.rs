//! The domains of the authors of a message, from its From fields (RFC 5322 §3.6.2 with the obsolete forms of
//! §4, RFC 6854, RFC 6532).
//!
//! Programs that show mail read a broken From in different ways. So a broken one is read only where each
//! way leads to the same domains, as in `Smith, John <john@example.com>`; any other cannot be read.

use crate::limits::trust::{
    AUTHOR_ADDRESSES_MAX, AUTHOR_TOKENS_MAX, AUTHORS_MAX, ENCODED_WORD_MAX,
};
use crate::mail::proof::name::Name;
use std::fmt;

/// Domains of authors that can be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authors {
    /// 1 to [`AUTHORS_MAX`], each once, in the order of the fields.
    pub domains: Vec<Name>,
    /// How many From fields there are; more than one is against RFC 5322 §3.6.
    pub fields: usize,
}

/// Why there is nothing to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAuthors {
    /// No From field.
    NoField,
    /// From has no address in it, as an empty group.
    Nobody,
    /// From has an address without a domain: a literal, or a local part alone.
    NoDomain,
    /// Domains, more than [`AUTHORS_MAX`].
    TooMany,
    /// What is broken.
    Unreadable(&'static str),
}

impl fmt::Display for NoAuthors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAuthors::NoField => f.write_str("there is no From field"),
            NoAuthors::Nobody => f.write_str("From has no address"),
            NoAuthors::NoDomain => f.write_str("From has an address without a domain"),
            NoAuthors::TooMany => write!(f, "From has more than {AUTHORS_MAX} domains"),
            NoAuthors::Unreadable(why) => write!(f, "From cannot be read: {why}"),
        }
    }
}

/// Reads the values of all From fields, each without its name and colon; they may be folded.
pub fn authors(fields: &[&[u8]]) -> Result<Authors, NoAuthors> {
    let mut domains: Vec<Name> = Vec::new();
    for field in fields {
        let mut reader = AuthorReader { rest: field };
        let mut is_empty = true;
        for count in 0.. {
            let Some(tokens) = reader.mailbox()? else { break };
            if count == AUTHOR_ADDRESSES_MAX {
                return Err(NoAuthors::Unreadable("very many addresses"));
            }
            let Some(domain) = domain_of(&tokens)? else { continue };
            is_empty = false;
            if !domains.contains(&domain) {
                domains.push(domain);
            }
            if domains.len() > AUTHORS_MAX {
                return Err(NoAuthors::TooMany);
            }
        }
        if is_empty {
            return Err(NoAuthors::Nobody);
        }
    }
    match domains.is_empty() {
        true => Err(NoAuthors::NoField),
        false => Ok(Authors { domains, fields: fields.len() }),
    }
}

/// A token, and whether space or a comment stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct AuthorToken<'a> {
    kind: TokenKind<'a>,
    apart: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenKind<'a> {
    Atom(&'a [u8]),
    /// A quoted string, or an encoded word: no part of a domain.
    Word,
    /// A domain literal, or what looks like one in a name.
    Literal,
    Dot,
    At,
    Open,
    Close,
    /// A comma, or what a group has around it.
    Separator,
}

/// The domain of what stands between two separators: none where that is no address, as the name of a group
/// or one half of a name with a comma in it.
fn domain_of(tokens: &[AuthorToken<'_>]) -> Result<Option<Name>, NoAuthors> {
    let is = |wanted: TokenKind<'static>| move |token: &AuthorToken<'_>| token.kind == wanted;
    let opens = tokens.iter().position(is(TokenKind::Open));
    let closes = tokens.iter().position(is(TokenKind::Close));
    let (before, inner, after) = match (opens, closes) {
        (None, None) => match tokens.iter().any(is(TokenKind::At)) {
            true => return address(tokens).map(Some),
            false => return Ok(None),
        },
        (Some(open), Some(close)) if open < close => {
            (&tokens[..open], &tokens[open + 1..close], &tokens[close + 1..])
        }
        _ => return Err(NoAuthors::Unreadable("angle brackets that do not match")),
    };
    if after.iter().any(is(TokenKind::Open)) || after.iter().any(is(TokenKind::Close)) {
        return Err(NoAuthors::Unreadable("two addresses without a comma between them"));
    }
    let domain = address(route_cut(inner))?;
    for beside in [before, after] {
        for (at, _) in beside.iter().enumerate().filter(|(_, token)| token.kind == TokenKind::At) {
            let named = domain_at(&beside[at + 1..]).ok().map(|(named, _)| named);
            // `Joe @ Work <...>` names nothing that DNS could vouch for.
            if named.is_some_and(|named| named != domain && named.labels().nth(1).is_some()) {
                return Err(NoAuthors::Unreadable("another address beside that in angle brackets"));
            }
        }
    }
    Ok(Some(domain))
}

/// The address behind an obsolete route, `@first,@second:` (RFC 5322 §4.4).
fn route_cut<'a, 'b>(tokens: &'a [AuthorToken<'b>]) -> &'a [AuthorToken<'b>] {
    match tokens.first() {
        Some(AuthorToken { kind: TokenKind::At, .. }) => {
            let end = tokens.iter().rposition(|token| token.kind == TokenKind::Separator);
            end.map_or(tokens, |end| &tokens[end + 1..])
        }
        _ => tokens,
    }
}

/// The domain of an address, whatever words its local part has.
fn address(tokens: &[AuthorToken<'_>]) -> Result<Name, NoAuthors> {
    let Some(at) = tokens.iter().position(|token| token.kind == TokenKind::At) else {
        return Err(NoAuthors::NoDomain);
    };
    let is_local = |token: &AuthorToken<'_>| {
        matches!(token.kind, TokenKind::Atom(_) | TokenKind::Word | TokenKind::Dot)
    };
    if at == 0 || !tokens[..at].iter().all(is_local) {
        return Err(NoAuthors::Unreadable("an address without a local part"));
    }
    let (domain, rest) = domain_at(&tokens[at + 1..])?;
    match rest.is_empty() {
        true => Ok(domain),
        false => Err(NoAuthors::Unreadable("something behind a domain")),
    }
}

/// The domain at the beginning of the tokens, and what follows. Space in it is obsolete, and read by some as
/// its end.
fn domain_at<'a, 'b>(
    tokens: &'a [AuthorToken<'b>],
) -> Result<(Name, &'a [AuthorToken<'b>]), NoAuthors> {
    const BAD: NoAuthors = NoAuthors::Unreadable("a domain that is none");
    if tokens.first().is_some_and(|token| token.kind == TokenKind::Literal) {
        return Err(NoAuthors::NoDomain);
    }
    let mut text = Vec::new();
    let mut end = 0;
    for token in tokens {
        match token.kind {
            TokenKind::Atom(_) | TokenKind::Dot if token.apart && end > 0 => {
                let joins = token.kind == TokenKind::Dot || text.ends_with(b".");
                if joins {
                    return Err(NoAuthors::Unreadable("space within a domain"));
                }
                break;
            }
            TokenKind::Atom(atom) => text.extend_from_slice(atom),
            TokenKind::Dot => text.push(b'.'),
            _ => break,
        }
        end += 1;
    }
    let name = std::str::from_utf8(&text).ok().and_then(|text| Name::of_unicode(text.as_bytes()));
    let in_host = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let name = name.filter(|name| name.as_bytes().iter().all(in_host)).ok_or(BAD)?;
    Ok((name, &tokens[end..]))
}

/// What is left of the value of a field.
struct AuthorReader<'a> {
    rest: &'a [u8],
}

impl<'a> AuthorReader<'a> {
    /// The tokens up to the next separator outside angle brackets; none at the end.
    fn mailbox(&mut self) -> Result<Option<Vec<AuthorToken<'a>>>, NoAuthors> {
        let mut tokens: Vec<AuthorToken<'a>> = Vec::new();
        let mut is_open = false;
        loop {
            let Some(token) = self.token()? else {
                return Ok(Some(tokens).filter(|tokens| !tokens.is_empty()));
            };
            match token.kind {
                // Of an empty place in a list (RFC 5322 §4.4) there is nothing to give.
                TokenKind::Separator if !is_open && tokens.is_empty() => continue,
                TokenKind::Separator if !is_open => return Ok(Some(tokens)),
                TokenKind::Open => is_open = true,
                TokenKind::Close => is_open = false,
                _ => {}
            }
            if tokens.len() == AUTHOR_TOKENS_MAX {
                return Err(NoAuthors::Unreadable("a name of very many words"));
            }
            tokens.push(token);
        }
    }

    fn token(&mut self) -> Result<Option<AuthorToken<'a>>, NoAuthors> {
        let apart = self.skip_space()?;
        let Some((&first, rest)) = self.rest.split_first() else { return Ok(None) };
        let kind = match first {
            b'"' => {
                self.rest = enclosed(rest, b'"').ok_or(NoAuthors::Unreadable("an open quote"))?;
                return Ok(Some(AuthorToken { kind: TokenKind::Word, apart }));
            }
            b'[' => {
                self.rest = enclosed(rest, b']').ok_or(NoAuthors::Unreadable("an open bracket"))?;
                return Ok(Some(AuthorToken { kind: TokenKind::Literal, apart }));
            }
            b'.' => TokenKind::Dot,
            b'@' => TokenKind::At,
            b'<' => TokenKind::Open,
            b'>' => TokenKind::Close,
            b',' | b';' | b':' => TokenKind::Separator,
            // It ends nothing, and hides nothing.
            b')' => TokenKind::Word,
            // Some would take it for a quote of the sign that follows.
            b'\\' if !rest.first().is_some_and(u8::is_ascii_alphanumeric) => {
                return Err(NoAuthors::Unreadable("a backslash outside quotes"));
            }
            b'\\' => TokenKind::Word,
            0..=b' ' | 0x7f => return Err(NoAuthors::Unreadable("a control character")),
            _ => {
                let (kind, length) = match encoded_word(self.rest) {
                    Some(length) => (TokenKind::Word, length),
                    None => {
                        let in_atom =
                            |octet: &&u8| !b"\"[.@<>,;:()\\\x7f".contains(octet) && **octet > b' ';
                        let length = self.rest.iter().take_while(in_atom).count();
                        (TokenKind::Atom(&self.rest[..length]), length)
                    }
                };
                self.rest = &self.rest[length..];
                return Ok(Some(AuthorToken { kind, apart }));
            }
        };
        self.rest = rest;
        Ok(Some(AuthorToken { kind, apart }))
    }

    /// Skips spaces, line ends and comments, which may stand within each other; tells whether there were any.
    fn skip_space(&mut self) -> Result<bool, NoAuthors> {
        let mut depth = 0_usize;
        let mut octets = self.rest;
        while let Some((&octet, rest)) = octets.split_first() {
            octets = match octet {
                b' ' | b'\t' | b'\r' | b'\n' => rest,
                b'(' => {
                    depth += 1;
                    rest
                }
                b')' if depth > 0 => {
                    depth -= 1;
                    rest
                }
                b'\\' if depth > 0 => rest.get(1..).unwrap_or_default(),
                _ if depth > 0 => rest,
                _ => break,
            };
        }
        if depth > 0 {
            return Err(NoAuthors::Unreadable("an open comment"));
        }
        let skipped = octets.len() < self.rest.len();
        self.rest = octets;
        Ok(skipped)
    }
}

/// What stands behind the first `end` that has no backslash before it.
fn enclosed(text: &[u8], end: u8) -> Option<&[u8]> {
    let mut rest = text;
    while let Some((&octet, behind)) = rest.split_first() {
        match octet {
            b'\\' => rest = behind.get(1..)?,
            octet if octet == end => return Some(behind),
            _ => rest = behind,
        }
    }
    None
}

/// The length of an encoded word at the beginning of a text (RFC 2047 §2). Writers leave `@` and dots in
/// them that should be encoded; with anything in it that ends an address it is none.
fn encoded_word(text: &[u8]) -> Option<usize> {
    let inner = text.strip_prefix(b"=?")?;
    let in_word = |octet: &&u8| octet.is_ascii_graphic() && !b"\"()<>[],;:\\".contains(octet);
    let length = inner.iter().take(ENCODED_WORD_MAX).take_while(in_word).count();
    let inner = inner[..length].strip_suffix(b"?=")?;
    (inner.split(|&octet| octet == b'?').count() == 3).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The domains with a space between, or what is wrong.
    fn read(fields: &[&str]) -> String {
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        match authors(&fields) {
            Ok(authors) => {
                let names: Vec<String> = authors.domains.iter().map(Name::to_string).collect();
                names.join(" ")
            }
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn what_can_be_read() {
        let table = [
            ("ann@a.test", "a.test"),
            (" Ann <ann@A.TEST>\r\n", "a.test"),
            ("\"Ann, of @ <x@b.test>\" <ann@a.test>", "a.test"),
            ("Ann (of (all) \\) <x@b.test>) <ann@a.test> (x@b.test)", "a.test"),
            ("ann (x) @ (y) a.test (z)", "a.test"),
            ("\"a@b\\\"c\".d@a.test", "a.test"),
            ("J. R. \"Bob\" Dobbs <j.r@a.test>", "a.test"),
            ("Ann <@x.test,@y.test:ann@a.test>", "a.test"),
            ("ann@a.test, bob@b.test,, Ann <ann@a.test> ,", "a.test b.test"),
            ("A group: ann@a.test, Bob <bob@b.test>;", "a.test b.test"),
            ("=?utf-8?q?Ann=40b.test?= <ann@a.test>", "a.test"),
            ("=?utf-8?q?ann@b.test?=\r\n =?utf-8?b?QQ==?= <ann@a.test>", "a.test"),
            ("=?utf-8?q?Smith,_Ann?= <ann@a.test>", "a.test"),
            ("Smith, Ann <ann@a.test>", "a.test"),
            ("ann@a.test <ann@a.test>", "a.test"),
            ("Ann @ Work <ann@a.test>", "a.test"),
            ("[list] Re: Ann <ann@a.test>", "a.test"),
            ("Ann\u{e9} <ann@b\u{fc}cher.test>", "xn--bcher-kva.test"),
            ("ann@B\u{dc}CHER\u{3002}test", "xn--bcher-kva.test"),
            ("ann@xn--bcher-kva.test.", "xn--bcher-kva.test"),
            ("a..b@a.test", "a.test"),
            ("root@localhost", "localhost"),
            ("CORP\\ann :) <ann@a.test>", "a.test"),
            ("<ann@_x.a-b.test>", "_x.a-b.test"),
        ];
        for (field, wanted) in table {
            assert_eq!(read(&[field]), wanted, "{field:?}");
        }
        assert_eq!(read(&["a@a.test", "b@b.test", "c@a.test"]), "a.test b.test");
        assert_eq!(
            read(&["a@a.test, b@b.test, c@c.test, d@d.test"]),
            "a.test b.test c.test d.test"
        );
    }

    #[test]
    fn what_cannot() {
        let nobody = NoAuthors::Nobody.to_string();
        for field in ["", " \r\n ", "undisclosed:;", "Ann", ",", "=?utf-8?q?ann=40a.test?=", "root"]
        {
            assert_eq!(read(&[field]), nobody, "{field:?}");
            assert_eq!(read(&["ann@a.test", field]), nobody, "{field:?}");
        }
        let no_domain = NoAuthors::NoDomain.to_string();
        for field in ["ann@[192.0.2.1]", "<root>", "<>", "a@a.test, <b@[IPv6:::1]>"] {
            assert_eq!(read(&[field]), no_domain, "{field:?}");
        }
        let broken = [
            "ann@b.test <ann@a.test>",
            "ann@b.test ann@a.test",
            "<ann@b.test> <ann@a.test>",
            "Ann <ann@a.test",
            "Ann ann@a.test>",
            "<<ann@a.test>>",
            "\"Ann <ann@a.test>",
            "Ann (<ann@a.test>",
            "ann@a.test)",
            "Ann\\(<ann@b.test>) <ann@a.test>",
            "[Ann <ann@a.test>",
            "a@b@a.test",
            "@a.test",
            "ann@",
            "ann@a..test",
            "ann@.a.test",
            "ann@a.test .b.test",
            "ann@a.test. b.test",
            "ann@a(x).test",
            "ann@\"a.test\"",
            "ann@a.test b.test",
            "ann@a.test%b.test",
            "ann@a.test?=",
            "Ann\\ <ann@a.test>",
            "Ann\0 <ann@a.test>",
            "ann@a.test\0",
            "ann@a\u{ff05}b.test",
        ];
        for field in broken {
            let said = read(&[field]);
            assert!(said.starts_with("From cannot be read: "), "{field:?}: {said}");
        }
        assert!(authors(&[b"ann@a\xff.test"]).is_err());
        assert_eq!(read(&[]), NoAuthors::NoField.to_string());
        let five = "a@a.test, b@b.test, c@c.test, d@d.test, e@e.test";
        assert_eq!(read(&[five]), NoAuthors::TooMany.to_string());
        assert!(read(&[&"word ".repeat(100_000)]).starts_with("From cannot be read"));
        assert!(read(&[&"a@a.test,".repeat(100_000)]).starts_with("From cannot be read"));
        assert!(read(&[&"=?.".repeat(300_000)]).starts_with("From cannot be read"));
    }

    mod any {
        use super::*;
        use proptest::prelude::*;

        /// Mailboxes as the grammar has them, with domains from `a.test` to `d.test`.
        fn mailbox() -> impl Strategy<Value = (String, char)> {
            let space = "( |\t|\r\n |\\([^()\\\\\r\n]{0,9}\\)){0,2}";
            let phrase = "([a-z!#=?]{1,5}( [A-Z.]{1,3})?|\"([^\"\\\\\r\n]|\\\\[\"@<,]){0,9}\"|=\\?utf-8\\?[qb]\\?[A-Za-z=_]{0,9}\\?=)?";
            let local = "([a-z]{1,5}(\\.[a-z+-]{1,5})?|\"[a-z@<>,; ]{0,5}\")";
            let route = "(@x\\.test(,@y\\.test)?:)?";
            let domain = proptest::char::range('a', 'd');
            (space, phrase, local, route, any::<bool>(), domain).prop_map(
                |(space, phrase, local, route, bare, domain)| {
                    let address = format!("{local}{space}@{space}{domain}.test{space}");
                    let text = match bare {
                        true => address,
                        false => format!("{space}{phrase}{space}<{space}{route}{address}>{space}"),
                    };
                    (text, domain)
                },
            )
        }

        proptest! {
            #[test]
            fn what_the_grammar_has_is_read(
                list in proptest::collection::vec(mailbox(), 1..6), group: bool,
            ) {
                let texts: Vec<&str> = list.iter().map(|(text, _)| text.as_str()).collect();
                let mut wanted: Vec<String> = Vec::new();
                for (_, domain) in &list {
                    let domain = format!("{domain}.test");
                    if !wanted.contains(&domain) {
                        wanted.push(domain);
                    }
                }
                let field = match group {
                    true => format!("A group: {};", texts.join(",")),
                    false => texts.join(","),
                };
                prop_assert_eq!(read(&[&field]), wanted.join(" "), "{:?}", field);
            }

            #[test]
            fn octets_never_panic(fields: Vec<Vec<u8>>, text in "[ab@<>(),:;\"\\\\.\\[\\] \r\n=?\u{fc}]{0,40}") {
                let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
                let _ = authors(&fields);
                if let Ok(found) = authors(&[text.as_bytes()]) {
                    prop_assert!(!found.domains.is_empty() && found.domains.len() <= AUTHORS_MAX);
                }
            }
        }
    }
}
