//! What a Dovecot beside Postfix says: its passwd-files, with the passwords of users, and where it looks for mail.
//!
//! Reads Dovecot's configuration as far as that, of 2.3 and of 2.4; starts nothing.

use super::lines::is_blank;
use crate::store::table;
use std::path::{Path, PathBuf};

/// Files that a configuration may include, in all.
const INCLUDES: usize = 200;

/// A passwd-file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswdFile {
    /// Its path, with `%d` or the like still in it.
    pub path: String,
    /// The scheme of passwords that name none.
    pub scheme: String,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundDovecot {
    /// The directory of its configuration.
    pub directory: PathBuf,
    pub passwd_files: Vec<PasswdFile>,
    /// Where a user's Maildir is, as we write it.
    pub maildir: Option<String>,
    /// The user whose mail it is, by name or number.
    pub owner: Option<String>,
}

/// One `key = value`, with the sections that it stands in.
#[derive(Debug)]
struct ConfLine {
    sections: Vec<String>,
    key: String,
    value: String,
}

impl FoundDovecot {
    /// The first of these directories that has a dovecot.conf.
    pub fn find(directories: &[PathBuf]) -> Option<FoundDovecot> {
        let directory = directories.iter().find(|dir| dir.join("dovecot.conf").is_file())?;
        let (mut lines, mut left) = (Vec::new(), INCLUDES);
        read(&directory.join("dovecot.conf"), &mut Vec::new(), &mut lines, &mut left);
        Some(FoundDovecot { directory: directory.clone(), ..FoundDovecot::of(&lines) })
    }

    fn of(lines: &[ConfLine]) -> FoundDovecot {
        let top = |key: &str| {
            let line = lines.iter().rev().find(|line| line.sections.is_empty() && line.key == key);
            line.map(|line| line.value.clone())
        };
        let words_of = |kind: &str, key: &str| {
            let in_args = lines.iter().filter(|line| is_in(line, kind) && line.key == "args");
            let prefix = format!("{key}=");
            let mut words = in_args.flat_map(|line| line.value.split_whitespace());
            words.find_map(|word| word.strip_prefix(&prefix)).map(str::to_owned)
        };
        let home = words_of("userdb", "home").or_else(|| top("mail_home")).or_else(|| {
            let line = lines.iter().find(|line| is_in(line, "userdb") && line.key == "home");
            line.map(|line| line.value.clone())
        });
        FoundDovecot {
            directory: PathBuf::new(),
            passwd_files: passwd_files(lines),
            maildir: maildir(&top, home.as_deref()),
            owner: words_of("userdb", "uid").or_else(|| top("mail_uid")),
        }
    }
}

/// Whether a line stands in a passdb or userdb, or what that is made of.
fn is_in(line: &ConfLine, kind: &str) -> bool {
    line.sections.first().is_some_and(|name| name.split_whitespace().next() == Some(kind))
}

fn passwd_files(lines: &[ConfLine]) -> Vec<PasswdFile> {
    let mut files = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_in(line, "passdb")) {
        let same = || lines.iter().enumerate().filter(|(_, other)| other.sections == line.sections);
        // 2.4: passdb passwd-file { passwd_file_path = ... }
        if line.key == "passwd_file_path" {
            let scheme = same().find(|(_, other)| other.key.ends_with("default_password_scheme"));
            let scheme = scheme.map_or("CRYPT".to_owned(), |(_, other)| other.value.clone());
            files.push(PasswdFile { path: line.value.clone(), scheme });
        }
        // 2.3: the sections have no names, so the nearest driver is this one's.
        let is_driver =
            |(index, other): &(usize, &ConfLine)| other.key == "driver" && index.abs_diff(at) <= 4;
        let driver = same().filter(is_driver).min_by_key(|(index, _)| index.abs_diff(at));
        if line.key == "args" && driver.is_some_and(|(_, driver)| driver.value == "passwd-file") {
            let mut scheme = "CRYPT".to_owned();
            for word in line.value.split_whitespace() {
                match word.split_once('=') {
                    Some(("scheme", name)) => scheme = name.to_owned(),
                    Some((key, _)) if !key.contains('/') => {}
                    _ => files.push(PasswdFile { path: word.to_owned(), scheme: scheme.clone() }),
                }
            }
        }
    }
    files
}

/// `mail_location` of 2.3, or `mail_path` of 2.4, as a template of ours.
fn maildir(top: &dyn Fn(&str) -> Option<String>, home: Option<&str>) -> Option<String> {
    let path = match top("mail_location") {
        Some(location) => location.strip_prefix("maildir:")?.split(':').next()?.to_owned(),
        None if top("mail_driver").as_deref() == Some("maildir") => top("mail_path")?,
        None => return None,
    };
    let path = match path
        .strip_prefix('~')
        .or_else(|| path.strip_prefix("%h"))
        .or_else(|| path.strip_prefix("%{home}"))
    {
        Some(rest) => format!("{}{rest}", home?),
        None => path,
    };
    let template = of_variables(path.trim_end_matches('/'))?;
    (template.starts_with('/') && template.contains("{user}")).then_some(template)
}

