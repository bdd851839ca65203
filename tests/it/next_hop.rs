//! Where remote mail is handed to, asked of a DNS server that says anything (RFC 5321 §5, RFC 7505).

use crate::commands::run_clean;
use crate::dnsd::Dnsd;
use crate::support::{Place, config};
use facteur::config::{self, Config};
use facteur::limits::{HOP_HOSTS_MAX, HOPS_MAX};
use facteur::mail::address::Mailbox;
use facteur::mail::envelope::TlsWish;
use facteur::route::next_hop::{NextHops, Obstacle, Ourselves, next_hops, way};
use facteur::site::Site;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// A host that would send mail, and the names it finds. It is mx.test at 192.0.2.9.
struct Sender {
    dnsd: Dnsd,
    site: Site,
    ourselves: Ourselves,
}

impl Sender {
    fn new(zone: &str) -> Sender {
        Sender::with("", zone)
    }

    /// With these lines of the section `relay`.
    fn with(relay: &str, zone: &str) -> Sender {
        let listen = "[listen]\nsmtp = [\"192.0.2.9:25\", \"[2001:db8::9]:25\"]";
        let text = format!(
            "hostname = \"mx.test\"\n{listen}\n[relay]\nnetworks = [\"10.0.0.0/8\"]\n{relay}\n"
        );
        let mut config = Config::parse(&text, Path::new("facteur.toml")).unwrap();
        let dnsd = Dnsd::new(zone);
        let timeout = Duration::from_secs(20);
        config.dns = config::Dns { servers: vec![dnsd.address().into()], timeout, trust_ad: false };
        let site = Site::read(config).unwrap().0;
        Sender { dnsd, ourselves: Ourselves::of(&site.config), site }
    }

    fn hops(&self, host: &str) -> Result<NextHops<'_>, Obstacle> {
        let mailbox = Mailbox::parse(&format!("ann@{host}")).unwrap();
        let way = way(&self.site.config, &mailbox.host);
        let hops = next_hops(&self.site, &self.ourselves, &way, TlsWish::Usual)?;
        hops.blocked().map_or(Ok(hops), Err)
    }

    /// All hops in a line, then what was left out; or what stands in the way.
    fn find(&self, host: &str) -> String {
        let mut hops = match self.hops(host) {
            Ok(hops) => hops,
            Err(obstacle) => {
                assert_eq!(obstacle.is_permanent, obstacle.status.starts_with('5'));
                return obstacle.to_string();
            }
        };
        let mut line: Vec<String> = hops.by_ref().map(|hop| hop.to_string()).collect();
        let trouble = hops.trouble();
        // There was a host, so nothing that others lack sends mail back.
        assert!(trouble.iter().all(|trouble| !trouble.is_permanent), "{trouble:?}");
        line.extend(trouble.map(|trouble| trouble.to_string()));
        line.join(", ")
    }
}

#[test]
fn hosts_by_preference_each_address_once() {
    let sender = Sender::new(
        "far.test MX 20 two.far.test\nfar.test MX 10 one.far.test\nfar.test MX 30 three.far.test\n\
         one.far.test A 192.0.2.1\none.far.test AAAA 2001:db8::1\n\
         two.far.test A 192.0.2.1\ntwo.far.test A 192.0.2.2\nthree.far.test A 192.0.2.3\n\
         far.test A 192.0.2.77",
    );
    assert_eq!(
        sender.find("far.test"),
        "one.far.test [2001:db8::1]:25, one.far.test [192.0.2.1]:25, \
         two.far.test [192.0.2.2]:25, three.far.test [192.0.2.3]:25"
    );
    // The domain has MX, so its own addresses are nobody's (§5.1).
    assert_eq!(sender.dnsd.asked("far.test", "A"), 0);
}

#[test]
fn a_worse_preference_costs_nothing_before_it_is_reached() {
    let sender = Sender::new(
        "far.test MX 10 one.far.test\nfar.test MX 20 two.far.test\none.far.test A 192.0.2.1\n\
         one.far.test A 192.0.2.11\ntwo.far.test A 192.0.2.2",
    );
    let asked = || ["A", "AAAA"].map(|kind| sender.dnsd.asked("two.far.test", kind));
    let mut hops = sender.hops("far.test").unwrap();
    assert_eq!(hops.by_ref().take(2).count(), 2);
    assert_eq!(asked(), [0, 0]);
    assert_eq!(hops.next().map(|hop| hop.name).as_deref(), Some("two.far.test"));
    assert_eq!(asked(), [1, 1]);
    assert!(hops.next().is_none() && hops.trouble().is_none());
}

