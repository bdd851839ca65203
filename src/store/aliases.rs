//! A domain's aliases(5): `name: target, target ...`, with comments and continued lines.
//!
//! Targets are users, other aliases, or addresses anywhere; pipes, files and `:include:` are refused.
//! A bad line is named and spoils nothing else. [`crate::route`] decides where a target leads.

use super::disk::StoreError;
use super::table::{self, BadLine};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// The aliases of one domain, by name in ASCII lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(HashMap<String, Alias>);

/// One alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Its name as it is written.
    pub name: String,
    /// The line where it begins in the file.
    pub line: usize,
    /// Each target once; empty when the line is bad, and then the alias's mail is refused.
    pub targets: Vec<AliasTarget>,
}

/// One target of an alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AliasTarget {
    /// A target without a domain is in the alias's domain.
    pub mailbox: Mailbox,
    /// The user is meant and never an alias: `\name`, or the alias's own name.
    pub user_only: bool,
}

impl Aliases {
    /// Reads the file of a domain; gives its aliases and the lines that are none.
    pub fn read(file: &Path, domain: &Domain) -> Result<(Aliases, Vec<BadLine>), StoreError> {
        Ok(Aliases::parse(&table::read(file)?, file, domain))
    }

    /// Reads the octets of a file; its path `file` is only named in bad lines.
    pub fn parse(octets: &[u8], file: &Path, domain: &Domain) -> (Aliases, Vec<BadLine>) {
        let (mut aliases, mut bad) = (Aliases::default(), Vec::new());
        for (line, text) in logical_lines(octets) {
            let (text, utf8) = match text {
                Ok(text) => (text, Ok(())),
                Err(text) => (text, Err("expected UTF-8".to_owned())),
            };
            let read = name(&text, line, domain).and_then(|(mut alias, targets)| {
                let wrong = utf8.and_then(|()| alias.read_targets(&targets, domain));
                if wrong.is_err() {
                    // The alias is kept without targets: its mail must not go to a user or `catch_all` instead.
                    alias.targets.clear();
                }
                aliases.add(alias).and(wrong)
            });
            if let Err(what) = read {
                bad.push(BadLine::new(file, line, &what));
            }
        }
        (aliases, bad)
    }

    /// The alias of that name, without regard to ASCII case.
    pub fn get(&self, name: &str) -> Option<&Alias> {
        self.0.get(&name.to_ascii_lowercase())
    }

    /// All aliases, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Alias> {
        self.0.values()
    }

    /// The first entry of a name counts; the second is reported as a bad line.
    fn add(&mut self, alias: Alias) -> Result<(), String> {
        let key = alias.name.to_ascii_lowercase();
        match self.0.get(&key) {
            Some(first) => Err(format!(
                "alias {} stands in line {} already, which counts",
                alias.name, first.line
            )),
            None => {
                self.0.insert(key, alias);
                Ok(())
            }
        }
    }
}

/// Lines joined with those that continue them (which begin with white space), each with the number of its
/// first; comments and empty lines are left out, also between the two.
fn logical_lines(octets: &[u8]) -> Vec<(usize, Result<String, String>)> {
    let mut lines: Vec<(usize, Vec<u8>)> = Vec::new();
    for (index, line) in octets.split(|&b| b == b'\n').enumerate() {
        let text = line.trim_ascii();
        if text.is_empty() || text.starts_with(b"#") {
            continue;
        }
        match lines.last_mut() {
            Some((_, begun)) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                // A space, because a word does not go on in the next line.
                begun.push(b' ');
                begun.extend_from_slice(text);
            }
            _ => lines.push((index + 1, text.to_vec())),
        }
    }
    let utf8 = |text: Vec<u8>| {
        String::from_utf8(text).map_err(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
    };
    lines.into_iter().map(|(line, text)| (line, utf8(text))).collect()
}

