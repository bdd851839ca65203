//! The room with real files and a scripted DNS: what a message would be signed with.

use super::*;
use crate::net::dns::{DnsAnswer, DnsFault};
use crate::store::keys::KeyKind;
use crate::store::keys::make::{make_dir, make_key};
use crate::store::locked;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Records by name; a name that is not there does not exist.
#[derive(Debug, Default)]
struct Zone {
    records: Mutex<HashMap<String, Vec<String>>>,
    is_down: Mutex<bool>,
}

impl Resolver for Zone {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        assert_eq!(kind, RecordKind::Txt);
        let name = String::from_utf8(name.to_vec()).unwrap();
        if *locked(&self.is_down) {
            let servers = String::new();
            return Err(DnsError { name, what: DnsFault::ServFail, servers });
        }
        let found = locked(&self.records).get(&name).cloned();
        let text = |text: String| Record::Txt(text.into_bytes());
        let records = found
            .map_or(Records::NoName, |found| Records::Found(found.into_iter().map(text).collect()));
        Ok(DnsAnswer { records, secure: false })
    }
}

/// A configuration with keys for `mx.test`; removed when it is dropped.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let place = Place(std::env::temp_dir().join(format!("facteur-{}", crate::id::message())));
        make_dir(&place.dir(), None).unwrap();
        fs::create_dir(place.0.join("spool")).unwrap();
        place
    }

    fn dir(&self) -> PathBuf {
        self.0.join("keys/mx.test")
    }

    fn config(&self) -> Config {
        let text = "hostname = \"mx.test\"\nspool = \"spool\"\n[domain.\"mx.test\"]\n\
                    dkim = \"keys/mx.test\"\n[domain.\"other.test\"]\n";
        Config::parse(text, &self.0.join("facteur.toml")).unwrap()
    }

    /// A room that has read nothing, as after a restart.
    fn room(&self) -> Arc<Signing> {
        Arc::new(Signing::new(&self.config()))
    }

    fn make(&self, selector: &str, kind: KeyKind) -> DomainKey {
        let selector = Name::parse(selector.as_bytes()).unwrap();
        make_key(&self.dir(), &selector, kind, None).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Zone {
    fn publish(&self, key: &DomainKey) {
        let name = format!("{}._domainkey.mx.test", key.selector);
        let other = "v=spf1 -all".to_owned();
        locked(&self.records).insert(name, vec![other, key.record.clone()]);
    }
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Who signs for a From domain, in words.
fn of(room: &Signing, from: &str) -> String {
    match room.of(&domain(from)) {
        None => "nobody".to_owned(),
        Some((name, Choice::Sign(keys))) => {
            let keys: Vec<String> = keys.iter().map(|key| key.selector.to_string()).collect();
            format!("{name}: {}", keys.join(" "))
        }
        Some((name, Choice::Unsigned(why))) => format!("{name}: unsigned, {why}"),
        Some((name, Choice::Wait(_))) => format!("{name}: wait"),
    }
}

#[test]
fn a_domain_signs_with_what_dns_has_shown_and_remembers_it() {
    let (place, zone) = (Place::new(), Zone::default());
    let room = place.room();
    assert_eq!(of(&room, "mx.test"), "mx.test: unsigned, there is no key");
    let (rsa, ed25519) = (place.make("a", KeyKind::Rsa), place.make("b", KeyKind::Ed25519));
    let room = place.room();
    assert_eq!(of(&room, "mx.test"), "mx.test: unsigned, DNS has not shown a key yet");
    zone.publish(&rsa);
    assert_eq!(room.ask(&domain("mx.test"), &zone).unwrap(), []);
    for (from, expected) in [
        ("mx.test", "mx.test: a"),
        ("a.b.mx.test", "mx.test: a"),
        ("xmx.test", "nobody"),
        ("other.test", "nobody"),
        ("test", "nobody"),
    ] {
        assert_eq!(of(&room, from), expected);
    }
    assert_eq!(room.unpublished(), [(domain("mx.test"), 1)]);
    zone.publish(&ed25519);
    *locked(&zone.is_down) = true;
    assert_eq!(room.ask(&domain("mx.test"), &zone).unwrap().len(), 2);
    assert_eq!(of(&room, "mx.test"), "mx.test: a");
    *locked(&zone.is_down) = false;
    room.ask(&domain("mx.test"), &zone).unwrap();
    let standings = room.standings(&domain("mx.test"));
    let names: Vec<_> = standings.iter().map(|one| one.name.to_string()).collect();
    assert_eq!(names, ["a._domainkey.mx.test", "b._domainkey.mx.test"]);
    assert_eq!(standings[1].record.as_ref(), Some(&ed25519.record));
    // A restart, with DNS down: nothing is asked, and nothing forgotten.
    let room = place.room();
    assert_eq!(of(&room, "mx.test"), "mx.test: a b");
    locked(&zone.records).clear();
    room.ask(&domain("mx.test"), &zone).unwrap();
    assert_eq!((of(&room, "mx.test"), room.unpublished()[0].1), ("mx.test: a b".to_owned(), 2));
}

#[test]
fn another_key_at_the_name_is_not_ours() {
    let (place, zone) = (Place::new(), Zone::default());
    let (own, other) = (place.make("a", KeyKind::Ed25519), place.make("b", KeyKind::Ed25519));
    let name = "a._domainkey.mx.test".to_owned();
    let room = place.room();
    for text in [
        other.record.clone(),
        own.record.replace("p=", "t=s; p=x"),
        own.record.replace("k=ed25519", "k=rsa"),
        "v=DKIM1; k=ed25519; p=".to_owned(),
        "p".repeat(70_000),
    ] {
        locked(&zone.records).insert(name.clone(), vec![text]);
        room.ask(&domain("mx.test"), &zone).unwrap();
        assert!(of(&room, "mx.test").contains("unsigned"));
    }
    let written = format!(" k = ed25519 ;n=hello; {}", own.record.split("; ").nth(2).unwrap());
    locked(&zone.records).insert(name, vec![written]);
    room.ask(&domain("mx.test"), &zone).unwrap();
    assert_eq!(of(&room, "mx.test"), "mx.test: a");
}

#[test]
fn a_key_that_signs_and_becomes_open_lets_mail_wait() {
    let (place, zone) = (Place::new(), Zone::default());
    zone.publish(&place.make("a", KeyKind::Ed25519));
    place.room().ask(&domain("mx.test"), &zone).unwrap();
    let path = place.dir().join("a.ed25519.pem");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let room = place.room();
    assert_eq!(of(&room, "mx.test"), "mx.test: wait");
    let faults = room.faults(&domain("mx.test"));
    let words = format!("toml:4: domain.\"mx.test\".dkim: {}: group or others", path.display());
    assert!(faults.len() == 1 && faults[0].contains(&words), "{faults:?}");
    assert!(room.doubts(&domain("mx.test"))[0].contains("mail of mx.test waits"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(of(&place.room(), "mx.test"), "mx.test: a");
}

#[test]
fn nothing_has_an_effect_that_could_not_be_written_down() {
    let (place, zone) = (Place::new(), Zone::default());
    zone.publish(&place.make("a", KeyKind::Ed25519));
    // No directory can be made there.
    fs::write(place.0.join("spool/dkim"), "x").unwrap();
    let room = place.room();
    room.ask(&domain("mx.test"), &zone).unwrap_err();
    assert_ne!(of(&room, "mx.test"), "mx.test: a");
    fs::remove_file(place.0.join("spool/dkim")).unwrap();
    let room = place.room();
    room.ask(&domain("mx.test"), &zone).unwrap();
    assert_eq!(of(&room, "mx.test"), "mx.test: a");
}

#[test]
fn a_reload_takes_on_new_domains_and_keeps_the_others() {
    let (place, zone) = (Place::new(), Zone::default());
    zone.publish(&place.make("a", KeyKind::Ed25519));
    let room = place.room();
    room.ask(&domain("mx.test"), &zone).unwrap();
    let mut config = place.config();
    config.domains[1].dkim = Some(place.dir());
    room.follow(&config);
    assert_eq!(of(&room, "mx.test"), "mx.test: a");
    // The same keys under another name: DNS has to show them there.
    assert!(of(&room, "other.test").starts_with("other.test: unsigned"));
    config.domains[0].dkim = None;
    room.follow(&config);
    assert_eq!(of(&room, "mx.test"), "nobody");
    config.domains[1].dkim = None;
    room.follow(&config);
    assert!(room.is_off());
}

#[test]
fn without_a_spool_a_command_knows_for_itself() {
    let (place, zone) = (Place::new(), Zone::default());
    zone.publish(&place.make("a", KeyKind::Ed25519));
    fs::remove_dir(place.0.join("spool")).unwrap();
    let room = place.room();
    room.ask(&domain("mx.test"), &zone).unwrap();
    assert_eq!(of(&room, "mx.test"), "mx.test: a");
    assert!(!place.0.join("spool").exists());
    assert!(of(&place.room(), "mx.test").contains("unsigned"));
}

#[test]
fn two_keys_of_one_name_are_doubted() {
    let place = Place::new();
    place.make("a", KeyKind::Ed25519);
    place.make("a", KeyKind::Rsa);
    let doubts = place.room().doubts(&domain("mx.test"));
    let count =
        doubts.iter().filter(|words| words.contains("two keys have the name a._domainkey")).count();
    assert_eq!(count, 1, "{doubts:?}");
}
