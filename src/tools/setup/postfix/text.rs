//! The texts of users and aliases files for domains that were moved. Pure; what was written is read again by the
//! server's own reader, and a line that it would not take is named and not written.

use super::domains::{MovedAlias, MovedDomain, MovedTarget};
use crate::mail::address::{Domain, Host, LocalPart, Mailbox, is_atext};
use crate::store::aliases::Aliases;
use crate::store::users::Users;
use std::collections::BTreeMap;
use std::path::Path;

/// The fields of a user behind the name: `{SCHEME}hash:uid:gid:...`, as a passwd-file has them.
pub type UserFields = BTreeMap<String, String>;

/// The users file of a domain, and those of its users who have no password yet. A line of `known` stays as it is, but for
/// a password that cannot be used.
pub fn users(domain: &Domain, names: &[String], known: &UserFields) -> (String, Vec<String>) {
    let mut text = format!(
        "# Users of {domain}, for facteur and Dovecot: user:{{SCHEME}}hash:::::\n\
         # To give one a password: facteur user add ann@{domain}\n"
    );
    let mut without = Vec::new();
    for name in names {
        let line = known.get(name).map(|fields| format!("{name}:{fields}"));
        let is_good = |line: &String| {
            let (users, bad) = Users::parse(line.as_bytes(), Path::new("-"), domain);
            bad.is_empty() && users.password(name).is_some()
        };
        match line.filter(is_good) {
            Some(line) => text.push_str(&line),
            None => {
                without.push(name.clone());
                text.push_str(&format!("{name}::::::"));
            }
        }
        text.push('\n');
    }
    (text, without)
}

/// The aliases file of a domain, and words for what could not be written.
pub fn aliases(domain: &MovedDomain) -> (String, Vec<String>) {
    let mut text = format!(
        "# Aliases of {}, aliases(5): name: target, target. A target is a user, an alias, or an address elsewhere.\n\
         # The server takes a change by itself.\n\n",
        domain.name
    );
    let mut remarks = Vec::new();
    for alias in &domain.aliases {
        let line = line(alias);
        let (_, bad) = Aliases::parse(line.as_bytes(), Path::new("-"), &domain.name);
        match bad.first() {
            None => text.push_str(&line),
            Some(bad) => {
                remarks.push(format!("{}@{}: {}: left out", alias.name, domain.name, bad.what));
            }
        }
    }
    (text, remarks)
}

fn line(alias: &MovedAlias) -> String {
    let targets: Vec<String> = alias.targets.iter().map(|word| target(word, &alias.name)).collect();
    format!("{}: {}\n", name(&alias.name), targets.join(", "))
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('#') && name.bytes().all(|b| is_atext(b) || b == b'.')
}

fn name(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { quoted(name) }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A target as the file writes it. A user who is meant and no alias has a backslash, but for the alias's own name.
fn target(word: &MovedTarget, alias: &str) -> String {
    match &word.host {
        None if is_plain(&word.name) => {
            let is_own = word.name.eq_ignore_ascii_case(alias);
            format!("{}{}", if word.is_user && !is_own { "\\" } else { "" }, word.name)
        }
        None => quoted(&word.name),
        Some(host) => at(&word.name, host),
    }
}

/// A whole address, quoted where it has to be.
pub fn at(name: &str, host: &str) -> String {
    match Domain::parse(host) {
        Ok(host) => {
            Mailbox { local: LocalPart::of_user(name), host: Host::Domain(host) }.to_string()
        }
        Err(_) => format!("{name}@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let word = |name: &str, host: Option<&str>, is_user| MovedTarget {
            name: name.to_owned(),
            host: host.map(str::to_owned),
            is_user,
        };
        let alias = |name: &str, targets: &[MovedTarget]| MovedAlias {
            name: name.to_owned(),
            targets: targets.to_vec(),
        };
        let name = Domain::parse("a.test").unwrap();
        let domain = MovedDomain {
            name: name.clone(),
            alias_of: None,
            shares: None,
            users: Vec::new(),
            aliases: vec![
                alias(
                    "info",
                    &[
                        word("ann", None, false),
                        word("bob", None, true),
                        word("x y", Some("b.test"), false),
                    ],
                ),
                alias("a:b", &[word("a:b", None, false)]),
                alias("bob", &[word("bob", None, true)]),
                alias("lit", &[word("x", Some("[192.0.2.1]"), false)]),
            ],
            catch_all: None,
        };
        let (text, remarks) = aliases(&domain);
        assert_eq!(remarks, Vec::<String>::new());
        let lines: Vec<&str> = text.lines().skip(3).collect();
        let expected = [
            "info: ann, \\bob, \"x y\"@b.test",
            "\"a:b\": \"a:b\"",
            "bob: bob",
            "lit: x@[192.0.2.1]",
        ];
        assert_eq!(lines, expected);
        let known = UserFields::from([
            ("ann".to_owned(), "{PLAIN}x:5000:5000::/home::".to_owned()),
            ("bob".to_owned(), "{MD5}x::::::".to_owned()),
        ]);
        let names = ["ann", "bob", "eve"].map(str::to_owned);
        let (text, without) = users(&name, &names, &known);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines, ["ann:{PLAIN}x:5000:5000::/home::", "bob::::::", "eve::::::"]);
        assert_eq!(without, ["bob", "eve"]);
    }
}