/// The alias of a logical line without its targets, and these as they are written. The error names neither
/// file nor line: the caller knows them.
fn name(text: &str, line: usize, domain: &Domain) -> Result<(Alias, String), String> {
    let (name, rest) = word(text, ":")?;
    let targets = rest.trim_start().strip_prefix(':').ok_or("expected name: target, ...")?;
    let name = match name {
        // The file's own domain may be written; a name at another domain would never be looked up here.
        AliasWord::Plain(name) if name.contains('@') => match Mailbox::parse(&name) {
            Ok(Mailbox { local, host }) if host == Host::Domain(domain.clone()) => {
                local.as_str().to_owned()
            }
            Ok(Mailbox { host, .. }) => {
                return Err(format!("alias {name}: {host} is not {domain}"));
            }
            Err(why) => return Err(format!("alias {name}: {why}")),
        },
        AliasWord::Plain(name) => name,
        AliasWord::Quoted(name) => name,
    };
    LocalPart::from_plain(&name).map_err(|why| format!("alias {name:?}: {why}"))?;
    Ok((Alias { name, line, targets: Vec::new() }, targets.to_owned()))
}

impl Alias {
    fn read_targets(&mut self, text: &str, domain: &Domain) -> Result<(), String> {
        let mut known = HashSet::new();
        for entry in entries(text).map_err(|why| format!("alias {}: {why}", self.name))? {
            let (text, is_address) = match &entry {
                AliasEntry::Bracketed(address) => (address.trim(), true),
                AliasEntry::Words(words) => (words.trim(), false),
            };
            let mut rest = text;
            while is_address || !rest.is_empty() {
                let (target, after) = word(rest, " \t")?;
                if is_address && !after.is_empty() {
                    return Err(format!("alias {}: <{text}> is no address", self.name));
                }
                let target = target_of(target, &self.name, domain)?;
                if known.insert(target.clone()) {
                    self.targets.push(target);
                }
                rest = after.trim_start();
                if is_address {
                    break;
                }
            }
        }
        match self.targets.is_empty() {
            true => Err(format!("alias {} has no target", self.name)),
            false => Ok(()),
        }
    }
}

/// A piece of a list of targets.
#[derive(Debug, PartialEq, Eq)]
enum AliasEntry {
    /// The address of `Alice Bob <alice@far.test>`: what stands before it is a name (RFC 5322 §3.4).
    Bracketed(String),
    /// Targets with white space between them: as Postfix does, a missing comma is added.
    Words(String),
}

/// Cuts a list at the commas that stand in no quotes, comments or brackets. Comments, names of people and
/// of groups are left out.
fn entries(text: &str) -> Result<Vec<AliasEntry>, String> {
    let (mut entries, mut words) = (Vec::new(), String::new());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        // A command or a path is shown as it is written when it is refused.
        let is_refused = words.trim_start().starts_with(['|', '/', ':']);
        match c {
            '"' => quoted(&mut chars, &mut words)?,
            ',' => entries.push(AliasEntry::Words(std::mem::take(&mut words))),
            c if is_refused => words.push(c),
            ';' => entries.push(AliasEntry::Words(std::mem::take(&mut words))),
            '(' => {
                comment(&mut chars)?;
                words.push(' ');
            }
            '<' => {
                let mut address = String::new();
                loop {
                    match chars.next() {
                        None => return Err("< is opened and not closed".to_owned()),
                        Some('>') => break,
                        Some('"') => quoted(&mut chars, &mut address)?,
                        Some(c) => address.push(c),
                    }
                }
                words.clear();
                entries.push(AliasEntry::Bracketed(address));
            }
            ')' | '>' => return Err(format!("unexpected {c}")),
            // The name of a group; in an address a colon stands behind an @ alone.
            ':' if !words.trim().is_empty() && !words.contains('@') => words.clear(),
            c => words.push(c),
        }
    }
    entries.push(AliasEntry::Words(words));
    Ok(entries)
}

/// Appends a quoted text as it is written; its first quote was read already.
fn quoted(chars: &mut std::str::Chars, to: &mut String) -> Result<(), String> {
    to.push('"');
    while let Some(c) = chars.next() {
        to.push(c);
        match c {
            '"' => return Ok(()),
            '\\' => to.extend(chars.next()),
            _ => {}
        }
    }
    Err("a quote is not closed".to_owned())
}

