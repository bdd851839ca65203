//! Unit tests of SPF, over a table in place of DNS.

use super::*;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Records by name and kind; what is not there has no name. Counts what it is asked.
#[derive(Default)]
struct Table {
    entries: BTreeMap<(String, QueryType), QueryAnswer>,
    asked: Vec<String>,
}

impl Table {
    fn txt(mut self, name: &str, text: impl Into<Vec<u8>>) -> Table {
        let answer = QueryAnswer::Records(vec![ResourceRecord::Txt(text.into())]);
        self.entries.insert((name.to_owned(), QueryType::Txt), answer);
        self
    }

    fn with(mut self, name: &str, kind: QueryType, answer: QueryAnswer) -> Table {
        self.entries.insert((name.to_owned(), kind), answer);
        self
    }

    fn check(&mut self, sender: &str) -> SpfFinding {
        self.check_from("192.0.2.1", sender)
    }

    fn check_from(&mut self, address: &str, sender: &str) -> SpfFinding {
        let client = SpfClient {
            address: address.parse().unwrap(),
            helo: b"mx.client.test",
            receiver: "mx.here.test",
            time: 1_000,
        };
        let (local, domain) = sender.rsplit_once('@').unwrap();
        let identity = SpfIdentity::MailFrom { local: local.as_bytes(), domain: domain.as_bytes() };
        check(self, &client, identity)
    }
}

impl Ask for Table {
    fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
        self.asked.push(format!("{name} {}", word(kind)));
        let known = self.entries.get(&(name.to_string(), kind));
        known.cloned().unwrap_or(QueryAnswer::NoName)
    }
}

fn failed() -> QueryAnswer {
    QueryAnswer::Failed("ns.test did not answer".to_owned())
}

fn a(address: [u8; 4]) -> QueryAnswer {
    QueryAnswer::Records(vec![ResourceRecord::A(address.into())])
}

#[test]
fn reasons_name_the_term_and_the_record() {
    let mut table = Table::default()
        .txt("a.test", "v=spf1 ip4:192.0.2.0/24 -all")
        .txt("b.test", "v=spf1 include:a.test ?all")
        .txt("c.test", "v=spf1 redirect=d.test")
        .txt("d.test", "v=spf1 ~all")
        .txt("e.test", "v=spf1 mx:a.test/33")
        .txt("f.test", "v=spf1 a:x.test -all")
        .txt("g.test", "v=spf1 ip4:10.0.0.0/8")
        .txt("l.test", "v=spf1 include:l.test")
        .txt("v.test", "v=spf1 a a:v.test a:v.test +all")
        .txt("i.test", "v=spf1 include:none.test")
        .txt("n.test", "v=spf1 include:%{h}..x.test")
        .with("x.test", QueryType::A, failed())
        .txt("o.test", "v=spf1 include:%{o1} +all")
        .txt("test", "v=spf1 +all")
        .with("t.test", QueryType::Txt, failed());
    let wanted = [
        ("a.test", SpfResult::Pass, "`ip4:192.0.2.0/24` of a.test"),
        ("b.test", SpfResult::Pass, "`include:a.test` of b.test: `ip4:192.0.2.0/24` of a.test"),
        ("c.test", SpfResult::SoftFail, "`~all` of d.test"),
        ("e.test", SpfResult::PermError, "`mx:a.test/33` in the record of e.test is broken"),
        (
            "f.test",
            SpfResult::TempError,
            "`a:x.test` of f.test: A of x.test: ns.test did not answer",
        ),
        ("g.test", SpfResult::Neutral, "no term of the record of g.test matches"),
        ("l.test", SpfResult::PermError, "more than 10 lookups at `include:l.test` of l.test"),
        (
            "v.test",
            SpfResult::PermError,
            "more than 2 lookups found nothing, at `a:v.test` of v.test",
        ),
        ("i.test", SpfResult::PermError, "`include:none.test` of i.test: no record at none.test"),
        ("n.test", SpfResult::PermError, "`include:%{h}..x.test` of n.test leads to no name"),
        ("t.test", SpfResult::TempError, "TXT of t.test: ns.test did not answer"),
        (
            "o.test",
            SpfResult::PermError,
            "`include:%{o1}` of o.test: `test` is not a domain that could have a record",
        ),
        ("none.test", SpfResult::None, "no record at none.test"),
        ("test", SpfResult::None, "`test` is not a domain that could have a record"),
        ("[192.0.2.1]", SpfResult::None, "`[192.0.2.1]` is not a domain that could have a record"),
        ("192.0.2.1", SpfResult::None, "`192.0.2.1` is not a domain that could have a record"),
        ("", SpfResult::None, "no name was given"),
    ];
    for (domain, result, reason) in wanted {
        let found = table.check(&format!("ann@{domain}"));
        assert_eq!((found.result, found.reason.as_str()), (result, reason), "{domain}");
        assert_eq!(found.domain, domain);
    }
}

