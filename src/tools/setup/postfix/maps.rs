//! Lookup tables of Postfix, `type:name` (postconf(5), DATABASE_README): those with a text that can be read here.
//!
//! The text beside a compiled table is read (`/etc/postfix/virtual` for `hash:/etc/postfix/virtual`), never the
//! compiled one. Tables that are programs (regexp, SQL, LDAP) have no entries, and are named.

use super::files::{PostfixFiles, compiled};
use super::lines::{braced, is_blank, logical_lines, words};
use crate::limits::MACRO_DEPTH;
use crate::mail::address::Domain;
use std::collections::{HashMap, HashSet};

/// One entry, in the order of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// In lower case, as Postfix compares it.
    pub key: String,
    /// As it is written, without blanks around it.
    pub value: String,
}

impl MapEntry {
    /// The name of a key at this domain; none for `@domain`.
    pub fn name_at(&self, domain: &Domain) -> Option<&str> {
        let (name, host) = self.key.rsplit_once('@')?;
        (!name.is_empty() && host == domain.as_str()).then_some(name)
    }
}

/// Several tables that are asked one after the other: the first that has a key counts.
#[derive(Clone, Debug, Default)]
pub struct Maps {
    pub entries: Vec<MapEntry>,
    /// The value of a table that has every key.
    pub any: Option<String>,
    /// Accounts of this system are among the keys.
    pub has_accounts: bool,
    /// Tables that cannot be read here: as it is named, and why with what to do.
    pub unread: Vec<(String, String)>,
}

/// How the text of a table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextForm {
    /// Key, blanks, value.
    Table,
    /// `name: value`, as aliases(5) has it.
    Aliases,
}

impl Maps {
    /// The tables of a list, `hash:/etc/postfix/virtual, texthash:/etc/postfix/more`.
    pub fn read(list: &str, files: &PostfixFiles) -> Maps {
        Maps::of(list, files, TextForm::Table)
    }

    /// The same where the texts are aliases(5).
    pub fn aliases(list: &str, files: &PostfixFiles) -> Maps {
        Maps::of(list, files, TextForm::Aliases)
    }

    /// The value of a key, which is compared in lower case.
    pub fn get(&self, key: &str) -> Option<&str> {
        let key = key.to_lowercase();
        let found = self.entries.iter().find(|entry| entry.key == key);
        found.map(|entry| entry.value.as_str()).or(self.any.as_deref())
    }

    fn of(list: &str, files: &PostfixFiles, form: TextForm) -> Maps {
        let mut maps = Maps::default();
        for reference in words(list) {
            maps.add(one(&reference, files, form, 0));
        }
        maps
    }

    /// Adds what is not known yet.
    fn add(&mut self, more: Maps) {
        // A table that has every key hides all behind it.
        if self.any.is_none() {
            let known: HashSet<String> =
                self.entries.iter().map(|entry| entry.key.clone()).collect();
            let new = more.entries.into_iter().filter(|entry| !known.contains(&entry.key));
            self.entries.extend(new);
            self.any = more.any;
            self.has_accounts |= more.has_accounts;
        }
        self.unread.extend(more.unread);
    }

    fn unread(reference: &str, why: impl Into<String>) -> Maps {
        Maps { unread: vec![(reference.to_owned(), why.into())], ..Maps::default() }
    }
}

/// The table of one reference. `depth`: tables it stands in.
fn one(reference: &str, files: &PostfixFiles, form: TextForm, depth: usize) -> Maps {
    let (kind, name) = match reference.split_once(':') {
        Some((kind, name)) if !kind.contains('/') => (kind, name.trim_matches(is_blank)),
        _ => {
            return Maps::unread(
                reference,
                "it is no type:name, so Postfix does not read it either",
            );
        }
    };
    if depth > MACRO_DEPTH {
        return Maps::unread(reference, "too many tables inside of each other");
    }
    match kind.to_ascii_lowercase().as_str() {
        "proxy" | "proxywrite" => one(name, files, form, depth + 1),
        "hash" | "btree" | "lmdb" | "cdb" | "dbm" | "sdbm" => {
            of_source(reference, name, files, form)
        }
        "texthash" => of_source(reference, name, files, TextForm::Table),
        "inline" => inline(reference, name),
        "static" => {
            let value = braced(name).unwrap_or(name).to_owned();
            Maps { any: Some(value), ..Maps::default() }
        }
        "unix" if name.starts_with("passwd.by") => Maps { has_accounts: true, ..Maps::default() },
        "unionmap" => union(reference, name, files, form, depth),
        "regexp" | "pcre" => Maps::unread(
            reference,
            "regular expressions have no counterpart: write the addresses they stand for into the aliases files",
        ),
        "mysql" | "pgsql" | "sqlite" | "ldap" | "mongodb" | "nis" | "nisplus" | "netinfo" => {
            Maps::unread(
                reference,
                format!(
                    "{kind} is not asked here: export its addresses to a text file, name that in main.cf as \
                 texthash:FILE, and run setup again; or add them by hand (facteur user add, aliases files)"
                ),
            )
        }
        "cidr" => Maps::unread(reference, "networks as keys have no counterpart here"),
        _ => Maps::unread(
            reference,
            format!(
                "{kind} tables are not read here: write what it answers into the aliases files"
            ),
        ),
    }
}