#[test]
fn equal_hosts_are_shuffled() {
    let sender = Sender::with(
        "port = 2525",
        "far.test MX 10 a.far.test\nfar.test MX 10 b.far.test\nfar.test MX 5 first.far.test\n\
         a.far.test A 192.0.2.1\nb.far.test A 192.0.2.2\nfirst.far.test A 192.0.2.3",
    );
    let found: HashSet<String> = (0..64).map(|_| sender.find("far.test")).collect();
    let (first, a, b) = (
        "first.far.test [192.0.2.3]:2525",
        "a.far.test [192.0.2.1]:2525",
        "b.far.test [192.0.2.2]:2525",
    );
    assert_eq!(found, HashSet::from([format!("{first}, {a}, {b}"), format!("{first}, {b}, {a}")]));
}

#[test]
fn addresses_by_preference() {
    let zone = "far.test MX 10 a.far.test\nfar.test MX 20 four.far.test\na.far.test A 192.0.2.1\n\
                a.far.test AAAA 2001:db8::1\nfour.far.test A 192.0.2.4";
    let find =
        |prefer: &str| Sender::with(&format!("prefer = \"{prefer}\""), zone).find("far.test");
    let (six, four) = ("a.far.test [2001:db8::1]:25", "a.far.test [192.0.2.1]:25");
    assert_eq!(find("ipv6"), format!("{six}, {four}, four.far.test [192.0.2.4]:25"));
    assert_eq!(find("ipv4"), format!("{four}, {six}, four.far.test [192.0.2.4]:25"));
    assert_eq!(find("ipv4-only"), format!("{four}, four.far.test [192.0.2.4]:25"));
    let left_out = "451 4.4.4 far.test by MX: four.far.test: 192.0.2.4 (no IPv6 address, and relay.prefer is \
                    \"ipv6-only\")";
    assert_eq!(find("ipv6-only"), format!("{six}, {left_out}"));
}

#[test]
fn domains_that_take_no_mail_for_sure() {
    let sender = Sender::new(
        "null.test MX 0 .\nbare.test NS ns.test\nlost.test MX 10 gone.lost.test\n\
         lost.test MX 10 ns.lost.test\nlost.test MX 20 192.0.2.1\nns.lost.test NS ns.test\n\
         lost.test A 192.0.2.77",
    );
    assert_eq!(sender.find("null.test"), "556 5.1.10 null.test takes no mail: null MX");
    assert_eq!(sender.find("nowhere.test"), "550 5.1.2 nowhere.test: no such domain");
    assert_eq!(sender.find("bare.test"), "550 5.4.4 bare.test has neither MX nor address");
    let lost = sender.find("lost.test");
    assert!(lost.starts_with("550 5.4.4 no MX host of lost.test has an address: "), "{lost}");
    for part in [
        "gone.lost.test: no such name",
        "ns.lost.test: no address",
        "192.0.2.1: an address where a name should stand",
    ] {
        assert!(lost.contains(part), "{lost}");
    }
}

#[test]
fn a_domain_without_mx_stands_for_itself() {
    let sender = Sender::with(
        "port = 2525",
        "host.test A 192.0.2.1\nhost.test AAAA 2001:db8::1\nold.test A 192.0.2.2\nold.test !no-soa",
    );
    assert_eq!(
        sender.find("host.test"),
        "host.test [2001:db8::1]:2525, host.test [192.0.2.1]:2525"
    );
    assert_eq!(sender.find("old.test"), "old.test [192.0.2.2]:2525");
}

#[test]
fn dns_trouble_never_sends_mail_back() {
    let sender = Sender::new(
        "fail.test !servfail\nempty.test !empty\nhost.test A !servfail\nhost.test AAAA !servfail\n\
         half.test MX 10 fail.test\nhalf.test MX 20 gone.test\n\
         some.test MX 10 fail.test\nsome.test MX 10 good.test\nsome.test MX 20 more.test\n\
         good.test A 192.0.2.1\nmore.test A 192.0.2.2\n\
         few.test MX 10 gone.test\nfew.test MX 20 good.test",
    );
    let server = sender.dnsd.address();
    let servfail = format!("the servers could not find out (SERVFAIL); {server} answered SERVFAIL");
    assert_eq!(sender.find("fail.test"), format!("451 4.4.3 MX of fail.test: {servfail}"));
    for (domain, of) in [("host.test", "host.test"), ("half.test", "fail.test")] {
        let found = sender.find(domain);
        assert_eq!(found, format!("451 4.4.3 {domain} by MX: addresses of {of}: {servfail}"));
    }
    assert!(sender.find("empty.test").starts_with("451 4.4.3 "));
    // What can be found is tried.
    assert_eq!(
        sender.find("some.test"),
        format!(
            "good.test [192.0.2.1]:25, more.test [192.0.2.2]:25, \
             451 4.4.3 some.test by MX: addresses of fail.test: {servfail}"
        )
    );
    assert_eq!(
        sender.find("few.test"),
        "good.test [192.0.2.1]:25, 451 4.4.4 few.test by MX: gone.test: no such name"
    );
}

