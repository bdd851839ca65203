//! An aliases file as somebody wrote it: nothing but mailboxes comes out of it, and written anew it
//! says the same.

use facteur::mail::address::{Domain, Host};
use facteur::store::aliases::{Alias, AliasTarget, Aliases};
use std::collections::HashSet;
use std::path::Path;

pub fn run(data: &[u8]) {
    let domain = Domain::parse("mx.test").unwrap();
    let (aliases, bad) = Aliases::parse(data, Path::new("mx.aliases"), &domain);
    let lines = data.split(|&octet| octet == b'\n').count();
    assert!(bad.iter().all(|bad| (1..=lines).contains(&bad.line)));
    assert!(bad.windows(2).all(|two| two[0].line < two[1].line), "a line is told once");
    let mut written = String::new();
    for alias in aliases.iter() {
        assert!((1..=lines).contains(&alias.line) && !alias.name.contains(char::is_control));
        assert_eq!(aliases.get(&alias.name.to_ascii_uppercase()), Some(alias));
        let each: HashSet<&AliasTarget> = alias.targets.iter().collect();
        assert_eq!(each.len(), alias.targets.len(), "a target is there twice");
        // Kept without targets so that its mail is refused, it must have been named.
        assert!(!alias.targets.is_empty() || bad.iter().any(|bad| bad.line == alias.line));
        written.push_str(&line(alias, &domain));
    }
    let (again, bad) = Aliases::parse(written.as_bytes(), Path::new("again"), &domain);
    assert!(bad.is_empty(), "{bad:?} in {written}");
    for alias in aliases.iter().filter(|alias| !alias.targets.is_empty()) {
        let again = again.get(&alias.name).unwrap_or_else(|| panic!("{alias:?} in {written}"));
        assert_eq!((&again.name, &again.targets), (&alias.name, &alias.targets), "{written}");
    }
}

/// All in quotes; empty for an alias without targets.
fn line(alias: &Alias, domain: &Domain) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let targets = alias.targets.iter().map(|AliasTarget { mailbox, user_only }| {
        let local = mailbox.local.as_str();
        let own = mailbox.host == Host::Domain(domain.clone());
        let is_itself = own && local.eq_ignore_ascii_case(&alias.name);
        match *user_only && !is_itself {
            // With a backslash it stands as it came: without quotes, or in those of an address.
            true if own && !local.contains(['@', ',', ' ', '\t', '<', '>']) => format!("\\{local}"),
            true => format!("\\{mailbox}"),
            false => format!("{}@{}", quoted(local), mailbox.host),
        }
    });
    let targets: Vec<String> = targets.collect();
    match targets.is_empty() {
        true => String::new(),
        false => format!("{}: {}\n", quoted(&alias.name), targets.join(",\n\t")),
    }
}