#[test]
fn explanations_are_bounded_and_visible() {
    let long = "%{l}".repeat(10_000);
    let mut table = Table::default()
        .txt("a.test", "v=spf1 -all exp=x.%{d}")
        .txt("x.a.test", "%{c} at %{r} for %{s} since %{t}%_%{H}")
        .txt("long.test", "v=spf1 -all exp=x.long.test")
        .txt("x.long.test", long)
        .txt("huge.test", "v=spf1 -all exp=x.huge.test")
        .txt("x.huge.test", vec![b'x'; 10_000_000])
        .txt("odd.test", "v=spf1 -all exp=x.odd.test")
        .txt("x.odd.test", "one\ntwo")
        .txt("soft.test", "v=spf1 ~all exp=x.a.test")
        .txt("in.test", "v=spf1 include:a.test -all")
        .txt("re.test", "v=spf1 redirect=a.test exp=x.odd.test");
    let said = "192.0.2.1 at mx.here.test for ann@a.test since 1000 mx.client.test";
    assert_eq!(table.check("ann@a.test").explanation.as_deref(), Some(said));
    let found = table.check("an\u{0}\u{fc}@a.test").explanation.unwrap();
    assert!(found.contains("for an???@a.test"), "{found}");
    let long = table.check("abc@long.test").explanation.unwrap();
    assert_eq!(long, "abc".repeat(134)[..SPF_EXPLANATION_MAX]);
    for none in ["huge.test", "odd.test", "soft.test", "in.test"] {
        assert_eq!(table.check(&format!("ann@{none}")).explanation, None, "{none}");
    }
    let said = said.replace("ann@a", "ann@re");
    assert_eq!(table.check("ann@re.test").explanation, Some(said));
}

/// RFC 8616 §4.
#[test]
fn local_parts_outside_of_ascii_match_nothing() {
    let mut table = Table::default()
        .txt("a.test", "v=spf1 exists:%{l}.a.test exists:%{S}.test -all exp=%{l}.a.test")
        .txt("r.test", "v=spf1 redirect=%{l}.a.test")
        .txt("xn--bcher-kva.test", "v=spf1 +all");
    let found = table.check("\u{fc}@a.test");
    assert_eq!((found.result, found.explanation), (SpfResult::Fail, None));
    assert_eq!(table.asked, ["a.test TXT"]);
    assert_eq!(table.check("\u{fc}@r.test").result, SpfResult::Neutral);
    let found = table.check("ann@B\u{fc}cher.test");
    assert_eq!((found.result, &found.domain[..]), (SpfResult::Pass, "xn--bcher-kva.test"));
}

