//! The same messages through Postfix, judged there by opendkim and pyspf-milter, and through us: who asks
//! the same DNS finds the same.

use crate::client::{Client, stuffed};
use crate::daemons::{Daemon, own_address, unbound_by};
use crate::dnsd::Dnsd;
use crate::outside::{PYTHON, has_modules, installed, program, script};
use crate::postfix::Postfix;
use crate::servers::Binary;
use crate::support::{Place, config, text, until};
use crate::trust_dkim::{ed25519, ed25519_seed, rsa_pems, signed_at};
use crate::trust_mail::Mail;
use crate::trust_oracles_dkim::ask;
use facteur::mail::proof::dkim::sign::{SigningKey, strings};
use facteur::mail::proof::results;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Senders' domains and what stands at them; all mail comes from 127.0.0.1.
const SENDERS: &str = "\
    pass.test TXT v=spf1 ip4:127.0.0.1 -all\n\
    fail.test TXT v=spf1 ip4:192.0.2.1 -all\n\
    soft.test TXT v=spf1 ~all\n\
    neutral.test TXT v=spf1 ?all\n\
    nothing.test A 192.0.2.1\n\
    other.test TXT v=spf10 -all\n\
    syntax.test TXT v=spf1 ip4:127.0.0.300 -all\n\
    two.test TXT v=spf1 -all\n\
    two.test TXT v=spf1 +all\n\
    loop.test TXT v=spf1 include:loop.test -all\n\
    broken.test TXT !servfail\n\
    a.test TXT v=spf1 a:host.test -all\n\
    host.test A 127.0.0.1\n\
    mx.sender.test TXT v=spf1 mx -all\n\
    mx.sender.test MX 10 host.test\n\
    include.test TXT v=spf1 include:fail.test include:pass.test -all\n\
    redirect.test TXT v=spf1 redirect=fail.test\n\
    exists.test TXT v=spf1 exists:%{ir}.%{l}.exists.test -all\n\
    1.0.0.127.ann.exists.test A 127.0.0.2\n\
    voids.test TXT v=spf1 a:v1.test a:v2.test a:v3.test +all\n";

const MAIL: &str = "From: Ann <ann@a.test>\nTo: bob@post.test\nSubject: Hello  you\n\
    Date: Mon, 23 Nov 2026 10:00:00 +0000\nMessage-ID: <1@a.test>\n\n\
    Hello Bob,\n\n.  two words\tand a dot \nx\n\n\n";

/// What was said of one message: SPF's word, and of each signature its selector and the word.
#[derive(Debug, PartialEq)]
struct Said {
    spf: String,
    dkim: Vec<(String, String)>,
}

/// Where opendkim 2.11 says another word of one signature, or none: our word, and its.
fn argued(case: &str) -> Option<(&'static str, &'static str)> {
    match case {
        // What no key can verify, or only a key that may not be used, is no failed test but an error for good
        // (RFC 6376 §6.1.1 and §6.1.2, RFC 8601 §2.7.1); opendkim calls all of it a fail.
        "length of too much" | "strict subdomain" | "no key" | "key revoked" | "key for sha1"
        | "key not for mail" | "another d=" | "one bad, one good" => Some(("permerror", "fail")),
        // Nobody may believe it any more (RFC 8301 §3.1).
        "sha1" => Some(("permerror", "pass")),
        // A tag twice makes the whole list invalid (RFC 6376 §3.2).
        "a tag twice" => Some(("permerror", "pass")),
        // opendkim says nothing of a signature whose key it did not get, nor of one that it cannot read.
        "no answer" => Some(("temperror", "")),
        "no d=" => Some(("permerror", "")),
        _ => None,
    }
}

/// A message under its name, in ours and theirs the same octets.
struct Case {
    name: &'static str,
    message: String,
}

fn key_records(rsa: &SigningKey, other: &SigningKey) -> String {
    let mut zone = String::new();
    let mut add = |selector: &str, record: &str| {
        zone += &format!("{selector}._domainkey.a.test TXT {}\n", strings(record).join("|"));
    };
    let record = rsa.record().unwrap();
    let with = |tag: &str| record.replacen("v=DKIM1;", &format!("v=DKIM1; {tag};"), 1);
    add("rsa", &record);
    add("ed25519", &ed25519().record().unwrap());
    add("wrong", &other.record().unwrap());
    add("revoked", "v=DKIM1; k=rsa; p=");
    add("bad", "v=DKIM1; k=rsa; p=AAAA");
    add("no-sha256", &with("h=sha1"));
    add("not-mail", &with("s=tlsrpt"));
    add("strict", &with("t=s"));
    add("testing", &with("t=y"));
    add("broken", "!servfail");
    zone
}

