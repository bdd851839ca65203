//! Where an entry of virtual(5) or aliases(5) leads: addresses, whole domains, and what is refused here.
//!
//! Pure. Addresses are read by [`Aliases`], as an aliases file of ours is.

use crate::mail::address::{Domain, Host, Mailbox};
use crate::store::aliases::Aliases;
use std::path::Path;

/// One target of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryTarget {
    /// Also `\name`, whose backslash Postfix drops: an alias of that name counts.
    Address(Mailbox),
    /// `@domain`: the same local part there.
    SameAt(Domain),
    /// `|command`, `/file`: what is refused here, as it is written.
    Refused(String),
    /// `:include:/file`.
    Include(String),
}

/// How names without a whole domain are completed.
#[derive(Clone, Debug)]
pub struct NameCompletion {
    /// The domain of a name without one (`myorigin`).
    pub origin: Domain,
    /// What stands behind a domain without a dot (`mydomain`), where Postfix adds it.
    pub parent: Option<Domain>,
}

impl NameCompletion {
    /// The domain that a text means.
    pub fn domain(&self, text: &str) -> Option<Domain> {
        let text = text.trim_matches('.');
        match &self.parent {
            Some(parent) if !text.contains('.') => Domain::parse(&format!("{text}.{parent}")).ok(),
            _ => Domain::parse(text).ok(),
        }
    }

    fn completed(&self, mailbox: Mailbox) -> Mailbox {
        let host = match mailbox.host {
            Host::Domain(name) => Host::Domain(self.domain(name.as_str()).unwrap_or(name)),
            literal @ Host::Literal(_) => literal,
        };
        Mailbox { local: mailbox.local, host }
    }
}

/// The targets of a value, in order; and words for each piece that is none.
pub fn targets(value: &str, names: &NameCompletion) -> (Vec<EntryTarget>, Vec<String>) {
    let (mut found, mut bad) = (Vec::new(), Vec::new());
    for piece in pieces(value) {
        let bare = piece.trim().trim_matches('"').trim_start();
        if bare.is_empty() {
            continue;
        }
        if let Some(file) = bare.strip_prefix(":include:") {
            found.push(EntryTarget::Include(file.trim().to_owned()));
        } else if bare.starts_with(['|', '/']) {
            found.push(EntryTarget::Refused(bare.to_owned()));
        } else if let Some(domain) = bare.strip_prefix('@') {
            match names.domain(domain.trim()) {
                Some(domain) => found.push(EntryTarget::SameAt(domain)),
                None => bad.push(format!("{bare} is no domain")),
            }
        } else {
            addresses(&piece, names, &mut found, &mut bad);
        }
    }
    (found, bad)
}

fn addresses(
    piece: &str,
    names: &NameCompletion,
    found: &mut Vec<EntryTarget>,
    bad: &mut Vec<String>,
) {
    const NAME: &str = "an-alias-of-this-reader";
    let line = format!("{NAME}: {piece}");
    let (read, wrong) = Aliases::parse(line.as_bytes(), Path::new("-"), &names.origin);
    if let Some(wrong) = wrong.first() {
        let why = wrong.what.strip_prefix(&format!("alias {NAME}: ")).unwrap_or(&wrong.what);
        bad.push(why.replace(NAME, "it"));
    }
    for target in read.get(NAME).into_iter().flat_map(|alias| &alias.targets) {
        let mailbox = names.completed(target.mailbox.clone());
        found.push(EntryTarget::Address(mailbox));
    }
}

/// A list cut at the commas that stand in no quotes, comments or brackets.
fn pieces(value: &str) -> Vec<String> {
    let (mut pieces, mut piece) = (Vec::new(), String::new());
    let (mut is_quoted, mut depth, mut chars) = (false, 0_usize, value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                piece.push(c);
                piece.extend(chars.next());
                continue;
            }
            '"' => is_quoted = !is_quoted,
            '(' | '<' if !is_quoted => depth += 1,
            ')' | '>' if !is_quoted => depth = depth.saturating_sub(1),
            ',' if !is_quoted && depth == 0 => {
                pieces.push(std::mem::take(&mut piece));
                continue;
            }
            _ => {}
        }
        piece.push(c);
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let names = NameCompletion {
            origin: Domain::parse("mx.test").unwrap(),
            parent: Some(Domain::parse("test").unwrap()),
        };
        let (found, bad) = targets(value, &names);
        let words = found.into_iter().map(|target| match target {
            EntryTarget::Address(mailbox) => mailbox.to_string(),
            EntryTarget::SameAt(domain) => format!("@{domain}"),
            EntryTarget::Refused(what) => format!("!{what}"),
            EntryTarget::Include(file) => format!("<{file}"),
        });
        words.chain(bad.into_iter().map(|why| format!("?{why}"))).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values() {
        for (value, expected) in [
            ("ann", "ann@mx.test"),
            ("ann, bob@far.example,\teve@host", "ann@mx.test bob@far.example eve@host.test"),
            ("ann bob", "ann@mx.test bob@mx.test"),
            ("@Far.example", "@far.example"),
            ("\\ann, \"|/bin/x a, b\", /var/log/x", "ann@mx.test !|/bin/x a, b !/var/log/x"),
            ("\":include:/etc/list\", :include:/x", "</etc/list </x"),
            (
                "Ann Smith <ann@far.example>, \"a, b\"@far.example",
                "ann@far.example \"a, b\"@far.example",
            ),
            ("ann (home, away),,bob", "ann@mx.test bob@mx.test"),
            ("", ""),
        ] {
            assert_eq!(shown(value), expected, "{value}");
        }
        assert!(shown("a@b@c, ann").starts_with("ann@mx.test ?"), "{}", shown("a@b@c, ann"));
        assert_eq!(shown("@"), "?@ is no domain");
    }
}
