use super::blocklists::{Blocklists, Ipv6List, ListedClient, TestedList, test};
use crate::config::{Blocklist, Config};
use crate::limits::gates::{LIST_SILENCES, LIST_WAIT, LISTS_WAIT};
use crate::mail::proof::name::Name;
use crate::net::dns::{DnsAnswer, DnsError, DnsFault, Record, RecordKind, Records, Resolver};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

/// Names with their addresses and texts, names that take all the time there is, and what was asked.
#[derive(Debug, Default)]
struct Names {
    addresses: Vec<(&'static str, &'static str)>,
    texts: Vec<(&'static str, Vec<u8>)>,
    silent: Vec<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl Resolver for Names {
    fn lookup(&self, name: &[u8], kind: RecordKind) -> Result<DnsAnswer, DnsError> {
        self.lookup_within(name, kind, Duration::ZERO)
    }

    fn lookup_within(
        &self,
        name: &[u8],
        kind: RecordKind,
        time: Duration,
    ) -> Result<DnsAnswer, DnsError> {
        let name = String::from_utf8_lossy(name).into_owned();
        self.asked.lock().unwrap().push(name.clone());
        if self.silent.iter().any(|silent| name.ends_with(silent)) {
            thread::sleep(time.min(Duration::from_millis(1)));
            let (what, servers) = (DnsFault::Timeout(time), String::new());
            return Err(DnsError { name, what, servers });
        }
        let found: Vec<Record> = match kind {
            RecordKind::A => {
                let its = self.addresses.iter().filter(|(known, _)| name.starts_with(known));
                its.map(|(_, address)| Record::Address(address.parse().unwrap())).collect()
            }
            _ => {
                let its = self.texts.iter().filter(|(known, _)| name.starts_with(known));
                its.map(|(_, text)| Record::Txt(text.clone())).collect()
            }
        };
        let records = if found.is_empty() { Records::NoName } else { Records::Found(found) };
        Ok(DnsAnswer { records, secure: false })
    }
}

impl Names {
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn lists(written: &str) -> Vec<Blocklist> {
    let text = format!(
        "hostname = \"mx.test\"\n[domain.\"mx.test\"]\n[trust]\nblocklists = [{written}]\n"
    );
    Config::parse(&text, Path::new("facteur.toml")).unwrap().trust.blocklists
}

const V6_POINT: &str = "2.0.0.0.0.0.f.7.f.f.f.f.0.";
const V6_FREE: &str = "1.0.0.0.0.0.f.7.f.f.f.f.0.";

#[test]
fn test_points() {
    for (addresses, expected) in [
        (&[("2.0.0.127.", "127.0.0.2")][..], "works, not for IPv6"),
        (&[("2.0.0.127.", "127.0.0.10"), (V6_POINT, "127.0.0.2")], "works"),
        (
            &[("2.0.0.127.", "127.0.0.2"), (V6_POINT, "127.0.0.2"), (V6_FREE, "127.0.0.2")],
            "works, not for IPv6",
        ),
        // Dead, taken over, all-listing, and one that serves nobody here.
        (&[], "::ffff:127.0.0.2 is not"),
        (&[("", "127.0.0.2")], "it lists everybody"),
        (&[("", "192.0.2.80")], "answers 192.0.2.80: that is no answer of a list"),
        (&[("", "127.255.255.254")], "answers 127.255.255.254: it does not serve this resolver"),
        (&[("2.0.0.127.", "127.0.0.2"), ("1.0.0.127.", "127.255.255.254")], "it lists everybody"),
        (&[("2.0.0.127.", "127.0.0.1")], "127.0.0.2 is not in it"),
    ] {
        let names = Names { addresses: addresses.to_vec(), ..Names::default() };
        let told = match test(&names, &name("l.test")) {
            TestedList::Works(Ipv6List::Works) => "works".to_owned(),
            TestedList::Works(Ipv6List::No(_)) => "works, not for IPv6".to_owned(),
            TestedList::Works(Ipv6List::Silent(why)) | TestedList::Silent(why) => why,
            TestedList::Wrong(why) => why,
        };
        let expected =
            expected.replace("::ffff:127.0.0.2 is not", "127.0.0.2 is not in it, and has to be");
        assert!(told.contains(&expected), "{addresses:?}: {told}");
    }
    let names = Names { silent: vec!["l.test"], ..Names::default() };
    assert!(matches!(test(&names, &name("l.test")), TestedList::Silent(_)));
    assert_eq!(names.asked(), ["2.0.0.127.l.test"], "one silence is enough");
}

/// All lists that are named, on.
fn working(all: &[Blocklist]) -> Blocklists {
    let lists = Blocklists::default();
    for list in all {
        lists.note_test(&list.zone, &TestedList::Works(Ipv6List::Works));
    }
    lists
}

fn ask(lists: &Blocklists, names: &Names, all: &[Blocklist], client: &str) -> Option<ListedClient> {
    lists.ask(names, all, client.parse::<IpAddr>().unwrap())
}

#[test]
fn the_first_that_has_the_client_is_enough() {
    let names = Names {
        addresses: vec![
            ("7.2.0.192.one", "127.0.0.3"),
            ("7.2.0.192.two", "127.0.0.2"),
            ("8.2.0.192.one", "127.0.0.3"),
            ("8.b.d.0.1.0.0.2.two", "127.0.0.2"),
        ],
        texts: vec![("7.2.0.192.two", b"see\r\n250 \xff".to_vec())],
        ..Names::default()
    };
    let all =
        lists("{ zone = \"one.test\", codes = [\"127.0.0.2\"] }, \"two.test\", \"three.test\"");
    let lists = working(&all);
    let found = ask(&lists, &names, &all, "::ffff:192.0.2.7").unwrap();
    assert_eq!((found.zone, found.code), (name("two.test"), [127, 0, 0, 2].into()));
    assert_eq!(found.text.as_deref(), Some(&b"see\r\n250 \xff"[..]));
    let asked = ["7.2.0.192.one.test", "7.2.0.192.two.test", "7.2.0.192.two.test"];
    assert_eq!(names.asked(), asked);
    assert_eq!(ask(&lists, &names, &all, "192.0.2.8"), None, "a code that is not wanted");
    assert_eq!(names.asked().len(), 3);
    // One without IPv6 is not asked about it.
    let no = Ipv6List::No("no test point".to_owned());
    lists.note_test(&name("two.test"), &TestedList::Works(no));
    assert_eq!(ask(&lists, &names, &all, "2001:db8::7"), None);
    let asked = names.asked();
    assert!(
        asked.len() == 2
            && asked[0].starts_with("7.0.0.0.")
            && asked[0].ends_with(".8.b.d.0.1.0.0.2.one.test")
    );
}

#[test]
fn only_lists_that_were_tested_well_are_asked() {
    let names = Names { addresses: vec![("", "127.0.0.2")], ..Names::default() };
    let (all, lists) = (lists("\"one.test\""), Blocklists::default());
    let test = |tested: TestedList| {
        let before = lists.note_test(&all[0].zone, &tested);
        (before, ask(&lists, &names, &all, "192.0.2.7").is_some())
    };
    let silent = || TestedList::Silent("no answer".to_owned());
    assert_eq!(test(silent()), (None, false));
    assert_eq!(test(TestedList::Works(Ipv6List::Works)), (Some(false), true));
    // DNS that fails changes nothing.
    assert_eq!(test(silent()), (Some(true), true));
    assert_eq!(test(TestedList::Wrong("dead".to_owned())), (Some(true), false));
    assert_eq!(test(silent()), (Some(false), false));
    assert_eq!(lists.keep(&all), (0, 1));
    assert_eq!(lists.keep(&[]), (0, 0));
}

#[test]
fn one_that_does_not_answer_is_left_alone() {
    let names = Names { silent: vec!["one.test"], ..Names::default() };
    let all = lists("\"one.test\", \"two.test\"");
    let lists = working(&all);
    for _ in 0..LIST_SILENCES + 2 {
        assert_eq!(ask(&lists, &names, &all, "192.0.2.7"), None);
    }
    let asked = names.asked();
    let of = |zone: &str| asked.iter().filter(|name| name.ends_with(zone)).count();
    assert_eq!((of("one.test"), of("two.test")), (3, 5));
    assert!(LIST_WAIT * LIST_SILENCES <= LISTS_WAIT);
}

/// It may have begun to refuse this resolver since it was tested.
#[test]
fn one_that_answers_nonsense_is_left_alone() {
    let names = Names { addresses: vec![("", "127.255.255.254")], ..Names::default() };
    let all = lists("\"one.test\"");
    let lists = working(&all);
    for _ in 0..LIST_SILENCES + 2 {
        assert_eq!(ask(&lists, &names, &all, "192.0.2.7"), None);
    }
    assert_eq!(names.asked().len(), 3);
}

#[test]
fn a_customers_key_is_not_told() {
    for (zone, shown) in [
        ("zen.example.net", "zen.example.net"),
        ("abcdefghijklmnopqrstuvwx23.zen.dq.example.net", "zen.dq.example.net"),
        (
            "a-name-that-is-as-long-as-that.example.net",
            "a-name-that-is-as-long-as-that.example.net",
        ),
        ("abcdefghijklmnopqrstuvwx23.test", "abcdefghijklmnopqrstuvwx23.test"),
    ] {
        let listing = ListedClient { zone: name(zone), code: [127, 0, 0, 2].into(), text: None };
        assert_eq!(listing.public_name(), shown);
    }
}