/// Each kind of message, signed by us or by dkimpy.
fn cases(rsa: &SigningKey, pem: &str) -> Vec<Case> {
    let mail = Mail::of_lf(MAIL.as_bytes().to_vec());
    let ours = |selector: &str| text(signed_at(&mail, rsa, selector).text());
    let sign = |more: Value| {
        let mut work = json!({
            "sign": MAIL, "key": pem, "type": "rsa", "forms": ["relaxed", "simple"],
            "length": false
        });
        work.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        work
    };
    let forms = |header: &str, body: &str| sign(json!({"forms": [header, body]}));
    let works = [
        forms("simple", "simple"),
        forms("simple", "relaxed"),
        forms("relaxed", "simple"),
        forms("relaxed", "relaxed"),
        sign(json!({"type": "ed25519", "key": ed25519_seed()})),
        sign(json!({"length": true})),
        sign(json!({"tags": [["x", "1500000000"]]})),
        sign(json!({"tags": [["x", "4000000000"]]})),
        sign(json!({"algorithm": "rsa-sha1"})),
        sign(json!({"identity": "ann@sub.a.test"})),
        sign(json!({"selector": "strict", "identity": "ann@sub.a.test"})),
        sign(json!({"tags": [["q", "dns/txt"]]})),
        sign(json!({"tags": [["z", "From:x"], ["unknown", "y"]]})),
    ];
    let theirs: Vec<String> = ask(&json!({}), &works)
        .iter()
        .map(|field| format!("{}{MAIL}", field.as_str().unwrap()))
        .collect();
    let [
        simple,
        simple_relaxed,
        relaxed_simple,
        relaxed,
        ed,
        length,
        old,
        new,
        sha1,
        sub,
        strict,
        twice,
        more,
    ] = &theirs[..]
    else {
        panic!("{theirs:?}")
    };
    let case = |name, message: &str| Case { name, message: message.to_owned() };
    let spaced = |message: &str| message.replace("two words", "two  words");
    let named = |message: &str| message.replace("\nSubject: Hello  you", "\nsubject:  Hello you ");
    let ours_rsa = ours("rsa");
    let ours_ed = text(signed_at(&mail, &ed25519(), "ed25519").text());
    vec![
        case("none", MAIL),
        case("ours rsa", &ours_rsa),
        case("ours ed25519", &ours_ed),
        case("both", &text(signed_at(&Mail::of_lf(ours_ed.clone().into()), rsa, "rsa").text())),
        case("simple/simple", simple),
        case("simple/relaxed", simple_relaxed),
        case("relaxed/simple", relaxed_simple),
        case("relaxed/relaxed", relaxed),
        case("ed25519", ed),
        case("length", length),
        case("length and more", &format!("{length}more\n")),
        case("length of too much", &length.replace("\nx\n\n\n", "\n")),
        case("expired", old),
        case("not yet expired", new),
        case("sha1", sha1),
        case("subdomain", sub),
        case("strict subdomain", strict),
        case("more tags", more),
        case("body changed", &ours_rsa.replace("Bob,", "Eve,")),
        case("simple body changed", &simple.replace("Bob,", "Eve,")),
        case("body longer", &format!("{relaxed}more\n")),
        case("empty lines", &format!("{ours_rsa}\n\n")),
        case("empty lines, simple", &format!("{simple}\n\n")),
        case("spaces in a relaxed body", &spaced(relaxed)),
        case("spaces in a simple body", &spaced(simple)),
        case("subject changed", &ours_rsa.replace("\nSubject: Hello", "\nSubject: Goodbye")),
        case("simple subject changed", &simple.replace("\nSubject: Hello", "\nSubject: Goodbye")),
        case("case and spaces of a name, relaxed", &named(relaxed_simple)),
        case("case and spaces of a name, simple", &named(simple_relaxed)),
        case("a second From on top", &format!("From: eve@b.test\n{ours_rsa}")),
        case("a field without signature", &format!("X-New: 1\n{ours_rsa}")),
        case("date removed", &ours_rsa.replace("Date: Mon, 23 Nov 2026 10:00:00 +0000\n", "")),
        case("wrong key", &ours("wrong")),
        case("no key", &ours("absent")),
        case("key revoked", &ours("revoked")),
        case("bad key", &ours("bad")),
        case("key for sha1", &ours("no-sha256")),
        case("key not for mail", &ours("not-mail")),
        case("key in a test", &ours("testing")),
        case("no answer", &ours("broken")),
        case("version", &ours_rsa.replacen("v=1;", "v=2;", 1)),
        case("no d=", &ours_rsa.replacen(" d=a.test;", "", 1)),
        case("another d=", &ours_rsa.replacen(" d=a.test;", " d=b.test;", 1)),
        case("i= outside", &simple.replacen("i=@a.test;", "i=@b.test;", 1)),
        case("no From signed", &without_from(relaxed)),
        case("a tag twice", twice),
        case("unknown form", &relaxed.replacen("relaxed/relaxed", "nofws", 1)),
        case("signature cut", &cut(relaxed)),
        case("one good, one bad", &format!("{}{ours_ed}", field(&ours("wrong")))),
        case("one bad, one good", &format!("{}{ours_ed}", field(&ours("absent")))),
    ]
}

