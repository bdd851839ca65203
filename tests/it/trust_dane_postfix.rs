//! DANE beside Postfix's (`smtp_tls_security_level = dane`): real signed zones (nsd), a resolver that validates them by
//! a trust anchor of our own (unbound), the same hosts, and the same verdict for each domain.
//!
//! All of it in a network of its own: Postfix asks port 53 of whom /etc/resolv.conf names, and port 25 of hosts.

use crate::client::Client;
use crate::daemons::Daemon;
use crate::hosts::Host;
use crate::outside::{Input, installed, program, run};
use crate::postfix::Postfix;
use crate::servers::{Binary, value};
use crate::support::{Place, config, skip, text, until};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
    date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;

use std::env;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Set where the test runs in its network.
const INSIDE: &str = "FACTEUR_TEST_NETWORK";

/// What makes the network; then the test itself.
const NETWORK: &str =
    "ip link set lo up && mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";

const RESOLV: &str = "nameserver 127.0.0.1\noptions trust-ad edns0\n";

/// How a zone is found.
#[derive(Clone, Copy, PartialEq)]
enum Signed {
    /// By a chain from the trust anchor.
    Yes,
    /// It is not, and its parent says so.
    No,
    /// Its parent says that it is, and it is not.
    Broken,
}

/// A domain, what it says, its host, and what becomes of mail for it.
struct Case {
    domain: &'static str,
    signed: Signed,
    /// Lines of its zone; `IP` is the address of its host.
    zone: String,
    host: Option<(Arc<ServerConfig>, &'static str)>,
    verdict: &'static str,
}

/// A certificate with its key.
struct Shown {
    der: CertificateDer<'static>,
    key: KeyPair,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn params(names: &[&str], (since, until): (i32, i32)) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(since, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = params(&[], GOOD);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    match above {
        None => CertifiedIssuer::self_signed(params, key).unwrap(),
        Some(above) => CertifiedIssuer::signed_by(params, key, above).unwrap(),
    }
}

const GOOD: (i32, i32) = (2020, 2090);
const OVER: (i32, i32) = (2001, 2002);

fn below(above: &Authority, params: CertificateParams) -> Shown {
    let key = KeyPair::generate().unwrap();
    Shown { der: params.signed_by(&key, above).unwrap().der().clone(), key }
}

fn alone(params: CertificateParams) -> Shown {
    let key = KeyPair::generate().unwrap();
    Shown { der: params.self_signed(&key).unwrap().der().clone(), key }
}

/// A server that shows it, with these behind it.
fn server(shown: &Shown, above: &[&Authority]) -> Arc<ServerConfig> {
    let chain = [shown.der.clone()].into_iter().chain(above.iter().map(|it| it.der().clone()));
    let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(chain.collect(), key).unwrap())
}

/// A TLSA record of a certificate and its key.
fn tlsa(kind: &str, der: &[u8], key: &[u8]) -> String {
    let octets = if kind.as_bytes()[2] == b'0' { der } else { key };
    let data = match kind.as_bytes()[4] {
        b'0' => octets.to_vec(),
        b'1' => digest(&SHA256, octets).as_ref().to_vec(),
        _ => digest(&SHA512, octets).as_ref().to_vec(),
    };
    let mut text = format!("{kind} ");
    data.iter().for_each(|octet| write!(text, "{octet:02x}").unwrap());
    text
}

fn of(shown: &Shown, kind: &str) -> String {
    tlsa(kind, &shown.der, &shown.key.subject_public_key_info())
}

fn of_authority(above: &Authority, kind: &str) -> String {
    tlsa(kind, above.der(), &above.key().subject_public_key_info())
}

/// A zone with one MX host, and the records of that.
fn usual(records: &[String]) -> String {
    let mut zone = "@ MX 10 mx\nmx A IP\n".to_owned();
    records.iter().for_each(|record| writeln!(zone, "_25._tcp.mx TLSA {record}").unwrap());
    zone
}

fn cases() -> Vec<Case> {
    let (root, other) = (authority("root", None), authority("other", None));
    let middle = authority("middle", Some(&root));
    // For nobody and never valid: only its key counts.
    let own = alone(params(&["nobody.invalid"], OVER));
    let wrong = of(&alone(params(&["x.invalid"], GOOD)), "3 1 1");
    let plain = "EHLO: 250-host.test | 250 8BITMIME";
    let mut all = Vec::new();
    let mut add = |domain, signed, zone: String, host, verdict| {
        all.push(Case { domain, signed, zone, host, verdict });
    };
    let yes = Signed::Yes;
    let host = |shown: &Shown, above: &[&Authority]| Some((server(shown, above), ""));
    let bare = || Some((server(&own, &[]), plain));
    add("ee.test", yes, usual(&[of(&own, "3 1 1")]), host(&own, &[]), "dane");
    add("whole.test", yes, usual(&[of(&own, "3 0 2")]), host(&own, &[]), "dane");
    add("raw.test", yes, usual(&[of(&own, "3 1 0")]), host(&own, &[]), "dane");
    add("wrong.test", yes, usual(std::slice::from_ref(&wrong)), host(&own, &[]), "waits");
    add("second.test", yes, usual(&[wrong.clone(), of(&own, "3 1 1")]), host(&own, &[]), "dane");
    let agility =
        |right: &str, bad: &str| usual(&[of(&own, right), tlsa(bad, b"another", b"another")]);
    add("strong.test", yes, agility("3 1 2", "3 1 1"), host(&own, &[]), "dane");
    add("weak.test", yes, agility("3 1 1", "3 1 2"), host(&own, &[]), "waits");
    let leaf = below(&middle, params(&["mx.ta.test"], GOOD));
    let chain = [&middle, &root];
    add("ta.test", yes, usual(&[of_authority(&root, "2 0 1")]), host(&leaf, &chain), "dane");
    let leaf = below(&middle, params(&["middle.test"], GOOD));
    // By the domain's own name, for hosts of secure MX records.
    add(
        "middle.test",
        yes,
        usual(&[of_authority(&middle, "2 1 1")]),
        host(&leaf, &[&middle]),
        "dane",
    );
    let leaf = below(&middle, params(&["mx.key.test"], GOOD));
    add("key.test", yes, usual(&[of_authority(&root, "2 1 0")]), host(&leaf, &[&middle]), "dane");
    let leaf = below(&middle, params(&["*.cert.test"], GOOD));
    add("cert.test", yes, usual(&[of_authority(&root, "2 0 0")]), host(&leaf, &[&middle]), "dane");
    let mut common = params(&[], GOOD);
    common.distinguished_name.push(DnType::CommonName, "mx.common.test");
    let leaf = below(&middle, common);
    add("common.test", yes, usual(&[of_authority(&root, "2 1 1")]), host(&leaf, &chain), "dane");
    let leaf = below(&middle, params(&["mx.elsewhere.test"], GOOD));
    add("named.test", yes, usual(&[of_authority(&root, "2 1 1")]), host(&leaf, &chain), "waits");
    let leaf = below(&middle, params(&["mx.over.test"], OVER));
    add("over.test", yes, usual(&[of_authority(&root, "2 1 1")]), host(&leaf, &chain), "waits");
    let leaf = below(&middle, params(&["mx.stranger.test"], GOOD));
    add(
        "stranger.test",
        yes,
        usual(&[of_authority(&other, "2 1 1")]),
        host(&leaf, &chain),
        "waits",
    );
    // Its trust anchor is not among what it shows.
    let leaf = below(&middle, params(&["mx.short.test"], GOOD));
    add(
        "short.test",
        yes,
        usual(&[of_authority(&root, "2 1 1")]),
        host(&leaf, &[&middle]),
        "waits",
    );
    add(
        "unusable.test",
        yes,
        usual(&[of(&own, "1 1 1"), of(&own, "3 1 9")]),
        host(&own, &[]),
        "tls",
    );
    add("mixed.test", yes, usual(&[of(&own, "0 0 1"), of(&own, "3 1 1")]), host(&own, &[]), "dane");
    add("plain.test", yes, usual(&[of(&own, "3 1 1")]), bare(), "waits");
    add("bare.test", yes, usual(&[of(&own, "1 1 1")]), bare(), "waits");
    add("none.test", yes, usual(&[]), bare(), "clear");
    add("offered.test", yes, usual(&[]), host(&own, &[]), "tls");
    add("loose.test", Signed::No, usual(std::slice::from_ref(&wrong)), host(&own, &[]), "tls");
    add("hosted.test", Signed::No, "@ MX 10 mx.ee.test.\n".to_owned(), None, "dane");
    add("taken.test", Signed::No, "@ MX 10 mx.wrong.test.\n".to_owned(), None, "waits");
    let alias = format!(
        "@ MX 10 mail\nmail CNAME mx\nmx A IP\n_25._tcp.mx TLSA {}\n_25._tcp.mail TLSA {wrong}\n",
        of(&own, "3 1 1")
    );
    add("alias.test", yes, alias, host(&own, &[]), "dane");
    let first =
        format!("@ MX 10 mail\nmail CNAME mx\nmx A IP\n_25._tcp.mail TLSA {}\n", of(&own, "3 1 1"));
    add("first.test", yes, first, host(&own, &[]), "dane");
    // The alias is secure, and its target is not.
    let away = format!("@ MX 10 mail\nmail CNAME mx.loose.test.\n_25._tcp.mail TLSA {wrong}\n");
    add("away.test", yes, away, None, "waits");
    let implicit = format!("@ A IP\n_25._tcp TLSA {}\n", of(&own, "3 1 1"));
    add("implicit.test", yes, implicit, host(&own, &[]), "dane");
    add("null.test", yes, "@ MX 0 .\n".to_owned(), None, "returned");
    add("broken.test", Signed::Broken, usual(&[]), None, "waits");
    add("_tcp.mx.lost.test", Signed::Broken, format!("_25 TLSA {}\n", of(&own, "3 1 1")), None, "");
    let lost = "@ MX 10 mx\nmx A IP\n_tcp.mx NS ns.test.\n".to_owned();
    add("lost.test", yes, lost, host(&own, &[]), "waits");
    let next = "@ MX 10 mx.wrong.test.\n@ MX 20 mx.ee.test.\n".to_owned();
    add("next.test", yes, next, None, "dane");
    all
}

const SOA: &str = "$TTL 300\n@ SOA ns.test. hostmaster.test. 1 3600 900 86400 300\n@ NS ns.test.\n";

/// Makes the key of a zone, and signs it for decades; the parent's record of it lies beside it.
fn sign(place: &Place, zone: &str) {
    let keys = ["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-n", "ZONE", zone];
    run(place, program(place, "dnssec-keygen").args(keys), Input::Octets(b""));
    let (file, signed) = (format!("{zone}.zone"), format!("{zone}.signed"));
    let mut command = program(place, "dnssec-signzone");
    command.args(["-q", "-S", "-z", "-g", "-s", "20200101000000", "-e", "20800101000000"]);
    command.args(["-o", zone, "-f", &signed, &file]);
    run(place, &mut command, Input::Octets(b""));
}

/// Serves all zones, signed as they are to be, and a resolver that validates them.
fn names(place: &Place, cases: &[Case]) -> (Daemon, Daemon) {
    let mut test = format!("{SOA}ns A 127.0.0.53\n");
    let mut zones = String::new();
    let mut serve = |zone: &str, is_signed: bool| {
        let file = if is_signed { format!("{zone}.signed") } else { format!("{zone}.zone") };
        writeln!(zones, "zone:\n  name: \"{zone}\"\n  zonefile: \"{file}\"").unwrap();
    };
    for (at, case) in cases.iter().enumerate() {
        let lines = case.zone.replace("IP", &ip(at));
        place.write(&format!("{}.zone", case.domain), format!("{SOA}{lines}"));
        if case.signed != Signed::No {
            sign(place, case.domain);
        }
        serve(case.domain, case.signed == Signed::Yes);
        if case.domain.matches('.').count() == 1 {
            writeln!(test, "{}. NS ns.test.", case.domain).unwrap();
        }
    }
    place.write("test.zone", test);
    sign(place, "test");
    serve("test", true);
    let dir = place.path().display();
    let settings = format!(
        "server:\n  ip-address: 127.0.0.53\n  username: \"\"\n  pidfile: \"\"\n  database: \"\"\n\
         \x20 zonesdir: \"{dir}\"\n  xfrdir: \"{dir}\"\n  xfrdfile: \"{dir}/xfrd\"\n\
         \x20 zonelistfile: \"{dir}/zones\"\nremote-control:\n  control-enable: no\n{zones}"
    );
    let settings = place.write("nsd.conf", settings);
    let mut command = program(place, "nsd");
    command.arg("-d").arg("-c").arg(settings);
    let nsd = Daemon::start(place, "nsd", command, "127.0.0.53:53".parse().unwrap());
    let is_anchor = |path: &&std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("Ktest.+") && name.ends_with(".key")
    };
    let files = crate::support::files(place.path());
    let anchor = files.iter().find(is_anchor).unwrap().display().to_string();
    let settings = format!(
        "server:\n  interface: 127.0.0.1@53\n  access-control: 127.0.0.0/8 allow\n  do-ip6: no\n\
         \x20 username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n\
         \x20 use-syslog: no\n  do-daemonize: no\n  module-config: \"validator iterator\"\n\
         \x20 trust-anchor-file: \"{anchor}\"\n  trust-anchor-signaling: no\n\
         \x20 do-not-query-localhost: no\n  local-zone: \"test.\" nodefault\n\
         stub-zone:\n  name: \"test.\"\n  stub-addr: 127.0.0.53\n\
         remote-control:\n  control-enable: no\n"
    );
    let settings = place.write("unbound.conf", settings);
    let mut command = program(place, "unbound");
    command.arg("-d").arg("-c").arg(settings);
    (nsd, Daemon::start(place, "unbound", command, "127.0.0.1:53".parse().unwrap()))
}

