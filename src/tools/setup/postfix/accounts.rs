//! The accounts of this system, as passwd(5) has them: who gets mail by local(8). Pure.

use std::path::PathBuf;

/// Who is a person by Debian's rules (adduser.conf(5)): the accounts between these.
const PERSONS: std::ops::RangeInclusive<u32> = 1000..=59_999;

/// One account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// In lower case, as local(8) looks for it.
    pub name: String,
    pub home: PathBuf,
    /// Somebody who can log in, not a part of the system.
    pub is_person: bool,
}

/// All of /etc/passwd, persons first; a broken line is left out.
pub fn accounts(octets: &[u8]) -> Vec<Account> {
    let text = String::from_utf8_lossy(octets);
    let mut all: Vec<Account> = text.lines().filter_map(account).collect();
    all.sort_by_key(|account| !account.is_person);
    all
}

fn account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, _, _, home, shell] = fields[..] else { return None };
    let uid: u32 = uid.parse().ok()?;
    let has_shell = !["nologin", "false", "sync"].iter().any(|none| shell.trim().ends_with(none));
    let is_name = !name.is_empty() && !name.starts_with(['+', '-', '#']);
    is_name.then(|| Account {
        name: name.to_lowercase(),
        home: PathBuf::from(home),
        is_person: PERSONS.contains(&uid) && has_shell,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = b"root:x:0:0:root:/root:/bin/bash\n+nis::::::\nbad:x\nmail:x:8:8::/var/mail:/usr/sbin/nologin\n\
                     nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\nAnn:x:1000:1000::/home/ann:/bin/sh\n";
        let all = accounts(text);
        let names: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.is_person)).collect();
        assert_eq!(names, [("ann", true), ("root", false), ("mail", false), ("nobody", false)]);
    }
}