/// The signature on top.
fn field(message: &str) -> String {
    let end = message.find("\nFrom:").unwrap() + 1;
    message[..end].to_owned()
}

/// With another name in the place of From, wherever the list of the signed fields has it.
fn without_from(message: &str) -> String {
    let signature = field(message);
    let (before, list) = signature.split_once("h=").unwrap();
    let (list, after) = list.split_once(';').unwrap();
    assert!(list.contains("from"), "{list}");
    format!("{before}h={};{after}{}", list.replace("from", "none"), &message[signature.len()..])
}

/// Without the last octets of its signature.
fn cut(message: &str) -> String {
    let signature = field(message);
    let rest = &message[signature.len()..];
    format!("{}\n{rest}", &signature[..signature.len() - 9])
}

/// Both milters, asking that DNS.
struct Judges {
    _daemons: [Daemon; 2],
    _place: Place,
    spf: SocketAddr,
    dkim: SocketAddr,
}

impl Judges {
    fn start(dns: SocketAddr) -> Judges {
        let (place, spf, dkim) = (Place::new(), own_address(), own_address());
        let config = place.write(
            "spf.conf",
            format!(
                "debugLevel = 1\nTestOnly = 1\nHELO_reject = No_Check\nMail_From_reject = False\n\
                 skip_addresses = 192.0.2.1/32\nInternalHosts = 192.0.2.1\nAuthserv_Id = mx.test\n\
                 Socket = inet:{}@{}\nPidFile = {}\nUserID = root\n",
                spf.port(),
                spf.ip(),
                place.at("spf.pid").display()
            ),
        );
        let mut command = program(&place, PYTHON);
        command.arg(script("spf_milter.py")).arg(dns.ip().to_string());
        command.arg(dns.port().to_string()).arg(config);
        let spf_daemon = Daemon::start(&place, "pyspf-milter", command, spf);

        let resolver = unbound_by(&place, dns);
        let others = place.write("peers", "192.0.2.1\n");
        let config = place.write(
            "opendkim.conf",
            format!(
                "Mode v\nBackground no\nSyslog yes\nAuthservID mx.test\nAlwaysAddARHeader yes\n\
                 InternalHosts {}\nResolverConfiguration {}\nSocket inet:{}@{}\n\
                 On-Default accept\nOn-DNSError accept\nOn-InternalError accept\n\
                 DNSTimeout 10\n",
                others.display(),
                resolver.display(),
                dkim.port(),
                dkim.ip()
            ),
        );
        let mut command = program(&place, "opendkim");
        command.args(["-f", "-x"]).arg(config);
        let dkim_daemon = Daemon::start(&place, "opendkim", command, dkim);
        Judges { _daemons: [spf_daemon, dkim_daemon], _place: place, spf, dkim }
    }
}

/// What the results of mx.test in a message say.
fn said(message: &str) -> Said {
    let header = message.split("\n\n").next().unwrap().replace("\n ", " ").replace("\n\t", " ");
    let mut said = Said { spf: String::new(), dkim: Vec::new() };
    for line in header.lines() {
        let Some(value) = line.strip_prefix("Authentication-Results:") else { continue };
        let read = results::read(value.as_bytes()).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert_eq!(read.authserv_id, "mx.test");
        for entry in read.entries {
            match &*entry.method {
                "spf" if entry.property("smtp.helo").is_none() => said.spf = entry.result,
                "dkim" => {
                    let selector = entry.property("header.s").unwrap_or_default().to_owned();
                    said.dkim.push((selector, entry.result));
                }
                _ => {}
            }
        }
    }
    said.dkim.sort();
    said
}