#[test]
fn reverse_names_are_asked_for_once_and_count() {
    let reverse = "1.2.0.192.in-addr.arpa";
    let names =
        ["other.test", "x.a.test", "a.test"].map(|name| Name::parse(name.as_bytes()).unwrap());
    let names = names.map(ResourceRecord::Ptr).to_vec();
    let mut table = Table::default()
        .with(reverse, QueryType::Ptr, QueryAnswer::Records(names))
        .with("other.test", QueryType::A, a([192, 0, 2, 1]))
        .with("x.a.test", QueryType::A, a([192, 0, 2, 1]))
        .with("a.test", QueryType::A, failed())
        .with("x.a.test.ok.test", QueryType::A, a([127, 0, 0, 2]))
        .txt("a.test", "v=spf1 ptr:not.test exists:%{p}.no.test exists:%{p}.ok.test -all");
    assert_eq!(table.check("ann@a.test").result, SpfResult::Pass);
    assert_eq!(table.asked.iter().filter(|asked| asked.ends_with("PTR")).count(), 1);
    // Without a ptr term the macro's question is one of the ten.
    for (terms, result) in [(8, SpfResult::Pass), (9, SpfResult::PermError)] {
        let silent = "include:silent.test ".repeat(terms);
        let mut table = Table::default()
            .txt("silent.test", "v=spf1 ?all")
            .txt("a.test", format!("v=spf1 {silent}exists:%{{p}}.ok.test -all"))
            .with("unknown.ok.test", QueryType::A, a([127, 0, 0, 2]));
        let found = table.check("ann@a.test");
        assert_eq!(found.result, result, "{terms}: {}", found.reason);
    }
}

/// A host without an address of the client's family is no void lookup, as a term is what counts.
#[test]
fn voids_are_counted_by_terms() {
    let host = |name: &str| ResourceRecord::Mx {
        preference: 1,
        host: Name::parse(name.as_bytes()).unwrap(),
    };
    let hosts = ["m1.test", "m2.test", "m3.test", "m4.test"].map(host).to_vec();
    let mut table = Table::default()
        .with("a.test", QueryType::Mx, QueryAnswer::Records(hosts.clone()))
        .with("m4.test", QueryType::A, a([192, 0, 2, 1]))
        .txt("a.test", "v=spf1 mx -all");
    assert_eq!(table.check("ann@a.test").result, SpfResult::Pass);
    assert_eq!(table.check_from("2001:db8::1", "ann@a.test").result, SpfResult::Fail);
    let eleven: Vec<ResourceRecord> = (0..11).map(|n| host(&format!("m{n}.test"))).collect();
    table = table.with("a.test", QueryType::Mx, QueryAnswer::Records(eleven));
    assert_eq!(table.check("ann@a.test").result, SpfResult::PermError);
}

/// Whatever question fails, the result is what the RFC says of that mechanism, and never a "no".
#[test]
fn an_asker_that_fails_at_any_moment() {
    struct Until<'a>(&'a mut Table, usize);
    impl Ask for Until<'_> {
        fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
            match self.1.checked_sub(1) {
                Some(left) => {
                    self.1 = left;
                    self.0.ask(name, kind)
                }
                None => failed(),
            }
        }
    }
    let mx = ResourceRecord::Mx { preference: 1, host: Name::parse(b"m.test").unwrap() };
    let mut table = Table::default()
        .txt("a.test", "v=spf1 a:m.test mx:m.test exists:e.m.test include:i.test -all exp=x.test")
        .txt("i.test", "v=spf1 a:m.test redirect=j.test")
        .txt("j.test", "v=spf1 -all")
        .txt("x.test", "no")
        .with("m.test", QueryType::Mx, QueryAnswer::Records(vec![mx]))
        .with("m.test", QueryType::A, a([10, 0, 0, 1]));
    let whole = table.check("ann@a.test");
    assert_eq!((whole.result, whole.explanation.as_deref()), (SpfResult::Fail, Some("no")));
    let questions = table.asked.len();
    for left in 0..questions {
        let client = SpfClient { address: [192, 0, 2, 1].into(), helo: b"", receiver: "", time: 0 };
        let identity = SpfIdentity::MailFrom { local: b"ann", domain: b"a.test" };
        let found = check(&mut Until(&mut table, left), &client, identity);
        if left + 1 == questions {
            assert_eq!((found.result, found.explanation), (SpfResult::Fail, None));
        } else {
            assert_eq!(found.result, SpfResult::TempError, "{left}");
            assert!(found.reason.ends_with("ns.test did not answer"), "{}", found.reason);
        }
    }
}