/// Dovecot's variables as our placeholders; none where there are others. As a test of names needs it, `{domain}` stays.
pub fn of_variables(text: &str) -> Option<String> {
    const KNOWN: [(&str, &str); 15] = [
        ("%{user|username|lower}", "{user}"),
        ("%{user|username}", "{user}"),
        ("%{user|domain|lower}", "{domain}"),
        ("%{user|domain}", "{domain}"),
        ("%{username}", "{user}"),
        ("%{domain}", "{domain}"),
        ("%{user}", "{user}@{domain}"),
        ("%Ln", "{user}"),
        ("%Ld", "{domain}"),
        ("%Lu", "{user}@{domain}"),
        ("%n", "{user}"),
        ("%d", "{domain}"),
        ("%u", "{user}@{domain}"),
        ("%%", "%"),
        ("%{login_domain}", "{domain}"),
    ];
    let (mut made, mut rest) = (String::new(), text);
    while let Some(at) = rest.find('%') {
        made.push_str(&rest[..at]);
        rest = &rest[at..];
        let (variable, ours) = KNOWN.iter().find(|(variable, _)| rest.starts_with(variable))?;
        made.push_str(ours);
        rest = &rest[variable.len()..];
    }
    made.push_str(rest);
    Some(made)
}

/// Reads one file with those that it includes; what cannot be read has no lines. `left`: files that may still follow.
fn read(file: &Path, sections: &mut Vec<String>, lines: &mut Vec<ConfLine>, left: &mut usize) {
    let Some(now) = left.checked_sub(1) else { return };
    *left = now;
    let Ok(octets) = table::read(file) else { return };
    let outside = sections.len();
    for line in String::from_utf8_lossy(&octets).lines() {
        let line = line.trim_matches(is_blank);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let included = line.strip_prefix("!include_try").or_else(|| line.strip_prefix("!include"));
        if let Some(pattern) = included {
            for path in matching(file.parent().unwrap_or(Path::new("/")), pattern.trim()) {
                read(&path, sections, lines, left);
            }
            continue;
        }
        push(line, sections, lines);
    }
    sections.truncate(outside);
}

/// One line: the begin or the end of a section, or a value.
fn push(line: &str, sections: &mut Vec<String>, lines: &mut Vec<ConfLine>) {
    let line = line.split(" #").next().unwrap_or(line).trim_matches(is_blank);
    if line == "}" {
        sections.pop();
        return;
    }
    if let Some(name) = line.strip_suffix('{') {
        sections.push(name.trim_matches(is_blank).to_owned());
        return;
    }
    if let Some((key, value)) = line.split_once('=') {
        let value = value.trim_matches(is_blank).trim_matches('"').to_owned();
        let key = key.trim_matches(is_blank).to_owned();
        lines.push(ConfLine { sections: sections.clone(), key, value });
    }
}

/// The files of a pattern whose last part may have one `*`, in order.
fn matching(directory: &Path, pattern: &str) -> Vec<PathBuf> {
    let path = directory.join(pattern);
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let Some((begin, end)) = name.split_once('*') else { return vec![path] };
    let (begin, end) = (begin.to_owned(), end.to_owned());
    let entries = path.parent().and_then(|dir| std::fs::read_dir(dir).ok());
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.len() >= begin.len() + end.len() && name.starts_with(&begin) && name.ends_with(&end)
    };
    let mut found: Vec<PathBuf> = names.filter(fits).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> FoundDovecot {
        let (mut lines, mut sections) = (Vec::new(), Vec::new());
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .for_each(|line| {
                push(line, &mut sections, &mut lines);
            });
        FoundDovecot::of(&lines)
    }

    #[test]
    fn of_2_3() {
        let it = found(
            "mail_location = maildir:~/Maildir:LAYOUT=fs\npassdb {\n driver = pam\n}\npassdb {\n  driver = passwd-file\n\
             args = scheme=SHA512-CRYPT username_format=%u /etc/dovecot/users # x\n}\nuserdb {\n driver = static\n\
             args = uid=vmail gid=vmail home=/var/vmail/%d/%n\n}\n",
        );
        let file = PasswdFile { path: "/etc/dovecot/users".into(), scheme: "SHA512-CRYPT".into() };
        assert_eq!(
            (it.passwd_files, it.maildir.as_deref()),
            (vec![file], Some("/var/vmail/{domain}/{user}/Maildir"))
        );
        assert_eq!(it.owner.as_deref(), Some("vmail"));
    }

    #[test]
    fn of_2_4() {
        let it = found(
            "mail_driver = maildir\nmail_home = /srv/%{user | domain}/x\nmail_path = /srv/%{user|domain}/%{user|username}\n\
             passdb passwd-file {\n default_password_scheme = BLF-CRYPT\n passwd_file_path = /etc/dovecot/%{user|domain}/pw\n}\n\
             mail_uid = 5000\n",
        );
        let file = PasswdFile {
            path: "/etc/dovecot/%{user|domain}/pw".into(),
            scheme: "BLF-CRYPT".into(),
        };
        assert_eq!(
            (it.passwd_files, it.maildir.as_deref()),
            (vec![file], Some("/srv/{domain}/{user}"))
        );
        assert_eq!(it.owner.as_deref(), Some("5000"));
        for text in [
            "mail_location = mbox:~/mail",
            "mail_location = maildir:~/Maildir",
            "mail_location = maildir:/a/%q/%n",
            "",
        ] {
            assert_eq!(found(text).maildir, None, "{text}");
        }
        assert_eq!(of_variables("/a/%Ld/%Ln/100%%"), Some("/a/{domain}/{user}/100%".to_owned()));
    }
}