#[test]
fn what_is_ourselves_and_no_better_is_cut() {
    let hosts = "good.test A 192.0.2.1\nmore.test A 192.0.2.2\nmx.test A 192.0.2.99\n\
                 us.test A 192.0.2.9\nus.test A 192.0.2.10\nsix.test AAAA 2001:db8::9\n\
                 fail.test !servfail";
    let better = |us: &str| {
        format!(
            "{us}.far.test MX 10 good.test\n{us}.far.test MX 20 more.test\n\
                 {us}.far.test MX 20 {us}\n{us}.far.test MX 30 more.test\n\
                 {us}.near.test MX 10 {us}\n{us}.near.test MX 10 fail.test\n\
                 {us}.near.test MX 10 gone.test\n{us}.near.test MX 20 good.test\n\
                 {us}.lost.test MX 10 gone.test\n{us}.lost.test MX 20 {us}\n\
                 {us}.slow.test MX 10 fail.test\n{us}.slow.test MX 20 {us}\n"
        )
    };
    let sender = Sender::new(&(["MX.Test", "us.test", "six.test"].map(better).concat() + hosts));
    for (us, shown) in [
        ("mx.test", "mx.test"),
        ("us.test", "us.test at 192.0.2.9:25"),
        ("six.test", "six.test at [2001:db8::9]:25"),
    ] {
        assert_eq!(sender.find(&format!("{us}.far.test")), "good.test [192.0.2.1]:25");
        // Whatever became of its equals.
        for _ in 0..8 {
            assert_eq!(
                sender.find(&format!("{us}.near.test")),
                format!(
                    "550 5.4.6 DNS names this host ({shown}) for mail to {us}.near.test, which is \
                     not delivered here: it needs a domain or a relay.route here, or another MX"
                )
            );
        }
        let lost = sender.find(&format!("{us}.lost.test"));
        assert!(
            lost.starts_with("550 5.4.4 ") && lost.contains("gone.test: no such name"),
            "{lost}"
        );
        assert!(sender.find(&format!("{us}.slow.test")).starts_with("451 4.4.3 "));
    }
    // Without MX, and without a name.
    for (host, named) in [("us.test", "us.test at 192.0.2.9:25"), ("mx.test", "mx.test")] {
        let found = sender.find(host);
        assert!(found.starts_with(&format!("550 5.4.6 DNS names this host ({named})")), "{found}");
    }
    for literal in ["[192.0.2.9]", "[IPv6:2001:db8::9]"] {
        let found = sender.find(literal);
        assert_eq!(
            found,
            format!("550 5.4.6 {literal} is this host, which delivers no mail to addresses")
        );
    }
    // At another port somebody else listens.
    let other = Sender::with("port = 26", "us.test A 192.0.2.9\nfar.test MX 10 us.test");
    assert_eq!(other.find("far.test"), "us.test [192.0.2.9]:26");
}

#[test]
fn literals_ask_nobody() {
    let sender = Sender::with("port = 2525", "* !servfail");
    assert_eq!(sender.find("[192.0.2.1]"), "[192.0.2.1] [192.0.2.1]:2525");
    assert_eq!(sender.find("[IPv6:2001:db8::1]"), "[IPv6:2001:db8::1] [2001:db8::1]:2525");
    assert_eq!(sender.dnsd.log(), []);
}