/// The address of a case's host.
fn ip(at: usize) -> String {
    format!("127.0.1.{}", at + 1)
}

/// What Postfix's log says of mail for a domain, once it says it.
fn of_postfix(log: &str, domain: &str) -> Option<&'static str> {
    let line = log.lines().find(|line| line.contains(&format!("to=<bob@{domain}>,")))?;
    if line.contains("status=bounced") {
        return Some("returned");
    }
    if !line.contains("status=sent") {
        return Some("waits");
    }
    let relay = line.split("relay=").nth(1)?.split(',').next()?;
    let tls =
        log.lines().find(|line| line.contains(&format!(" TLS connection established to {relay}")));
    // It trusts no authority, so "Trusted" is DANE as well, for a host of insecure MX records.
    let is_dane = |line: &str| line.contains(": Verified TLS") || line.contains(": Trusted TLS");
    Some(tls.map_or("clear", |line| if is_dane(line) { "dane" } else { "tls" }))
}

/// The same of ours.
fn of_ours(lines: &[String], domain: &str) -> Option<&'static str> {
    let is_it = |line: &&String| {
        line.contains(&format!("to=bob@{domain} "))
            && ["relayed ", "deferred ", "bounced "].iter().any(|start| line.starts_with(start))
    };
    let line = lines.iter().find(is_it)?;
    let tls = value(line, "tls").unwrap_or_default();
    Some(match line.split(' ').next()? {
        "deferred" => "waits",
        "bounced" => "returned",
        _ if tls == "no" => "clear",
        _ if tls.ends_with(":dane") => "dane",
        _ => "tls",
    })
}