#[test]
fn huge_answers_end_soon() {
    let many = QueryAnswer::Records(vec![ResourceRecord::Txt(vec![b'x'; 1_000]); 10_000]);
    let mut table = Table::default()
        .txt("a.test", "v=spf1 ".to_owned() + &"a ".repeat(5_000_000))
        .txt("b.test", "v=spf1 ".to_owned() + &"ip4:10.0.0.1 ".repeat(5_000) + "-all")
        .txt("c.test", "v=spf1 a:".to_owned() + &"%{h}".repeat(16_000) + ".test -all")
        .with("d.test", QueryType::Txt, many);
    assert_eq!(table.check("ann@a.test").reason, "the record of a.test has 10000007 octets");
    assert_eq!(table.check("ann@b.test").result, SpfResult::Fail);
    let found = table.check("ann@c.test");
    assert_eq!(found.result, SpfResult::Fail);
    assert_eq!(table.check("ann@d.test").result, SpfResult::None);
    assert!(found.reason.len() < 1_000);
}

mod any {
    use super::*;
    use proptest::prelude::*;

    /// Answers that follow from the name: records of any octets, or none.
    struct Odd<'a>(&'a [Vec<u8>]);

    impl Ask for Odd<'_> {
        fn ask(&mut self, name: &Name, kind: QueryType) -> QueryAnswer {
            let sum: usize = name.as_bytes().iter().map(|octet| usize::from(*octet)).sum();
            let Some(text) = self.0.get(sum % (self.0.len() + 1)) else {
                return QueryAnswer::NoName;
            };
            let host = || Name::parse(text.get(..20).unwrap_or(text));
            let entry = match kind {
                QueryType::Txt => Some(ResourceRecord::Txt([b"v=spf1 ", &text[..]].concat())),
                QueryType::A => Some(ResourceRecord::A(Ipv4Addr::from_bits(sum as u32))),
                QueryType::Aaaa => Some(ResourceRecord::Aaaa(Ipv6Addr::from_bits(sum as u128))),
                QueryType::Mx => host().map(|host| ResourceRecord::Mx { preference: 0, host }),
                QueryType::Ptr => host().map(ResourceRecord::Ptr),
            };
            entry.map_or(QueryAnswer::NoRecords, |entry| QueryAnswer::Records(vec![entry]))
        }
    }

    proptest! {
        #[test]
        fn octets_never_panic(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..4),
            terms in "(( |a|mx|ptr|exists|include|redirect=|exp=|:|/|//|%\\{|[slodiphcrt]|[0-9]|r|[-.+,/_=]|\\}|%%|x\\.test|all|[?~-]){0,30} ?){0,3}",
            local: Vec<u8>, helo: Vec<u8>, six: bool,
        ) {
            let mut records = records;
            records.push(terms.into_bytes());
            let address: IpAddr = if six { Ipv6Addr::LOCALHOST.into() } else { [192, 0, 2, 1].into() };
            let client = SpfClient { address, helo: &helo, receiver: "", time: 0 };
            let sender = SpfIdentity::MailFrom { local: &local, domain: b"a.test" };
            for identity in [SpfIdentity::Helo, sender] {
                let found = check(&mut Odd(&records), &client, identity);
                prop_assert!(found.reason.is_ascii() && found.domain.is_ascii());
                let explanation = found.explanation.unwrap_or_default();
                prop_assert!(explanation.bytes().all(|octet| (b' '..=b'~').contains(&octet)));
            }
        }
    }
}