#[test]
fn routes_and_the_smarthost_go_by_address_and_mail_waits_for_them() {
    let routes = "smarthost = \"smart.test:587\"\n[relay.route]\n\"one.test\" = \"hop.test:26\"\n\
                  \"two.test\" = \"127.0.0.1:2626\"\n\"gone.test\" = \"nowhere.test:25\"\n\
                  \"bare.test\" = \"ns.test:25\"\n\"fail.test\" = \"fail.test:25\"\n\
                  \"loop.test\" = \"us.test:25\"\n\"near.test\" = \"us.test:26\"\n\
                  \"self.test\" = \"[2001:db8::9]:25\"";
    let sender = Sender::with(
        routes,
        "hop.test MX 0 .\nhop.test A 192.0.2.1\nhop.test AAAA 2001:db8::1\nsmart.test A 192.0.2.5\n\
         smart.test MX 5 other.test\nns.test NS ns.test\nfail.test !servfail\nus.test A 192.0.2.9",
    );
    for (host, found) in [
        ("one.test", "hop.test [2001:db8::1]:26, hop.test [192.0.2.1]:26"),
        ("two.test", "127.0.0.1 [127.0.0.1]:2626"),
        ("far.test", "smart.test [192.0.2.5]:587"),
        ("[192.0.2.1]", "smart.test [192.0.2.5]:587"),
        ("near.test", "us.test [192.0.2.9]:26"),
        ("gone.test", "451 4.3.5 route nowhere.test:25: nowhere.test: no such name"),
        ("bare.test", "451 4.3.5 route ns.test:25: ns.test: no address"),
        (
            "fail.test",
            &format!(
                "451 4.4.3 route fail.test:25: addresses of fail.test: the servers could not find out \
                 (SERVFAIL); {} answered SERVFAIL",
                sender.dnsd.address()
            ),
        ),
        (
            "loop.test",
            "451 4.3.5 route us.test:25: us.test at 192.0.2.9:25 is this host, and mail would come \
             back",
        ),
        (
            "self.test",
            "451 4.3.5 route [2001:db8::9]:25: [2001:db8::9]:25 is this host, and mail would come \
             back",
        ),
    ] {
        assert_eq!(sender.find(host), found, "{host}");
    }
    assert!(sender.dnsd.log().iter().all(|asked| asked.kind != "MX"));
}

#[test]
fn one_attempt_has_a_bound() {
    let mut zone = "wide.test MX 10 all.test\nwide.test MX 20 other.test\n\
                    other.test A 192.0.2.1\n"
        .to_owned();
    for n in 0..100 {
        zone += &format!("many.test MX {} mx{n}.test\nmx{n}.test A 10.0.0.{n}\n", n / 50);
        zone += &format!("all.test A 10.0.0.{n}\ndead.test MX {n} gone{n}.test\n");
    }
    let sender = Sender::new(&zone);
    for (host, hops, hosts, words) in [
        ("many.test", HOP_HOSTS_MAX, HOP_HOSTS_MAX, "hosts 30, worse hosts 50"),
        ("wide.test", HOPS_MAX, 1, "addresses 50, worse hosts 1"),
        ("dead.test", 0, HOP_HOSTS_MAX, "hosts 1, worse hosts 79"),
    ] {
        sender.dnsd.forget();
        let found = sender.find(host);
        assert_eq!(found.matches("]:25").count(), hops, "{found}");
        assert!(found.contains("451 4.4.3 ") && found.contains(words), "{found}");
        let asked =
            sender.dnsd.log().iter().filter(|asked| asked.kind == "A" && !asked.tcp).count();
        assert_eq!(asked, hosts, "{host}");
    }
}

#[test]
fn names_beyond_ascii_are_asked_as_a_labels() {
    let sender = Sender::new("xn--bcher-kva.test MX 10 mx.far.test\nmx.far.test A 192.0.2.1");
    assert_eq!(sender.find("B\u{fc}cher.test"), "mx.far.test [192.0.2.1]:25");
    assert_eq!(sender.dnsd.asked("xn--bcher-kva.test", "MX"), 1);
}