fn send(client: &mut Client, from: &str, to: &str, message: &str) {
    client.expect(&format!("MAIL FROM:<ann@{from}>"), "250");
    client.expect(&format!("RCPT TO:<{to}>"), "250");
    client.expect("DATA", "354");
    client.send(&stuffed(message.replace('\n', "\r\n").as_bytes()));
    let reply = client.reply();
    assert!(reply.starts_with("250 "), "{reply}");
}

/// The message with this number, as it was kept.
fn kept(mail: &[Vec<u8>], number: usize) -> String {
    let mark = format!("\nX-Number: {number}\n");
    let mail = mail.iter().map(|mail| text(mail)).find(|mail| mail.contains(&mark));
    mail.unwrap_or_else(|| panic!("message {number} is not there"))
}

#[test]
fn opendkim_and_pyspf_behind_postfix() {
    if !installed(&["opendkim"]) || !has_modules("spf_engine, Milter, dns, dkim, nacl.signing") {
        return;
    }
    // Its filters need root as well.
    if Postfix::found().is_none() {
        return;
    }
    let [_, pkcs1] = rsa_pems();
    let [_, other] = rsa_pems();
    let (rsa, other) =
        (SigningKey::from_pem(&pkcs1).unwrap(), SigningKey::from_pem(&other).unwrap());
    let dns = Dnsd::new(&format!("{SENDERS}{}", key_records(&rsa, &other)));
    let judges = Judges::start(dns.address());
    let milters = format!(
        "smtpd_milters = inet:{}, inet:{}\nmilter_default_action = tempfail\n\
         smtpd_peername_lookup = no\nsmtpd_client_restrictions =\n",
        judges.dkim, judges.spf
    );
    let place = Place::new();
    let servers = format!("[dns]\nservers = [\"{}\"]\n[trust]\ngateways = []", dns.address());
    let server = Binary::serve(&place, &config(&servers));
    let Some(postfix) = Postfix::with(server.address, &milters) else { return };

    let senders: Vec<&str> = SENDERS
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(name, _)| name)
        .chain(["absent.test"])
        .collect();
    let cases = cases(&rsa, &text(&pkcs1));
    assert_eq!(cases.len(), 50);
    let (mut to_us, mut to_them) = (server.client(), Client::greeted(postfix.address));
    for (number, case) in cases.iter().enumerate() {
        let from = senders[number % senders.len()];
        let to = format!("\nX-Number: {number}\nTo:");
        let message = case.message.replacen("\nTo:", &to, 1);
        send(&mut to_us, from, "bob@mx.test", &message);
        send(&mut to_them, from, "bob@post.test", &message);
    }
    until("all is delivered", || postfix.mail().len() == cases.len());
    // None of these senders' domains has a policy: nothing is junk.
    let (ours, theirs) = (place.mail("bob"), postfix.mail());
    let (mut differ, mut words) = (Vec::new(), BTreeSet::new());
    for (number, case) in cases.iter().enumerate() {
        let (us, them) = (said(&kept(&ours, number)), said(&kept(&theirs, number)));
        let mut expected = Said { spf: us.spf.clone(), dkim: us.dkim.clone() };
        if let Some((our_word, their_word)) = argued(case.name) {
            let one = expected.dkim.iter_mut().find(|(_, word)| word == our_word);
            let one = one.unwrap_or_else(|| panic!("{}: {us:?}", case.name));
            one.1 = their_word.to_owned();
            if one.0.is_empty() {
                // We take no selector out of a list that is invalid.
                one.0 = "rsa".to_owned();
            }
            expected.dkim.retain(|(_, word)| !word.is_empty());
        }
        if expected != them {
            let from = senders[number % senders.len()];
            differ.push(format!("{}, from {from}:\n  {us:?}\n  {them:?}", case.name));
        }
        words.insert(format!("spf={}", us.spf));
        words.extend(us.dkim.iter().map(|(_, word)| format!("dkim={word}")));
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
    // Messages that are all judged alike would prove little.
    assert_eq!(words.len(), 7 + 5, "{words:?}");
    server.stop();
}