fn compare() {
    let (place, cases) = (Place::new(), cases());
    let _names = names(&place, &cases);
    let mut hosts = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        if let Some((tls, script)) = &case.host {
            let listener = TcpListener::bind((ip(at), 25)).unwrap();
            hosts.push(Host::secure_at(listener, tls.clone(), script));
        }
    }
    let relay = "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\nmta_sts = false\n\
                 [dns]\nservers = [\"127.0.0.1:53\"]\ntrust_ad = true\n";
    let ours = Place::new();
    let server = Binary::serve(&ours, &config(relay));
    let more = "smtp_tls_security_level = dane\nsmtp_dns_support_level = dnssec\n\
                smtp_host_lookup = dns\nsmtp_tls_loglevel = 1\nsmtp_tls_CAfile =\n\
                transport_maps =\nrelay_domains =\n";
    let postfix = Postfix::with(server.address, more).expect("it was found outside");
    let asked: Vec<&Case> = cases.iter().filter(|case| !case.verdict.is_empty()).collect();
    assert!(asked.len() >= 20);
    let (mut to_us, mut to_them) = (server.client(), Client::greeted(postfix.address));
    for case in &asked {
        for client in [&mut to_us, &mut to_them] {
            let to = format!("bob@{}", case.domain);
            client.expect("MAIL FROM:<>", "250");
            client.expect(&format!("RCPT TO:<{to}>"), "250");
            client.expect("DATA", "354");
            client.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
            assert!(client.reply().starts_with("250 "));
        }
    }
    let mut found: BTreeMap<&str, [Option<&str>; 2]> = BTreeMap::new();
    until("both have a verdict for each domain", || {
        let (log, lines) = (postfix.log(), server.lines());
        for case in &asked {
            let both = [of_ours(&lines, case.domain), of_postfix(&log, case.domain)];
            found.insert(case.domain, both);
        }
        found.values().flatten().all(Option::is_some)
    });
    let wrong: Vec<String> = asked
        .iter()
        .filter(|case| found[case.domain] != [Some(case.verdict); 2])
        .map(|case| format!("{}: {} but {:?}", case.domain, case.verdict, found[case.domain]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{}\n{:#?}", postfix.log(), server.lines());
    server.stop();
}

#[test]
fn postfix_and_we_judge_each_domain_alike() {
    if env::var_os(INSIDE).is_some() {
        return compare();
    }
    let programs = ["unbound", "nsd", "dnssec-keygen", "dnssec-signzone", "ip", "unshare"];
    if !installed(&programs) || Postfix::found().is_none() {
        return;
    }
    let place = Place::new();
    let resolv = place.write("resolv.conf", RESOLV);
    let network = |command: &mut Command| {
        command.args(["--net", "--mount", "sh", "-c", NETWORK, "sh"]).arg(&resolv);
    };
    let mut probe = Command::new("unshare");
    network(&mut probe);
    if !probe.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skip("no network of our own");
    }
    let mut command = Command::new("unshare");
    network(&mut command);
    command.arg(env::current_exe().unwrap()).args(["--exact", "--nocapture"]);
    let name = "trust_dane_postfix::postfix_and_we_judge_each_domain_alike";
    let output = command.arg(name).env(INSIDE, "1").output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
