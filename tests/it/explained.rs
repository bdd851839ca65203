//! Notices about mail that was refused for SPF, DKIM, DMARC or the name of our address: what they add about
//! our own records, and that they keep no mail waiting where DNS says nothing.

use crate::dnsd::Dnsd;
use crate::internet::{Net, count, mail, post, queue, send, until_empty};
use crate::servers::Binary;
use crate::support::{Place, until};
use facteur::config::Config;
use facteur::mail::address::Domain;
use facteur::mail::proof::dkim::ours::SignedBy;
use facteur::mail::proof::name::Name;
use facteur::net::dns::DnsResolver;
use facteur::records::{HostFacts, RecordsAsker, RefusedSender, explain};
use facteur::site::Site;
use facteur::store::entry::EntrySignature;
use facteur::store::keys::KeyKind;
use facteur::store::keys::make::{make_dir, make_key};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// An address that all the world can reach, and its reverse name.
const ADDRESS: &str = "203.1.114.7";
const REVERSE: &str = "7.114.1.203.in-addr.arpa";

/// A site of mx.a.test and a.test that asks this server, and more of its configuration. Nothing is signed.
fn site(dns: &Dnsd, more: &str) -> Site {
    site_at(Path::new("/"), dns, more)
}

fn site_at(dir: &Path, dns: &Dnsd, more: &str) -> Site {
    let dkim = if dir == Path::new("/") { "" } else { "dkim = \"keys\"\n" };
    let text = format!(
        "hostname = \"mx.a.test\"\nspool = \"spool\"\n\
         [domain.\"a.test\"]\nmaildir = \"m/{{user}}\"\n{dkim}[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n{more}",
        dns.address()
    );
    Site::read(Config::parse(&text, &dir.join("facteur.toml")).unwrap()).unwrap().0
}

fn domain(name: &str) -> Domain {
    Domain::parse(name).unwrap()
}

/// Mail of ann@a.test, from our address.
fn of_ann() -> RefusedSender {
    let (from, authors) = (domain("a.test"), vec![domain("a.test")]);
    let signature = EntrySignature::Owed;
    RefusedSender { from, authors, local: Some(ADDRESS.parse().unwrap()), signature }
}

/// A place of a site that signs with a key which DNS has shown; and the line that shows it.
fn signing(dns: &Dnsd) -> (Place, String) {
    let place = Place::new();
    fs::create_dir(place.at("spool")).unwrap();
    make_dir(&place.at("keys"), None).unwrap();
    let line = key(&place, "keys");
    dns.set(&line);
    let site = site_at(place.path(), dns, "");
    assert!(site.signing().ask(&domain("a.test"), site.resolver()).unwrap().is_empty());
    (place, line)
}

/// A new key in that directory; gives the line that shows it.
fn key(place: &Place, dir: &str) -> String {
    let name = Name::parse(b"s1").unwrap();
    let key = make_key(&place.at(dir), &name, KeyKind::Ed25519, None).unwrap();
    format!("s1._domainkey.a.test TXT {}\n", key.record)
}

/// A zone in which all is in order, but for keys.
fn good() -> String {
    format!(
        "mx.a.test A {ADDRESS}\n{REVERSE} PTR mx.a.test\na.test TXT v=spf1 ip4:{ADDRESS} -all\n\
         mx.a.test TXT v=spf1 a -all\n_dmarc.a.test TXT v=DMARC1; p=reject\n"
    )
}