/// Passes over a comment, which may hold others; its first parenthesis was read already.
fn comment(chars: &mut std::str::Chars) -> Result<(), String> {
    let mut depth = 1_usize;
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Ok(()),
            ')' => depth -= 1,
            '\\' => drop(chars.next()),
            _ => {}
        }
    }
    Err("( is opened and not closed".to_owned())
}

/// Inside quotes nothing is special: no domain, no `\user`.
enum AliasWord {
    Plain(String),
    Quoted(String),
}

/// The next word, up to one of `ends` or in double quotes, and what follows it. A local part in
/// quotes may be followed by its domain.
fn word<'a>(text: &'a str, ends: &str) -> Result<(AliasWord, &'a str), String> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find(|c| ends.contains(c)).unwrap_or(text.len());
        // `:include:/path` is one word, which `target` refuses.
        let (word, rest) = text.split_at(end);
        return Ok((AliasWord::Plain(word.trim_end().to_owned()), rest));
    };
    let (mut plain, mut chars) = (String::new(), inner.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => plain.extend(chars.next().map(|(_, c)| c)),
            '"' => {
                let rest = &inner[at + 1..];
                if !rest.starts_with('@') {
                    return Ok((AliasWord::Quoted(plain), rest));
                }
                let end = rest.find(|c| ends.contains(c)).unwrap_or(rest.len());
                let whole = &text[..text.len() - rest.len() + end];
                return Ok((AliasWord::Plain(whole.to_owned()), &rest[end..]));
            }
            c => plain.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

/// The target that a word means. Commands and files, which other servers run or write to, are refused: a
/// person who may edit this file could act as the server.
fn target_of(word: AliasWord, alias: &str, domain: &Domain) -> Result<AliasTarget, String> {
    let (text, quoted) = match word {
        AliasWord::Plain(text) => (text, false),
        AliasWord::Quoted(text) => (text, true),
    };
    let refused = [
        ("|", "a pipe is not run here"),
        ("/", "mail is not delivered into files here, only into Maildirs"),
        (":", "no file is included here"),
    ];
    if let Some((_, why)) = refused.iter().find(|(begin, _)| text.starts_with(begin)) {
        return Err(format!("alias {alias}: {text}: {why}"));
    }
    let wrong = |why| format!("alias {alias}: target {text:?}: {why}");
    let here = |local: &str| -> Result<Mailbox, String> {
        let local = LocalPart::from_plain(local).map_err(wrong)?;
        Ok(Mailbox { local, host: Host::Domain(domain.clone()) })
    };
    // `\user` stops at the user.
    let (bare, escaped) = match text.strip_prefix('\\').filter(|_| !quoted) {
        Some(bare) => (bare, true),
        None => (text.as_str(), false),
    };
    let mailbox = match !quoted && bare.contains('@') {
        true => Mailbox::parse(bare).map_err(wrong)?,
        false => here(bare)?,
    };
    // An alias that names itself means the user, who gets a copy (contract).
    let own = mailbox.host == Host::Domain(domain.clone())
        && mailbox.local.as_str().eq_ignore_ascii_case(alias);
    Ok(AliasTarget { mailbox, user_only: escaped || own })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Aliases, Vec<String>) {
        let domain = Domain::parse("mx.test").unwrap();
        let (aliases, bad) = Aliases::parse(text.as_bytes(), Path::new("a"), &domain);
        (aliases, bad.iter().map(ToString::to_string).collect())
    }

    fn targets(text: &str) -> Vec<String> {
        let (aliases, bad) = parse(text);
        assert_eq!(bad, Vec::<String>::new(), "{text}");
        let all = aliases.iter().flat_map(|alias| &alias.targets);
        let shown = all.map(|t| format!("{}{}", if t.user_only { "\\" } else { "" }, t.mailbox));
        shown.collect()
    }

    #[test]
    fn good_lines() {
        for (text, expected) in [
            ("Sales: ann", "ann@mx.test"),
            ("sales:ann,bob", "ann@mx.test bob@mx.test"),
            ("sales : ann bob", "ann@mx.test bob@mx.test"),
            (
                "sales: ann,\n# between\n\n\tbob,\n  eve@far.test",
                "ann@mx.test bob@mx.test eve@far.test",
            ),
            ("sales: ann, sales, \\bob", "ann@mx.test \\sales@mx.test \\bob@mx.test"),
            ("\"big sales\": \"ann smith\"", "\"ann smith\"@mx.test"),
            ("sales: \"ann smith\"@far.test, x", "\"ann smith\"@far.test x@mx.test"),
            ("sales@MX.test: <ann@mx.test>", "ann@mx.test"),
            ("boss: Alice Bob <far@dest.test>", "far@dest.test"),
            ("boss: Alice Bob <far@dest.test>, \"Smith, Ann\" <ann>", "far@dest.test ann@mx.test"),
            ("boss: far@dest.test (Alice (A.) Bob, at home), ann", "far@dest.test ann@mx.test"),
            ("boss: \"a \\\" < b\" < far@dest.test >bob", "far@dest.test bob@mx.test"),
            (
                "boss: <\"ann smith\"@far.test>, <\"ann smith\">",
                "\"ann smith\"@far.test \"ann smith\"@mx.test",
            ),
            (
                "boss: Team: ann, Bob B. <bob@far.test>;, eve",
                "ann@mx.test bob@far.test eve@mx.test",
            ),
            ("boss: nobody:;, x@[192.0.2.1]", "x@[192.0.2.1]"),
            ("sales: ann, ann", "ann@mx.test"),
            ("\u{e9}quipe: ann", "ann@mx.test"),
            (
                "sales: ann # no comment here is a target",
                "ann@mx.test #@mx.test no@mx.test \
              comment@mx.test here@mx.test is@mx.test a@mx.test target@mx.test",
            ),
        ] {
            assert_eq!(targets(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn targets_that_are_no_addresses() {
        for (text, why) in [
            ("a: Alice <far@dest.test", "< is opened and not closed"),
            ("a: far@dest.test (home", "( is opened and not closed"),
            ("a: Alice <>", "target \"\""),
            ("a: <ann smith>", "<ann smith> is no address"),
            ("a: ann>", "unexpected >"),
            ("a: Alice <|/bin/sh>", "a pipe is not run here"),
            ("a: |/bin/cat <x (y", "a pipe is not run here"),
            ("a: team:;", "alias a has no target"),
        ] {
            let (aliases, bad) = parse(text);
            assert!(aliases.get("a").is_some_and(|alias| alias.targets.is_empty()), "{text}");
            assert!(bad.len() == 1 && bad[0].contains(why), "{text}: {bad:?}");
        }
    }

    #[test]
    fn bad_lines_spoil_nothing_else() {
        let text = "nocolon\nempty:\npipe: \"|/bin/sh\"\nfile: /tmp/x\nincl: :include:/etc/x\n\
                    two: ann\nTWO: bob\n\"open: x\nother@far.test: x\nbad: a@b@c\n: x\ngood: ann\n";
        let (aliases, bad) = parse(text);
        let served: Vec<_> = aliases.iter().filter(|alias| !alias.targets.is_empty()).collect();
        assert_eq!(served.len(), 2);
        // Its mail must not go to a user or a catch_all of that name.
        assert!(aliases.get("pipe").is_some_and(|alias| alias.targets.is_empty()));
        assert_eq!(aliases.get("Good").map(|alias| alias.line), Some(12));
        let lines: Vec<&str> = bad.iter().map(|b| b.split(": ").next().unwrap()).collect();
        assert_eq!(lines, ["a:1", "a:2", "a:3", "a:4", "a:5", "a:7", "a:8", "a:9", "a:10", "a:11"]);
        assert_eq!(bad[2], "a:3: alias pipe: |/bin/sh: a pipe is not run here");
        assert_eq!(bad[5], "a:7: alias TWO stands in line 6 already, which counts");
    }
}
