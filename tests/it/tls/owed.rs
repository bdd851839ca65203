//! What next hops owe by their TLSA records, as a scripted DNS server gives them that says what it has validated:
//! who is authenticated, who is passed over, who is never asked, and that nothing goes to anybody in between.

use super::{NETWORKS, address};
use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::internet::listeners;
use crate::metrics::get;
use crate::secrecy::Pair;
use crate::servers::Binary;
use crate::support::{Place, config, files, until};
use facteur::net::tls::Chain;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

const MAIL: &[u8] = b"Subject: x\r\n\r\nA secret.\r\n";

/// The `3 1 1` record of a certificate, as a zone has it.
pub(super) fn record(pair: &Pair) -> String {
    let wanted = Chain::read(pair.certificate.as_bytes()).unwrap().wanted();
    wanted.and_then(|record| record.tlsa_text()).unwrap()
}

/// Hosts that listen on one port of 127.0.0.2, 127.0.0.3 and on, and names for them.
struct Far {
    dns: Dnsd,
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Far {
    fn new(count: usize) -> Far {
        let listeners = listeners(count);
        let port = listeners[0].local_addr().unwrap().port();
        Far { dns: Dnsd::new(""), listeners, port }
    }

    /// The next host.
    fn host(&mut self, pair: &Pair, script: &str) -> Host {
        Host::secure_at(self.listeners.remove(0), pair.server(), script)
    }

    /// These lines, where `PORT` is the hosts' port; each name with a line `NAME !ad` is validated.
    fn zone(&self, lines: &str) {
        self.dns.set(&lines.replace("PORT", &self.port.to_string()));
    }

    fn serve(&self, place: &Place, relay: &str, more: &str) -> Binary {
        let (port, dns) = (self.port, self.dns.address());
        let relay = format!("port = {port}\nretry = [\"1h\"]\nmta_sts = false\n{relay}");
        let text = format!(
            "{NETWORKS}{relay}\n[dns]\nservers = [\"{dns}\"]\ntimeout = \"1s\"\ntrust_ad = true\n{more}"
        );
        let metrics = "metrics = [\"127.0.0.1:0\"]\n[domain";
        Binary::serve(place, &config(&text).replacen("[domain", metrics, 1))
    }

    /// What was asked, without repeats: `TLSA _25._tcp.mx.test`.
    fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = Vec::new();
        for question in self.dns.log() {
            let question = format!("{} {}", question.kind, question.name);
            if !asked.contains(&question) {
                asked.push(question);
            }
        }
        let port = format!("_{}.", self.port);
        asked.iter().map(|question| question.replace(&port, "_PORT.")).collect()
    }
}

/// One host of far.test, all of it validated, with these records.
fn one(pair: &Pair, script: &str, records: &[&str]) -> (Far, Host) {
    let mut far = Far::new(1);
    let host = far.host(pair, script);
    far.zone(&validated(records));
    (far, host)
}

/// One host for far.test, all of it validated, with these records.
fn validated(records: &[&str]) -> String {
    let zone = "far.test MX 10 mx.far.test\nfar.test !ad\n\
                mx.far.test A 127.0.0.2\nmx.far.test !ad\n_PORT._tcp.mx.far.test !ad\n";
    let record = |record: &&str| format!("_PORT._tcp.mx.far.test TLSA {record}\n");
    zone.to_owned() + &records.iter().map(record).collect::<String>()
}

fn post(server: &Binary) -> String {
    server.client().delivered(&["bob@far.test"], MAIL)
}

/// The mail goes, to a host that is known so; gives the line of the log.
fn goes(server: &Binary, how: &str) -> String {
    post(server);
    let line = server.wait_for(&["relayed ", "to=bob@far.test"]);
    assert!(line.contains(&format!(":{how} ")), "{line}");
    line
}

fn why(place: &Place, id: &str) -> String {
    let (status, out, err) = run(place, &["queue", "why", id]);
    assert_eq!((status, &*err), (0, ""), "{out}");
    out
}