#[test]
fn each_reason_has_a_sentence() {
    let dns = Dnsd::new("");
    let (place, shown) = signing(&dns);
    make_dir(&place.at("others"), None).unwrap();
    let other = key(&place, "others");
    let spf = format!("a.test TXT v=spf1 ip4:{ADDRESS} -all\n");
    let dmarc = "_dmarc.a.test TXT v=DMARC1; p=reject\n";
    let pointer = format!("{REVERSE} PTR mx.a.test\n");
    let no_spf = "a.test has no SPF record".to_owned();
    let in_order = format!(
        "in order as seen from here: the SPF record of a.test, the reverse name of {ADDRESS}, the key at \
         s1._domainkey.a.test, the DMARC record of a.test"
    );
    let unsure = "DNS did not answer all questions about it".to_owned();
    let cases: Vec<(&str, String, Vec<String>)> = vec![
        ("", String::new(), vec![in_order]),
        (&spf, String::new(), vec![no_spf.clone()]),
        (&spf, "a.test TXT v=spf10 x\n".to_owned(), vec![no_spf]),
        (
            &spf,
            "a.test TXT v=spf1 ip4:192.0.2.9 -all\n".to_owned(),
            vec![format!("the SPF record of a.test does not let {ADDRESS} send")],
        ),
        (
            &spf,
            "a.test TXT v=spf1 ip4:192.0.2.9 ?all\n".to_owned(),
            vec![format!("the SPF record of a.test does not let {ADDRESS} send")],
        ),
        (
            &spf,
            "a.test TXT v=spf1 -all\na.test TXT v=spf1 a -all\n".to_owned(),
            vec!["the SPF record of a.test is broken: more than one record at a.test".to_owned()],
        ),
        (&pointer, String::new(), vec![format!("{ADDRESS} has no reverse name")]),
        (
            &pointer,
            format!("{REVERSE} PTR x.a.test\n"),
            vec![format!("the reverse name of {ADDRESS}, x.a.test, does not lead back to it")],
        ),
        (dmarc, String::new(), vec!["a.test has no DMARC record".to_owned()]),
        (
            dmarc,
            "_dmarc.a.test TXT v=DMARC1; p=x\n".to_owned(),
            vec!["the DMARC record of a.test has no valid policy".to_owned()],
        ),
        (dmarc, dmarc.repeat(2), vec!["a.test has more than one DMARC record".to_owned()]),
        (
            &shown,
            other,
            vec!["the key at s1._domainkey.a.test is not the one we sign with".to_owned()],
        ),
        (
            &shown,
            String::new(),
            vec!["there is no key at s1._domainkey.a.test, with which we sign".to_owned()],
        ),
        (
            &pointer,
            format!("{REVERSE} PTR !servfail\n"),
            vec![
                "in order as seen from here: the SPF record of a.test, the key at s1._domainkey.a.test, \
                 the DMARC record of a.test"
                    .to_owned(),
                unsure,
            ],
        ),
    ];
    for (out, added, sentences) in cases {
        dns.set(&((good() + &shown).replacen(out, "", 1) + &added));
        let site = site_at(place.path(), &dns, "");
        assert_eq!(explain(&site, &of_ann()), sentences, "{added}");
    }
    // Where nothing is signed, that is the reason.
    dns.set(&good());
    assert_eq!(explain(&site(&dns, ""), &of_ann()), ["mail of a.test is not signed"]);
    fs::remove_dir_all(place.at("spool")).unwrap();
    let site = site_at(place.path(), &dns, "");
    let unsigned = "mail of a.test is not signed: DNS has not shown a key yet";
    assert_eq!(explain(&site, &of_ann()), [unsigned]);
}

/// What is told is about the message at hand: by which key it was signed, which may be retired by now, or that it
/// was not.
#[test]
fn keys_of_the_message_itself() {
    let dns = Dnsd::new("");
    let (place, shown) = signing(&dns);
    let name = Name::parse(b"s2").unwrap();
    make_key(&place.at("keys"), &name, KeyKind::Ed25519, None).unwrap();
    let site = site_at(place.path(), &dns, "");
    let signed = |by: &str| {
        let signature = EntrySignature::By(SignedBy::parse(by).unwrap());
        explain(&site, &RefusedSender { signature, ..of_ann() })
    };
    dns.set(&(good() + &shown));
    let missing = "there is no key at s2._domainkey.a.test, with which we sign";
    assert_eq!(signed("a.test s1 s2"), [missing]);
    assert!(
        signed("a.test s1")[0].contains("the key at s1._domainkey.a.test"),
        "{:?}",
        signed("a.test s1")
    );
    // Nobody knows here what was at that name.
    let said = signed("a.test s0").join(" ");
    assert!(said.starts_with("in order") && !said.contains("the key"), "{said}");
    let signature = EntrySignature::None;
    let said = explain(&site, &RefusedSender { signature, ..of_ann() });
    assert_eq!(said, ["this message was not signed, as other mail of a.test is"]);
}

/// Whether a domain has a policy is not known while that of the domain above is not.
#[test]
fn a_policy_above_that_dns_does_not_tell() {
    let dns = Dnsd::new("");
    let zone = good().replace("_dmarc.a.test TXT v=DMARC1; p=reject", "_dmarc.test TXT !servfail");
    dns.set(&zone);
    let said = explain(&site(&dns, ""), &of_ann());
    let unsure = "DNS did not answer all questions about it";
    assert_eq!(said, ["mail of a.test is not signed", unsure]);
}

/// Of others' domains nothing is said, nor of addresses that are not ours.
#[test]
fn only_what_is_ours() {
    let dns = Dnsd::new(&good());
    let stranger = RefusedSender { authors: vec![domain("b.test")], ..of_ann() };
    let said = explain(&site(&dns, ""), &stranger);
    let own = format!("the SPF record of a.test, the reverse name of {ADDRESS}");
    assert_eq!(said, [format!("in order as seen from here: {own}")]);
    assert_eq!(dns.asked("_dmarc.b.test", "TXT"), 0);
    // A notice: from nobody, by our host name.
    let notice = RefusedSender { from: domain("mx.a.test"), authors: Vec::new(), ..of_ann() };
    let own = format!("the SPF record of mx.a.test, the reverse name of {ADDRESS}");
    assert_eq!(explain(&site(&dns, ""), &notice), [format!("in order as seen from here: {own}")]);
    let smarthost = site(
        &dns,
        "[relay]\nsmarthost = \"smtp.b.test\"\n".replace("test\"", "test:25\"").as_str(),
    );
    let said = explain(&smarthost, &of_ann());
    assert_eq!(said, ["mail of a.test is not signed"]);
}