#[test]
fn route_says_each_step_to_other_hosts() {
    let dnsd = Dnsd::new(
        "far.test MX 20 mx.test\nfar.test MX 10 one.far.test\nfar.test MX 10 two.far.test\n\
         one.far.test A 192.0.2.1\none.far.test AAAA 2001:db8::1\ntwo.far.test A !servfail\n\
         two.far.test AAAA !servfail\nnull.test MX 0 .\nself.test MX 10 mx.test\n\
         lost.test MX 10 gone.test\nhost.test A 192.0.2.7\nfail.test !servfail",
    );
    let place = Place::new();
    let more = format!(
        "aliases = \"aliases\"\n[dns]\nservers = [\"{}\"]\n[relay.route]\n\
         \"routed.test\" = \"127.0.0.1:2626\"\n\"down.test\" = \"gone.test:25\"\n\
         [timeout]\nconnect = \"1s\"",
        dnsd.address()
    );
    place.write("facteur.toml", config(&more));
    place.write("aliases", "list: ann, bob@routed.test, eve@host.test\nout: bob@null.test\n");
    let servfail =
        format!("the servers could not find out (SERVFAIL); {} answered SERVFAIL", dnsd.address());
    let nobody = "only clients of relay.networks may send there, and it is empty: nobody";
    for (address, status, steps) in [
        (
            "ann@Far.test",
            0,
            &[
                "ann@far.test",
                "  far.test is not delivered here",
                &format!("  {nobody}"),
                "  far.test by MX",
                "  those of preference 10 are shuffled for each attempt",
                "  MX 10 one.far.test: [2001:db8::1]:25, 192.0.2.1:25",
                &format!("  MX 10 two.far.test: addresses of two.far.test: {servfail}"),
                "  MX 20 mx.test: mx.test is this host; it and all that are no better are left out",
                "  sent to one.far.test [2001:db8::1]:25, else to the next of 1 more",
            ][..],
        ),
        (
            "ann@host.test",
            0,
            &["  host.test has no MX and stands for itself", "  host.test: 192.0.2.7:25"],
        ),
        ("ann@routed.test", 0, &["  route 127.0.0.1:2626", "  sent to 127.0.0.1 [127.0.0.1]:2626"]),
        ("ann@[192.0.2.1]", 0, &["  literal [192.0.2.1]", "  sent to [192.0.2.1] [192.0.2.1]:25"]),
        (
            "ann@down.test",
            0,
            &["  waits with 451 4.3.5: route gone.test:25: gone.test: no such name"],
        ),
        ("ann@fail.test", 0, &[&format!("  waits with 451 4.4.3: MX of fail.test: {servfail}")]),
        ("ann@null.test", 1, &["  returned with 556 5.1.10: null.test takes no mail: null MX"]),
        ("ann@gone.test", 1, &["  returned with 550 5.1.2: gone.test: no such domain"]),
        (
            "ann@lost.test",
            1,
            &[
                "  MX 10 gone.test: no such name",
                "  returned with 550 5.4.4: no MX host of lost.test has an address: gone.test: no such name",
            ],
        ),
        (
            "ann@self.test",
            1,
            &["  MX 10 mx.test: mx.test is this host; it and all that are no better are left out"],
        ),
        (
            "list@mx.test",
            0,
            &[
                "  bob@routed.test is elsewhere",
                "  mail that is sent on passes DMARC there only by a DKIM signature of its author: SPF \
                 speaks for us then",
                "  sent on to bob@routed.test",
                "    route 127.0.0.1:2626",
                "    sent to 127.0.0.1 [127.0.0.1]:2626",
                "  sent on to eve@host.test",
                "    host.test by MX",
                "    sent to host.test [192.0.2.7]:25",
            ],
        ),
        (
            "out@mx.test",
            1,
            &[
                "  sent on to bob@null.test",
                "    returned with 556 5.1.10: null.test takes no mail: null MX",
            ],
        ),
    ] {
        let (found, out, err) = run_clean(&place, &["route", address]);
        assert_eq!((found, err.as_str()), (status, ""), "{address}: {out}");
        let lines: Vec<&str> = out.lines().collect();
        let missing = steps.iter().find(|step| !lines.contains(step));
        assert!(missing.is_none(), "{address}: no {missing:?} in {out}");
    }
    // Nobody who asks for mail here is answered about an address elsewhere.
    for address in ["ann@far.test", "list@mx.test", "out@mx.test"] {
        dnsd.forget();
        let (status, out, err) = run_clean(&place, &["mail", "list", address]);
        assert!(status == 1 && out.is_empty() && err.lines().count() == 1, "{address}: {err}");
        assert_eq!(dnsd.log(), []);
    }
}

#[test]
fn route_tells_whose_mail_is_taken() {
    let dnsd = Dnsd::new("far.test A 192.0.2.1");
    let place = Place::new();
    let dns = format!("[dns]\nservers = [\"{}\"]\n", dnsd.address());
    place.write(
        "facteur.toml",
        config(&format!("{dns}[relay]\nnetworks = [\"10.0.0.0/8\"]\n[timeout]\nconnect = \"1s\"")),
    );
    let (status, out, _) = run_clean(&place, &["route", "ann@far.test", "zoe@mx.test"]);
    let step = "  only clients of relay.networks may send there: 10.0.0.0/8\n";
    assert!(status == 0 && out.contains(step), "{out}");
    // Local mail needs no DNS.
    dnsd.forget();
    assert_eq!(run_clean(&place, &["route", "zoe@mx.test"]).0, 0);
    assert_eq!(dnsd.log(), []);
}