/// The mail waits, the host has got nothing of it, and `queue why` says this.
fn waits(server: &Binary, place: &Place, hosts: &[&Host], says: &[&str]) {
    let id = post(server);
    let line = server.wait_for(&["deferred ", "to=bob@far.test"]);
    // A host that refuses STARTTLS has a code of its own.
    assert!(line.contains("4.7.5 ") || line.contains(": 454 "), "{line}");
    let told = why(place, &id);
    assert!(told.contains("because TLS that is owed was not shown"), "{told}");
    for part in says {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    for host in hosts {
        let commands = host.seen().commands;
        assert!(!commands.iter().any(|line| line.starts_with("MAIL")), "{commands:?}");
    }
    assert_eq!(files(&place.at("spool/queue")).len(), 1);
}

fn other(pair: &Pair) -> String {
    let right = record(pair);
    // Another key.
    right.replace("3 1 1 ", "3 1 1 00")[..right.len()].to_owned()
}

#[test]
fn a_host_that_fits_its_records_is_called_by_their_name_and_tagged() {
    // Valid for nobody and for no time: only the key counts (RFC 7672 §3.1.1).
    let pair = Pair::with(&["nobody.test"], (2001, 2002), false);
    let mut far = Far::new(1);
    let host = far.host(&pair, "");
    let zone = format!(
        "far.test MX 10 mail.far.test\nfar.test !ad\nmail.far.test CNAME mx.host.test\nmail.far.test !ad\n\
         mx.host.test A 127.0.0.2\nmx.host.test !ad\n_PORT._tcp.mx.host.test TLSA {}\n\
         _PORT._tcp.mx.host.test TLSA 3 1 1 00ff\n_PORT._tcp.mx.host.test !ad\n",
        record(&pair)
    );
    far.zone(&zone);
    let place = Place::new();
    let server = far.serve(&place, "", "");
    let id = post(&server);
    let line = server.wait_for(&["relayed ", "to=bob@far.test"]);
    assert!(line.contains("X25519MLKEM768:dane "), "{line}");
    assert_eq!(host.seen().commands[2], "(tls mx.host.test)", "SNI is the base domain");
    assert_eq!(
        far.asked()[..5],
        [
            "MX far.test",
            "AAAA mail.far.test",
            "AAAA mx.host.test",
            "A mail.far.test",
            "TLSA _PORT._tcp.mx.host.test"
        ]
    );
    let lookup = format!("TLSA of _{}._tcp.mx.host.test: 2 records, 1 of which count", far.port);
    // The trace is written a moment later.
    until("the trace tells the lookup", || run(&place, &["trace", &id]).1.contains(&lookup));
    let (_, numbers) = get(address(&server, "metrics"), "/metrics");
    let count = "facteur_relay_tls_total{demand=\"dane\",outcome=\"success\"} 1\n";
    assert!(numbers.contains(count), "{numbers}");
    // A second message by a new connection: no session is resumed, so the certificate is shown again.
    let (_, told, _) = run(&place, &["route", "bob@far.test"]);
    for part in
        ["TLS is owed by TLSA of _", "._tcp.mx.host.test", "greeted by mail.far.test", ":dane"]
    {
        assert!(told.contains(part), "no {part} in {told}");
    }
    server.stop();
}

#[test]
fn who_is_in_between_gets_nothing() {
    let (pair, theirs) = (Pair::of(&["mx.far.test"]), Pair::of(&["mx.far.test"]));
    let strip = "EHLO: 250-host.test | 250 8BITMIME";
    let refuse = "STARTTLS: 454 4.7.0 not now";
    let forget = "EHLO: 502 5.5.1 what\nHELO: 250 hello";
    for (shown, script, says) in [
        (&pair, strip, "offers no TLS (STARTTLS, owed by TLSA of _"),
        (&pair, refuse, "454 4.7.0 not now (STARTTLS, owed by TLSA of _"),
        (&pair, forget, "offers no TLS (STARTTLS, owed by TLSA of _"),
        (&pair, "STARTTLS: 220 go | (close)", "closed the connection (STARTTLS, owed by TLSA of _"),
        (&theirs, "", "its certificate does not fit the one TLSA record that can be used"),
    ] {
        let (far, host) = one(shown, script, &[&record(&pair)]);
        let place = Place::new();
        let server = far.serve(&place, "", "");
        waits(&server, &place, &[&host], &[says, "._tcp.mx.far.test"]);
        assert_eq!(host.seen().connections, 1, "no second call in the clear");
        server.stop();
    }
}

/// Nor does mail come back by the word of somebody in between (521: a host takes no mail at all, RFC 7504).
#[test]
fn that_a_host_takes_no_mail_counts_only_where_it_owes_no_tls() {
    let pair = Pair::of(&["mx.far.test"]);
    let record = record(&pair);
    for (script, records, event) in [
        ("greeting: 521 5.3.2 go away", &[&*record][..], "deferred "),
        ("EHLO: 521 5.3.2 go away", &[&*record], "deferred "),
        ("greeting: 521 5.3.2 go away", &[], "bounced "),
    ] {
        let (far, _host) = one(&pair, script, records);
        let place = Place::new();
        let server = far.serve(&place, "", "");
        post(&server);
        server.wait_for(&[event, "to=bob@far.test", "521 5.3.2 go away"]);
        server.stop();
    }
}

#[test]
fn a_host_with_none_but_unusable_records_owes_tls_with_any_certificate() {
    let pair = Pair::of(&["mx.far.test"]);
    let pkix = record(&pair).replace("3 1 1", "1 1 1");
    let records = [&*pkix, "2 1 1 00", "3 2 1 0011", "3 1 3 0011", "3 0 0 3003020100"];
    let (far, _host) = one(&pair, "", &records);
    let place = Place::new();
    let server = far.serve(&place, "", "");
    goes(&server, "unverified");
    server.stop();
    let (far, host) = one(&pair, "EHLO: 250 host.test", &records);
    let place = Place::new();
    let server = far.serve(&place, "", "");
    waits(&server, &place, &[&host], &["offers no TLS (STARTTLS, owed by TLSA of _"]);
    server.stop();
}

#[test]
fn the_strongest_digest_counts_and_a_second_record_may_fit() {
    let pair = Pair::of(&["mx.far.test"]);
    let (right, wrong) = (record(&pair), other(&pair));
    let longer = format!("3 1 2 {}", "ab".repeat(64));
    for (records, is_good) in [
        (vec![&*wrong, &*right], true),
        (vec![&*wrong], false),
        // RFC 7671 §9: SHA-512 stands above SHA-256, and does not fit.
        (vec![&*right, &*longer], false),
    ] {
        let (far, host) = one(&pair, "", &records);
        let place = Place::new();
        let server = far.serve(&place, "", "");
        match is_good {
            true => drop(goes(&server, "dane")),
            false => waits(&server, &place, &[&host], &["can be used"]),
        }
        server.stop();
    }
}

#[test]
fn a_question_without_an_answer_passes_the_host_over() {
    let pair = Pair::of(&["one.far.test"]);
    for behaviour in ["!servfail", "!silent", "!refused"] {
        let mut far = Far::new(2);
        let (first, second) = (far.host(&pair, ""), far.host(&pair, ""));
        let zone = format!(
            "far.test MX 10 one.far.test\nfar.test MX 20 two.far.test\nfar.test !ad\n\
             one.far.test A 127.0.0.2\none.far.test !ad\n_PORT._tcp.one.far.test {behaviour}\n\
             two.far.test A 127.0.0.3\ntwo.far.test !ad\n_PORT._tcp.two.far.test TLSA {}\n\
             _PORT._tcp.two.far.test !ad\n",
            record(&pair)
        );
        far.zone(&zone);
        let place = Place::new();
        let server = far.serve(&place, "", "");
        let line = goes(&server, "dane");
        assert!(line.contains("host=two.far.test["), "{line}");
        assert_eq!((first.seen().connections, second.seen().connections), (0, 1));
        // Without the second host it waits.
        far.zone(&zone.replace("far.test MX 20 two.far.test\n", ""));
        server.stop();
        let place = Place::new();
        let server = far.serve(&place, "", "");
        waits(&server, &place, &[&first], &["far.test by MX: one.far.test: TLSA of _"]);
        assert_eq!(first.seen().connections, 0);
        server.stop();
    }
}

/// Nothing that DNSSEC does not vouch for is asked, or believed; nor is anything where the administrator does not
/// believe the servers, or records.
#[test]
fn tlsa_is_asked_only_where_it_can_hold() {
    let pair = Pair::of(&["mx.far.test"]);
    let wrong = other(&pair);
    let all = format!(
        "far.test MX 10 mx.far.test\nfar.test !ad\nmx.far.test A 127.0.0.2\nmx.far.test !ad\n\
         _PORT._tcp.mx.far.test TLSA {wrong}\n_PORT._tcp.mx.far.test !ad\n"
    );
    let plain = ["MX far.test", "AAAA mx.far.test", "A mx.far.test"];
    let insecure = all.replace("\nmx.far.test !ad", "");
    for (zone, relay, more, asked) in [
        (insecure.clone(), "", "", &plain[..]),
        (all.clone(), "dane = false", "", &plain[..]),
        // Asked, and not vouched for.
        (
            all.replace("_PORT._tcp.mx.far.test !ad\n", ""),
            "",
            "",
            &["MX far.test", "AAAA mx.far.test", "A mx.far.test", "TLSA _PORT._tcp.mx.far.test"][..],
        ),
    ] {
        let mut far = Far::new(1);
        let _host = far.host(&pair, "");
        far.zone(&zone);
        let place = Place::new();
        let server = far.serve(&place, relay, more);
        goes(&server, "unverified");
        assert_eq!(far.asked(), asked);
        server.stop();
    }
    // Found by MX records that nobody vouches for, the host is held to its own all the same (RFC 7672 §2.2.1).
    let (far, host) = one(&pair, "", &[]);
    far.zone(&all.replacen("far.test !ad\n", "", 1));
    let place = Place::new();
    let server = far.serve(&place, "", "");
    waits(&server, &place, &[&host], &["._tcp.mx.far.test"]);
    server.stop();
}

/// An alias that DNSSEC vouches for, to a host for which it does not: the name may have records of its own.
#[test]
fn a_secure_alias_of_an_insecure_host_is_asked_by_its_name() {
    let pair = Pair::of(&["nobody.test"]);
    for (alias, asked) in [("!ad", true), ("!step", false)] {
        let mut far = Far::new(1);
        let _host = far.host(&pair, "");
        far.zone(&format!(
            "far.test MX 10 mail.far.test\nfar.test !ad\nmail.far.test CNAME mx.host.test\n\
             mail.far.test !step\nmail.far.test CNAME {alias}\nmx.host.test A 127.0.0.2\n\
             _PORT._tcp.mail.far.test TLSA {}\n_PORT._tcp.mail.far.test !ad\n",
            record(&pair)
        ));
        let place = Place::new();
        let server = far.serve(&place, "", "");
        post(&server);
        let line = server.wait_for(&["relayed ", "to=bob@far.test"]);
        assert_eq!(line.contains(":dane "), asked, "{line}");
        let questions = far.asked();
        assert!(questions.contains(&"CNAME mail.far.test".to_owned()), "{questions:?}");
        let tlsa: Vec<_> = questions.iter().filter(|it| it.starts_with("TLSA")).collect();
        let expected: &[&str] = if asked { &["TLSA _PORT._tcp.mail.far.test"] } else { &[] };
        assert_eq!(tlsa, expected);
        server.stop();
    }
}

#[test]
fn a_smarthost_proves_itself_by_its_records_and_gets_the_password() {
    let pair = Pair::self_signed(&["nobody.test"]);
    let auth = "EHLO: 250-host.test | 250-AUTH PLAIN | 250 STARTTLS\nAUTH PLAIN: 235 2.7.0 ok";
    for (records, is_good) in [(record(&pair), true), (other(&pair), false)] {
        let mut far = Far::new(1);
        let host = far.host(&pair, auth);
        far.zone(&format!(
            "smart.test A 127.0.0.2\nsmart.test !ad\n_PORT._tcp.smart.test TLSA {records}\n\
             _PORT._tcp.smart.test !ad\n"
        ));
        let place = Place::new();
        place.write("password", "secret\n");
        let relay = format!(
            "smarthost = \"smart.test:{}\"\n\
             smarthost_auth = {{ user = \"me\", password_file = \"password\" }}",
            far.port
        );
        let server = far.serve(&place, &relay, "");
        match is_good {
            true => {
                goes(&server, "dane");
                assert_eq!(host.count("AUTH PLAIN AG1lAHNlY3JldA=="), 1);
            }
            false => {
                waits(&server, &place, &[&host], &["._tcp.smart.test"]);
                assert_eq!(host.count("AUTH"), 0);
            }
        }
        server.stop();
    }
}

/// `TLS-Required: No` (RFC 8689): no record keeps it back, and none is asked for.
#[test]
fn mail_that_wants_no_tls_goes_on() {
    let pair = Pair::of(&["mx.far.test"]);
    let (far, host) = one(&pair, "EHLO: 250 host.test", &[&record(&pair)]);
    let place = Place::new();
    let server = far.serve(&place, "", "");
    let mail = b"TLS-Required: No\r\nSubject: x\r\n\r\nHello.\r\n";
    server.client().delivered(&["bob@far.test"], mail);
    let line = server.wait_for(&["relayed ", "to=bob@far.test"]);
    assert!(line.contains("tls=no"), "{line}");
    assert_eq!(host.mail().len(), 1);
    assert!(!far.asked().iter().any(|question| question.starts_with("TLSA")));
    server.stop();
}

/// Shows a certificate that it may not have the key of.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// Certificates of X.509 version 1, which rustls does not read: DANE-EE is about the key, so they fit, and whoever has
/// not that key has to be found out by his signature.
#[test]
fn a_certificate_that_cannot_be_read_proves_nothing_without_its_key() {
    let place = Place::new();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.current_dir(place.path()).args(arguments.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
    };
    openssl(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout old.key -subj /CN=x -out old.csr",
    );
    openssl("x509 -req -in old.csr -signkey old.key -days 1000 -out old.pem");
    openssl(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -subj /CN=x -out other.csr",
    );
    let read = |name: &str| std::fs::read(place.at(name)).unwrap();
    let certificate = CertificateDer::from_pem_slice(&read("old.pem")).unwrap();
    let version: &[u8] = &[0xa0, 3, 2, 1];
    assert!(!certificate[..16].windows(4).any(|part| part == version), "it is of version 1");
    let pem = String::from_utf8(read("old.pem")).unwrap();
    let record = record(&Pair { certificate: pem, key: String::new() });
    for versions in [&[&version::TLS13][..], &[&version::TLS12]] {
        for (key, is_good) in [("old.key", true), ("other.key", false)] {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let key = PrivateKeyDer::from_pem_slice(&read(key)).unwrap();
            let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
            let shown = Arc::new(CertifiedKey::new(vec![certificate.clone()], key));
            let tls = ServerConfig::builder_with_provider(provider);
            let tls = tls.with_protocol_versions(versions).unwrap().with_no_client_auth();
            let tls = Arc::new(tls.with_cert_resolver(Arc::new(Shows(shown))));
            let mut far = Far::new(1);
            let host = Host::secure_at(far.listeners.remove(0), tls, "");
            far.zone(&validated(&[&record]));
            let place = Place::new();
            let server = far.serve(&place, "", "");
            match is_good {
                true => drop(goes(&server, "dane")),
                false => waits(&server, &place, &[&host], &["._tcp.mx.far.test"]),
            }
            server.stop();
        }
    }
}

#[test]
fn check_says_what_keeps_records_from_holding() {
    for (dns, relay, says) in [
        ("", "dane = true", "relay.dane: no TLSA record holds while dns.trust_ad is false"),
        (
            "servers = [\"192.0.2.53:53\"]\ntrust_ad = true",
            "",
            "dns.trust_ad: the name server 192.0.2.53:53 is not on this machine",
        ),
        ("servers = [\"127.0.0.1:53\"]\ntrust_ad = true", "dane = true", ""),
        ("", "", ""),
    ] {
        let place = Place::new();
        let text = format!("{NETWORKS}{relay}\n[dns]\n{dns}\n");
        place.write("facteur.toml", config(&text));
        let (_, out, err) = run(&place, &["check"]);
        let all = out + &err;
        match says {
            "" => assert!(!all.contains("relay.dane") && !all.contains("trust_ad"), "{all}"),
            says => assert!(all.contains("warning:") && all.contains(says), "{all}"),
        }
    }
}