#[test]
fn where_dns_says_nothing_nothing_is_said() {
    let dns = Dnsd::new("* !servfail");
    assert_eq!(explain(&site(&dns, ""), &of_ann()), [""; 0]);
    // Within the bound, however many questions there would be.
    dns.set("* !silent");
    let began = Instant::now();
    assert_eq!(explain(&site(&dns, ""), &of_ann()), [""; 0]);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// An SPF record that would cost questions without end.
#[test]
fn few_questions_are_asked() {
    let dns = Dnsd::new("");
    let hosts: String =
        (0..10).map(|at| format!("a{at}.test A 192.0.2.1\nm.test MX 10 a{at}.test\n")).collect();
    let zone = format!("{hosts}a.test TXT v=spf1 {} -all\n", "mx:m.test ".repeat(9));
    dns.set(&zone);
    explain(&site(&dns, ""), &of_ann());
    assert!(dns.log().len() <= 60, "{}", dns.log().len());
}

/// Which of our addresses a next hop may have seen: those of the interfaces, or those of DNS.
fn own_addresses(config: &str) -> Vec<IpAddr> {
    let config = Config::parse(config, Path::new("/facteur.toml")).unwrap();
    let resolver = DnsResolver::new(&config.dns);
    let mut asker = RecordsAsker::new(&resolver, 9, Duration::from_secs(30));
    HostFacts::find(&config, None, &mut asker).addresses.iter().map(|own| own.address).collect()
}

#[test]
fn the_sender_reads_it_in_the_notice() {
    let script = "RCPT TO:<no@: 550 5.7.26 your mail is unauthenticated\n\
                  RCPT TO:<spf@: 550 5.1.1 no such user\nRCPT TO:<late@: 450 4.7.1 SPF fails now";
    let (place, net) = (Place::new(), Net::new(&[script]));
    net.dns.set("far.test A 127.0.0.2\nmx.test A 192.0.2.7");
    let config = net.config("", "");
    let server = Binary::serve(&place, &config);
    let from = "From: ann@mx.test\nSubject: hi\n\nx";
    send(&server, "ann@mx.test", &["no@far.test", "yes@far.test", "late@far.test"], from);
    let notice = mail(&place, "ann", 1).remove(0).replace("\r\n", "\n");
    let mut sentences = vec!["mx.test has no SPF record".to_owned()];
    for address in own_addresses(&config) {
        sentences.push(format!("{address} has no reverse name"));
    }
    sentences.push("mail of mx.test is not signed".to_owned());
    sentences.push("mx.test has no DMARC record".to_owned());
    let lines: String = sentences.iter().map(|line| format!("    - {line}\n")).collect();
    let text = format!(
        "  <no@far.test>\n    mx.far.test said (RCPT):\n      550 5.7.26 your mail is unauthenticated\n    \
         What DNS says of us at this moment:\n{lines}"
    );
    let text = text.replace("mx.far.test", "far.test");
    assert!(notice.contains(&text), "{text}{notice}");
    // Programs read nothing of it.
    let report = notice.split("Content-Type: message/delivery-status").nth(1).unwrap();
    assert!(!report.contains("has no"), "{report}");
    // What was refused for something else, or for now, costs no question.
    net.dns.forget();
    post(&server, &["spf@far.test"]);
    let notices = mail(&place, "ann", 2);
    assert!(notices.iter().any(|notice| !notice.contains("What DNS says")), "{notices:#?}");
    assert_eq!(net.dns.asked("mx.test", "TXT"), 0);
    server.stop();
}

/// DNS is silent at that moment: the notice comes all the same, and what was carried is written down before.
#[test]
fn a_silent_dns_delays_nothing_that_counts() {
    let script = "RCPT TO:<no@: 550 5.7.23 SPF";
    let (place, net) = (Place::new(), Net::new(&[script]));
    net.dns.set("far.test A 127.0.0.2\nmx.test !silent\n_dmarc.mx.test !silent\n* !silent");
    let server = Binary::serve(&place, &net.config("", ""));
    let id = post(&server, &["no@far.test", "yes@far.test"]);
    until("DNS is asked", || net.dns.asked("mx.test", "A") > 0);
    let journal = queue(&place).concat();
    assert!(journal.contains(" relayed "), "{journal}");
    server.wait_for(&["bounced ", &id]);
    let notice = mail(&place, "ann", 1).remove(0);
    assert!(notice.contains("550 5.7.23 SPF") && !notice.contains("What DNS says"), "{notice}");
    until_empty(&place);
    assert_eq!(count(&server, &["noticed "]), 1);
    server.stop();
}
