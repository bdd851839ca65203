//! Directories of keys: what is read, what is refused, what is made, what is remembered.

use super::make::{make_dir, make_key};
use super::shown::{self, ShownKey, ShownKeys};
use super::*;
use crate::mail::address::Domain;
use crate::mail::proof::dkim::sign::strings;
use jiff::Timestamp;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

/// A directory of keys; removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let dir = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        make_dir(&dir.join("keys"), None).unwrap();
        Place(dir)
    }

    fn dir(&self) -> PathBuf {
        self.0.join("keys")
    }

    fn put(&self, name: &str, text: &[u8]) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        self.chmod(name, 0o600);
        path
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.dir().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The good keys, and what is said of the bad ones.
    fn read(&self) -> (Vec<String>, Vec<String>) {
        let found = KeyDir::read(&self.dir());
        assert_eq!(found.error, None);
        let good = found.keys.iter().map(|key| format!("{} {}", key.selector, key.kind)).collect();
        let prefix = format!("{}/", self.dir().display());
        (good, found.bad.iter().map(|bad| bad.to_string().replace(&prefix, "")).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn name(text: &str) -> Name {
    selector(text).unwrap()
}

#[test]
fn keys_are_made_whole_and_overwrite_nothing() {
    let place = Place::new();
    for (text, kind) in [("20261201r", KeyKind::Rsa), ("20261201e", KeyKind::Ed25519)] {
        let made = make_key(&place.dir(), &name(text), kind, None).unwrap();
        assert!(made.key.is_shown_by(made.record.as_bytes()));
        assert!(made.record.starts_with(&format!("v=DKIM1; k={kind}; p=")), "{}", made.record);
        assert!(strings(&made.record).iter().all(|string| string.len() <= 255));
        let path = place.dir().join(format!("{text}.{kind}.pem"));
        let octets = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = make_key(&place.dir(), &name(text), kind, None).unwrap_err().to_string();
        assert!(again.contains("exists"), "{again}");
        assert_eq!(fs::read(&path).unwrap(), octets);
        assert!(octets.starts_with(b"-----BEGIN PRIVATE KEY-----\nM"));
    }
    assert_eq!(fs::read_dir(place.dir()).unwrap().count(), 2, "a draft is left");
    assert_eq!(place.read(), (vec!["20261201r rsa".into(), "20261201e ed25519".into()], vec![]));
    assert_eq!(fs::metadata(place.dir()).unwrap().permissions().mode() & 0o777, 0o700);
    // A key shows nothing of itself.
    let shown = format!("{:?}", KeyDir::read(&place.dir()));
    assert!(shown.contains("Key(rsa-sha256)") && !shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn version_one_of_pkcs8_is_what_other_programs_read() {
    let place = Place::new();
    make_key(&place.dir(), &name("a"), KeyKind::Ed25519, None).unwrap();
    let text = fs::read_to_string(place.dir().join("a.ed25519.pem")).unwrap();
    // 48 octets: SEQUENCE, version 0, algorithm, the seed; no public key behind it.
    assert_eq!(text.lines().nth(1).map(str::len), Some(64));
    assert!(text.lines().nth(1).unwrap().starts_with("MC4CAQAwBQYDK2VwBCIEI"), "no version 1");
}

#[test]
fn bad_files_are_named_and_the_rest_is_used() {
    let place = Place::new();
    make_key(&place.dir(), &name("good"), KeyKind::Ed25519, None).unwrap();
    let key = fs::read(place.dir().join("good.ed25519.pem")).unwrap();
    for (file, mode) in
        [("g.ed25519.pem", 0o640), ("o.ed25519.pem", 0o604), ("w.ed25519.pem", 0o620)]
    {
        place.put(file, &key);
        place.chmod(file, mode);
    }
    place.put("GOOD.ed25519.pem", &key);
    place.put("x.rsa.pem", &key);
    place.put("torn.ed25519.pem", &key[..60]);
    place.put("locked.rsa.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    place.put("empty.rsa.pem", b"");
    place.put("long.rsa.pem", &[b'x'; 40_000]);
    place.put("a_b.rsa.pem", &key);
    place.put("-a.ed25519.pem", &key);
    place.put("a..b.ed25519.pem", &key);
    place.put("other.pem", &key);
    place.put(".draft.rsa.pem", &key);
    place.put("README", b"about");
    fs::create_dir(place.dir().join("dir.rsa.pem")).unwrap();
    nix::unistd::mkfifo(&place.dir().join("pipe.rsa.pem"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("nowhere", place.dir().join("link.rsa.pem")).unwrap();
    let (good, bad) = place.read();
    assert_eq!(good, ["good ed25519"]);
    let expected = [
        ("-a.ed25519.pem: ", "no selector"),
        ("GOOD.ed25519.pem: ", "another file has the same selector"),
        ("a..b.ed25519.pem: ", "no selector"),
        ("a_b.rsa.pem: ", "no selector"),
        ("dir.rsa.pem: ", "not a regular file"),
        ("empty.rsa.pem: ", "no private key"),
        ("g.ed25519.pem: ", "mode 640"),
        ("link.rsa.pem: ", "No such file"),
        ("locked.rsa.pem: ", "encrypted"),
        ("long.rsa.pem: ", "longer than"),
        ("o.ed25519.pem: ", "mode 604"),
        ("other.pem: ", "SELECTOR.rsa.pem"),
        ("pipe.rsa.pem: ", "not a regular file"),
        ("torn.ed25519.pem: ", ""),
        ("w.ed25519.pem: ", "mode 620"),
        ("x.rsa.pem: ", "of type ed25519, not rsa"),
    ];
    assert_eq!(bad.len(), expected.len(), "{bad:#?}");
    for (line, (start, inside)) in bad.iter().zip(expected) {
        assert!(line.starts_with(start) && line.contains(inside), "{line}");
        assert!(!line.contains("MC4CAQ"), "{line}");
    }
}

#[test]
fn too_many_keys_and_a_directory_that_is_none() {
    let place = Place::new();
    make_key(&place.dir(), &name("a0"), KeyKind::Ed25519, None).unwrap();
    let key = fs::read(place.dir().join("a0.ed25519.pem")).unwrap();
    for at in 10..10 + KEYS_MAX {
        place.put(&format!("b{at}.ed25519.pem"), &key);
    }
    let (good, bad) = place.read();
    assert_eq!((good.len(), good[0].as_str(), bad.len()), (KEYS_MAX, "b10 ed25519", 1), "{bad:?}");
    assert!(bad[0].starts_with("a0.ed25519.pem: there are more than"), "{bad:?}");
    let missing = KeyDir::read(&place.dir().join("nowhere"));
    assert!(missing.error.unwrap().contains("No such file") && !missing.is_passing);
}

#[test]
fn selectors() {
    for text in ["a", "20261201r", "s1.mail", "A-b", "x".repeat(63).as_str()] {
        assert!(selector(text).is_some(), "{text}");
    }
    let long = "x".repeat(64);
    for text in ["", ".", "a.", ".a", "a..b", "../a", "a/b", "a_b", "-a", "a-", "ä", "a b", &long]
    {
        assert!(selector(text).is_none(), "{text}");
    }
}

#[test]
fn what_was_shown_is_read_as_it_was_written() {
    let domain = Domain::parse("mx.test").unwrap();
    let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
    let key = |selector: &str, signs, retired| ShownKey {
        selector: name(selector),
        kind: KeyKind::Rsa,
        digest: "0a".repeat(32),
        first: at(0),
        last: at(1),
        hidden: None,
        signs,
        retired,
    };
    let keys = vec![key("a", Some(at(0)), Some(at(2))), key("b", None, None)];
    for is_lost in [false, true] {
        let shown = ShownKeys { keys: keys.clone(), is_lost };
        let text = shown.text(&domain);
        assert_eq!(ShownKeys::parse(text.as_bytes(), &domain), Ok(shown));
        // A torn file is none.
        for end in 0..text.len() {
            assert!(ShownKeys::parse(&text.as_bytes()[..end], &domain).is_err(), "{end}");
        }
        let other = Domain::parse("other.test").unwrap();
        assert!(ShownKeys::parse(text.as_bytes(), &other).is_err());
        for (from, to) in [
            ("0a0a", "0A0a"),
            ("0a0a", "0a"),
            ("rsa", "dsa"),
            ("key a", "key ../a"),
            ("first ", "frist "),
            ("2027-", "-"),
            ("retired -", "retired"),
            ("end\n", "end\nend\n"),
            ("key a", "\0"),
        ] {
            let bad = text.replace(from, to);
            assert!(ShownKeys::parse(bad.as_bytes(), &domain).is_err(), "{bad}");
        }
    }
    let long = format!("{}{}", "#\n".repeat(40_000), ShownKeys::default().text(&domain));
    assert!(ShownKeys::parse(long.as_bytes(), &domain).is_err());
}

#[test]
fn a_damaged_file_counts_as_lost_and_is_written_anew() {
    let place = Place::new();
    let (spool, domain) = (place.0.join("spool"), Domain::parse("mx.test").unwrap());
    assert_eq!(shown::read(&spool, &domain), (ShownKeys::default(), None));
    assert!(!shown::is_there(&spool, &domain));
    let written = shown::change(&spool, &domain, |known| known).unwrap();
    assert_eq!((written, shown::is_there(&spool, &domain)), (ShownKeys::default(), true));
    let path = shown::path(&spool, &domain);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for text in ["", "x", "domain mx.test\n"] {
        fs::write(&path, text).unwrap();
        let (shown, fault) = shown::read(&spool, &domain);
        assert!(shown.is_lost && fault.unwrap().contains("dkim/mx.test: "), "{text}");
        let kept = shown::change(&spool, &domain, |known| known).unwrap();
        assert!(kept.is_lost, "{text}");
    }
    shown::change(&spool, &domain, |_| ShownKeys { is_lost: true, ..Default::default() }).unwrap();
    assert!(shown::read(&spool, &domain).0.is_lost);
    // What a crash left goes, what is being written stays.
    let draft = path.with_file_name(".mx.test.draft");
    fs::write(&draft, "x").unwrap();
    shown::clean(&spool, SystemTime::now());
    assert!(draft.exists());
    shown::clean(&spool, SystemTime::now() + Duration::from_hours(2));
    assert!(!draft.exists() && path.exists());
}