fn of_source(reference: &str, name: &str, files: &PostfixFiles, form: TextForm) -> Maps {
    let source = files.place(name);
    match files.read(name) {
        Ok(octets) => Maps { entries: entries(&octets, form), ..Maps::default() },
        Err(_) if !source.exists() && compiled(&source).is_some() => {
            let path = source.display();
            let dump = match form {
                TextForm::Table => format!("postmap -s {reference} > {path}"),
                TextForm::Aliases => format!("postalias -s {reference} > {path}"),
            };
            Maps::unread(
                reference,
                format!(
                    "only the compiled table is there; make its text by {dump}, and run setup again"
                ),
            )
        }
        Err(why) => Maps::unread(reference, format!("{why}; Postfix cannot have read it either")),
    }
}

fn entries(octets: &[u8], form: TextForm) -> Vec<MapEntry> {
    let mut entries: Vec<MapEntry> = Vec::new();
    let mut known = HashSet::new();
    for line in logical_lines(octets) {
        let ends: fn(char) -> bool = match form {
            TextForm::Table => is_blank,
            TextForm::Aliases => |c| c == ':',
        };
        let Some((key, value)) = cut(&line.text, ends) else { continue };
        // The first of a key counts.
        if !value.is_empty() && known.insert(key.clone()) {
            entries.push(MapEntry { key, value });
        }
    }
    entries
}

/// The key of a line, in lower case and without quotes, and its value.
fn cut(line: &str, ends: fn(char) -> bool) -> Option<(String, String)> {
    let (mut key, mut is_quoted, mut chars) = (String::new(), false, line.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => is_quoted = !is_quoted,
            '\\' => key.extend(chars.next().map(|(_, c)| c)),
            c if ends(c) && !is_quoted => {
                let value = line[at + c.len_utf8()..].trim_matches(is_blank);
                return Some((key.trim_matches(is_blank).to_lowercase(), value.to_owned()));
            }
            c => key.push(c),
        }
    }
    None
}

/// `{ key=value, { key = text with blanks } }`.
fn inline(reference: &str, text: &str) -> Maps {
    let Some(inside) = braced(text) else {
        return Maps::unread(reference, "expected inline:{ key=value, ... }");
    };
    let pair = |word: String| {
        let (key, value) = braced(&word).unwrap_or(&word).split_once('=')?;
        let key = key.trim_matches(is_blank).to_lowercase();
        Some(MapEntry { key, value: value.trim_matches(is_blank).to_owned() })
    };
    Maps { entries: words(inside).into_iter().filter_map(pair).collect(), ..Maps::default() }
}

/// `unionmap:{a, b}`: the values of all tables that have a key, with commas between them.
fn union(reference: &str, text: &str, files: &PostfixFiles, form: TextForm, depth: usize) -> Maps {
    let Some(inside) = braced(text) else {
        return Maps::unread(reference, "expected unionmap:{type:name, ...}");
    };
    let mut all = Maps::default();
    let mut places: HashMap<String, usize> = HashMap::new();
    for part in words(inside) {
        let part = one(braced(&part).unwrap_or(&part), files, form, depth + 1);
        if let Some(value) = part.any {
            all.unread.push((reference.to_owned(), format!("it adds {value} to every key")));
        }
        for entry in part.entries {
            match places.get(&entry.key) {
                Some(at) => {
                    let known = &mut all.entries[*at].value;
                    *known = format!("{known},{}", entry.value);
                }
                None => {
                    places.insert(entry.key.clone(), all.entries.len());
                    all.entries.push(entry);
                }
            }
        }
        all.has_accounts |= part.has_accounts;
        all.unread.extend(part.unread);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shown(maps: &Maps) -> Vec<String> {
        maps.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect()
    }

    #[test]
    fn texts_of_tables() {
        let text = b"# c\nAnn@Example.org  ann,\n  bob\n\nann@example.org eve\nalone\n\"a b\"@x.test\tc d \n\
                     @example.net @example.org\n";
        let maps = Maps { entries: entries(text, TextForm::Table), ..Maps::default() };
        let expected = ["ann@example.org=ann,  bob", "a b@x.test=c d", "@example.net=@example.org"];
        assert_eq!(shown(&maps), expected);
        assert_eq!(maps.get("ANN@example.org"), Some("ann,  bob"));
        let text = b"Root: ann\n\"a:b\" : \"|/bin/x y\", c\nnocolon\nempty:\n";
        let maps = Maps { entries: entries(text, TextForm::Aliases), ..Maps::default() };
        assert_eq!(shown(&maps), ["root=ann", "a:b=\"|/bin/x y\", c"]);
    }

    #[test]
    fn tables_without_files() {
        let files = PostfixFiles::of(Path::new("/nowhere"));
        let list = "inline:{ a=b, {C = d e} } proxy:inline:{{a = x}} static:all inline:{z=z} mysql:/x \
                    unix:passwd.byname";
        let maps = Maps::read(list, &files);
        assert_eq!(shown(&maps), ["a=b", "c=d e"]);
        assert_eq!((maps.get("q"), maps.unread.len(), maps.has_accounts), (Some("all"), 1, false));
        let maps = Maps::read("unionmap:{inline:{a=b},inline:{a=c,d=e}}", &files);
        assert_eq!(shown(&maps), ["a=b,c", "d=e"]);
        let maps = Maps::read("hash:/nowhere/x pcre:/x nonsense unix:passwd.byname", &files);
        assert_eq!((maps.unread.len(), maps.has_accounts), (3, true));
        assert!(Maps::read("", &files).entries.is_empty());
    }
}
