//! A users file as somebody wrote it: only names that can be users, a password can be set in it and a
//! user removed, and nobody else notices.

use facteur::limits::BAD_LINE_MAX;
use facteur::mail::address::{Domain, LocalPart, is_file_name};
use facteur::store::password::Stored;
use facteur::store::users::{Users, edit};
use std::collections::BTreeMap;
use std::path::Path;

pub fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        // A single password as well: whatever can be read is shown without its hash.
        let _ = Stored::parse(text).map(|stored| {
            assert_eq!(format!("{stored:?}"), format!("{{{}}}", stored.scheme()));
        });
    }
    let domain = Domain::parse("mx.test").unwrap();
    let users = read(data, &domain);
    for name in users.names() {
        assert!(is_file_name(name) && LocalPart::from_plain(name).is_ok(), "{name:?}");
        assert_eq!(users.get(&name.to_ascii_uppercase()), Some(name));
        assert_eq!(users.get(&name.to_ascii_lowercase()), Some(name));
    }
    assert_eq!(users.first().is_some(), users.names().next().is_some());
    assert!(users.first().is_none_or(|first| users.get(first) == Some(first)));
    let mut some: Vec<&str> = users.names().collect();
    some.sort_unstable();
    some.truncate(2);
    for name in some.into_iter().chain(["somebody"]) {
        edited(data, &domain, &users, name);
    }
}

fn read(data: &[u8], domain: &Domain) -> Users {
    let (users, bad) = Users::parse(data, Path::new("mx.users"), domain);
    let lines = data.split(|&octet| octet == b'\n').count();
    assert!(bad.windows(2).all(|two| two[0].line < two[1].line));
    for bad in bad {
        assert!((1..=lines).contains(&bad.line), "{bad}");
        assert!(bad.what.chars().count() <= BAD_LINE_MAX + "...".len(), "{bad}");
    }
    users
}

fn edited(data: &[u8], domain: &Domain, users: &Users, name: &str) {
    let field = "{PLAIN}new";
    let set = edit::set(data, domain, name, field);
    assert_eq!(edit::set(&set, domain, name, field), set, "it is there already");
    let after = read(&set, domain);
    assert!(after.get(name).is_some_and(|found| found.eq_ignore_ascii_case(name)), "{name:?}");
    assert_eq!(others(&after, name), others(users, name));
    if users.get(name).is_none() {
        assert!(after.password(name).is_some_and(|stored| stored.verify("new") == Ok(true)));
    }
    let removed = edit::remove(&set, domain, name).expect("it is there");
    let after = read(&removed, domain);
    assert_eq!((after.get(name), others(&after, name)), (None, others(users, name)));
    assert_eq!(edit::remove(&removed, domain, name), None);
}

/// All but one, with whether they can log in.
fn others<'a>(users: &'a Users, name: &str) -> BTreeMap<&'a str, bool> {
    let others = users.names().filter(|other| !other.eq_ignore_ascii_case(name));
    others.map(|other| (other, users.password(other).is_some())).collect()
}
