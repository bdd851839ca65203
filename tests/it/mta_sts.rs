//! MTA-STS through the whole server: policies of web servers of our own, and somebody in between who strips, lies and
//! shows other certificates. Mail that a policy keeps waits, and is never readable on the way.

use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::internet::{count, ip, listeners, post, until_empty};
use crate::secrecy::{GOOD, Pair, authority};
use crate::servers::{Binary, FACTEUR, value};
use crate::support::{PATIENCE, Place, config, files, skip, text, until, within};
use crate::trust_sts::table;
use crate::webd::{Page, Webd};
use facteur::store::disk::{Doing, RealDisk};
use facteur::store::entry::Entry;
use facteur::store::queue::Queue;
use jiff::Timestamp;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Names, MX hosts on one port, and a web server where policies are.
struct Net {
    place: Place,
    dns: Dnsd,
    hosts: Vec<Host>,
    web: Webd,
    port: u16,
    /// Lines of the zone that do not change.
    zone: String,
}

/// A port 443 at an address of this machine that nobody else has; none, and skipped, where we may not.
fn port_443() -> Option<TcpListener> {
    loop {
        let [a, b, c, ..] = facteur::id::random().to_be_bytes();
        match TcpListener::bind((format!("127.{}.{b}.{}", a | 1, c.clamp(1, 250)).as_str(), 443)) {
            Ok(listener) => return Some(listener),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                skip(&format!("no port 443 for a web server of ours: {error}"));
                return None;
            }
        }
    }
}

fn policy(mode: &str, mx: &str, max_age: u64) -> Page {
    Page::text(&format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {max_age}\n"))
}

const DAY: u64 = 24 * 3600;

impl Net {
    /// Hosts with these certificates and scripts, from 127.0.0.2 on, and a web server for these domains.
    fn new(hosts: &[(&Pair, &str)], domains: &[&str]) -> Option<Net> {
        let listener = port_443()?;
        let listening = listeners(hosts.len());
        let port = listening[0].local_addr().unwrap().port();
        let hosts = listening.into_iter().zip(hosts);
        let hosts =
            hosts.map(|(at, (pair, script))| Host::secure_at(at, pair.server(), script)).collect();
        let names: Vec<String> = domains.iter().map(|name| format!("mta-sts.{name}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let web = Webd::at(listener, &Pair::of(&names));
        let at = web.address.ip();
        let zone = names.iter().map(|name| format!("{name} 0 A {at}\n")).collect();
        Some(Net { place: Place::new(), dns: Dnsd::new(""), hosts, web, port, zone })
    }

    /// From now on these names, beside those of the web server.
    fn set(&self, zone: &str) {
        self.dns.set(&format!("{}{zone}", self.zone));
    }

    /// far.test with its MX at this host, called so, and this record.
    fn far(&self, mx: &str, host: usize, record: &str) {
        let record = match record {
            "" => String::new(),
            record => format!("_mta-sts.far.test 0 TXT {record}\n"),
        };
        let at = ip(host);
        self.set(&format!("far.test 0 MX 10 {mx}\n{mx} 0 A {at}\n{record}"));
    }

    fn serve(&self, relay: &str) -> Binary {
        self.command(relay, &["serve"], Binary::start)
    }

    fn command<T>(&self, relay: &str, arguments: &[&str], then: impl FnOnce(Command) -> T) -> T {
        let (port, dns) = (self.port, self.dns.address());
        let text = config(&format!(
            "[dns]\nservers = [\"{dns}\"]\ntimeout = \"1s\"\n[timeout]\ncommand = \"5s\"\n\
             [relay]\nnetworks = [\"127.0.0.0/8\"]\nport = {port}\nretry = [\"1h\"]\n{relay}\n"
        ));
        let file = self.place.write("facteur.toml", text);
        let mut command = Command::new(FACTEUR);
        command.arg("-c").arg(file).args(arguments);
        command.env("SSL_CERT_FILE", self.place.write("authority.pem", authority()));
        then(command)
    }

    /// What `facteur route` says of bob@far.test.
    fn route(&self) -> String {
        let run = |mut command: Command| text(&command.output().unwrap().stdout);
        self.command("", &["route", "bob@far.test"], run)
    }

    /// Tries a message once more, until the log tells of another of these events: a message that is at its end of an
    /// attempt is not tried again.
    fn retry(&self, server: &Binary, event: &str, id: &str) {
        let before = count(server, &[event, id]);
        until(&format!("{event}{id}"), || {
            run(&self.place, &["queue", "retry", id]);
            within(Duration::from_secs(2), || count(server, &[event, id]) > before)
        });
    }

    /// Tries a message once more, and waits until it is put off again.
    fn put_off_again(&self, server: &Binary, id: &str) {
        self.retry(server, "deferred ", id);
    }

    /// What `queue why` says, which names the policy.
    fn why(&self, id: &str, words: &str) {
        let mut said = String::new();
        let is_said = within(PATIENCE, || {
            said = run(&self.place, &["queue", "why", id]).1;
            said.contains("the MTA-STS policy of far.test") && said.contains(words)
        });
        assert!(is_said, "{words}: {said}");
    }

    /// No host has heard who writes to whom, nor the message, in the clear or otherwise.
    fn nobody_has_heard(&self) {
        for host in &self.hosts {
            assert!(host.mail().is_empty());
            let commands = host.seen().commands;
            assert!(!commands.iter().any(|line| line.starts_with("MAIL")), "{commands:?}");
        }
    }
}

/// How TLS ended by the log, its last word.
fn tag(line: &str) -> String {
    value(line, "tls").unwrap().rsplit(':').next().unwrap().to_owned()
}

#[test]
fn what_the_hosts_of_others_say_is_held_to() {
    let cases = table("hosts");
    assert_eq!(cases.len(), 23);
    let of = |case: &serde_json::Value, key: &str| case[key].as_str().map(str::to_owned);
    let domains: Vec<String> = cases.iter().map(|case| of(case, "domain").unwrap()).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let Some(net) = Net::new(&[(&Pair::of(&["mail.loc"]), "")], &domains) else { return };
    let (Some(nobody), Some(other)) = (port_443(), port_443()) else { return };
    let nobody = Webd::at(nobody, &Pair::self_signed(&["mta-sts.bad-cert1.loc"]));
    let other = Webd::at(other, &Pair::of(&["mta-sts.other.loc"]));
    let good = "version: STSv1\nmode: enforce\nmx: mail.loc\nmax_age: 86400\n";
    let mut zone = format!("mail.loc A {}\n", ip(0));
    for case in &cases {
        let domain = of(case, "domain").unwrap();
        let at = match &*domain {
            "bad-cert1.loc" => &nobody,
            "bad-cert2.loc" => &other,
            _ => &net.web,
        };
        let name = format!("mta-sts.{domain}");
        zone += &format!("{domain} MX 10 mail.loc\n{name} A {}\n", at.address.ip());
        match of(case, "txt").as_deref() {
            None => {}
            Some("NODATA") => zone += &format!("_mta-sts.{domain} MX 1 x.test\n"),
            Some("TIMEOUT") => zone += &format!("_mta-sts.{domain} !silent\n"),
            Some(text) => zone += &format!("_mta-sts.{domain} TXT {text}\n"),
        }
        let Some(status) = case["status"].as_u64() else { continue };
        let media = of(case, "type").unwrap_or_else(|| "text/plain".to_owned());
        let body = of(case, "body").unwrap();
        let long = "a".repeat(131_136);
        at.set(
            &name,
            match &*domain {
                "chunked-overlength.loc" => {
                    let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
                    let body = format!("{good}x: {long}");
                    let chunk = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                    Page::Octets(chunk.into_bytes())
                }
                "static-overlength.loc" => Page::text(&format!("{good}x: {long}")),
                _ => Page::of(status as u16, &media, &body),
            },
        );
    }
    // The zone of the web server would name all.
    net.dns.set(&zone);
    let server = net.serve("threads = 8");
    let mut others = Vec::new();
    for case in &cases {
        let domain = of(case, "domain").unwrap();
        post(&server, &[&format!("bob@{domain}")]);
    }
    for case in &cases {
        let domain = of(case, "domain").unwrap();
        let line = server.wait_for(&["relayed ", &format!("to=bob@{domain} ")]);
        let wanted = if of(case, "want").unwrap() == "enforce" { "mta-sts" } else { "verified" };
        if tag(&line) != wanted {
            others.push(format!("{case}\n  {line}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    // A policy of a second is fetched again.
    until("the short policy is fetched again", || {
        post(&server, &["bob@fast-expire.loc"]);
        net.web.count("mta-sts.fast-expire.loc") > 1
    });
    assert_eq!(net.web.count("mta-sts.good.loc"), 1);
    server.stop();
}

/// What somebody in between shows in place of the MX host, and what is said of it.
fn attacks() -> Vec<(Pair, &'static str, &'static str)> {
    let own = &["mail.far.test"][..];
    vec![
        (Pair::of(own), "EHLO: 250-host.test | 250 PIPELINING", "STARTTLS"),
        (Pair::of(own), "STARTTLS: 454 4.7.0 not now", "454 4.7.0 not now"),
        (Pair::of(own), "STARTTLS: 220 go | (close)", "STARTTLS"),
        (Pair::self_signed(own), "", "nobody that this system trusts"),
        (Pair::of(&["evil.test"]), "", "not for mail.far.test"),
        (Pair::with(own, (2001, 2002), true), "", "out of date"),
    ]
}

#[test]
fn a_host_that_does_not_show_what_the_policy_wants_gets_no_mail() {
    let attacks = attacks();
    let good = Pair::with(&["mail.far.test"], GOOD, true);
    let mut hosts: Vec<(&Pair, &str)> =
        attacks.iter().map(|(pair, script, _)| (pair, *script)).collect();
    hosts.push((&good, ""));
    let Some(net) = Net::new(&hosts, &["far.test"]) else { return };
    net.web.set("mta-sts.far.test", policy("enforce", "mail.far.test", DAY));
    net.far("mail.far.test", 0, "v=STSv1; id=1");
    let server = net.serve("");
    let id = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &id]);
    for (host, (_, _, words)) in attacks.iter().enumerate() {
        net.far("mail.far.test", host, "v=STSv1; id=1");
        net.put_off_again(&server, &id);
        net.why(&id, words);
        net.nobody_has_heard();
    }
    // Another host, which DNS names for the moment.
    net.far("evil.test", attacks.len(), "v=STSv1; id=1");
    net.put_off_again(&server, &id);
    net.why(&id, "evil.test");
    net.nobody_has_heard();
    let said = net.route();
    assert!(
        said.contains("passed over") && said.contains("the MTA-STS policy of far.test"),
        "{said}"
    );
    // The story of the message says so too.
    let (_, story, _) = run(&net.place, &["trace", &id]);
    assert!(story.contains("the MTA-STS policy of far.test: enforce, id 1"), "{story}");

    net.far("mail.far.test", attacks.len(), "v=STSv1; id=1");
    net.retry(&server, "relayed ", &id);
    assert_eq!(tag(&server.wait_for(&["relayed ", &id])), "mta-sts");
    until_empty(&net.place);
    assert_eq!(net.web.count("mta-sts.far.test"), 1);
    server.stop();
}

#[test]
fn worse_hosts_that_fit_are_tried_and_others_passed_over() {
    let pair = Pair::of(&["a.far.test", "b.far.test"]);
    let Some(net) = Net::new(&[(&pair, ""), (&pair, "")], &["far.test"]) else { return };
    net.web.set("mta-sts.far.test", policy("enforce", "b.far.test", DAY));
    net.set(&format!(
        "far.test MX 10 a.far.test\nfar.test MX 20 b.far.test\na.far.test A {}\nb.far.test A {}\n\
         _mta-sts.far.test TXT v=STSv1; id=1\n",
        ip(0),
        ip(1)
    ));
    let server = net.serve("");
    let id = post(&server, &["bob@far.test"]);
    let line = server.wait_for(&["relayed ", &id]);
    assert!(line.contains("b.far.test") && tag(&line) == "mta-sts", "{line}");
    assert_eq!(net.hosts[0].seen().connections, 0);
    let said = net.route();
    let words = "the MTA-STS policy of far.test: enforce, id 1, fetched ";
    assert!(said.contains(words) && said.contains("holds until 20"), "{said}");
    server.stop();
}

#[test]
fn a_policy_that_is_known_holds_whatever_somebody_in_between_does() {
    let (own, evil) = (Pair::of(&["mail.far.test"]), Pair::of(&["evil.test"]));
    let Some(net) = Net::new(&[(&own, ""), (&evil, "")], &["far.test"]) else { return };
    let Some(liar) = port_443() else { return };
    let liar = Webd::at(liar, &evil);
    liar.set("mta-sts.far.test", policy("none", "evil.test", DAY));
    net.web.set("mta-sts.far.test", policy("enforce", "*.far.test", DAY));
    net.far("mail.far.test", 0, "v=STSv1; id=1");
    let server = net.serve("");
    let first = post(&server, &["bob@far.test"]);
    assert_eq!(tag(&server.wait_for(&["relayed ", &first])), "mta-sts");
    // Over a restart, without the record, with one that lies, without DNS for it.
    server.stop();
    let server = net.serve("");
    let evil = format!("far.test 0 MX 10 evil.test\nevil.test 0 A {}\n", ip(1));
    let at = liar.address.ip();
    let lies = [
        format!("_mta-sts.far.test 0 TXT v=STSv1; id=2\nmta-sts.far.test 0 A {at}\n"),
        "_mta-sts.far.test 0 TXT v=STSv1; id=3\nmta-sts.far.test !silent\n".to_owned(),
        "_mta-sts.far.test 0 TXT v=STSv1; id=?\n".to_owned(),
        "_mta-sts.far.test !servfail\n".to_owned(),
        // The last one, because its absence is remembered.
        String::new(),
    ];
    net.dns.set(&format!("{evil}{}", lies[0]));
    let id = post(&server, &["bob@far.test"]);
    server.wait_for(&["deferred ", &id]);
    for lie in lies {
        net.dns.set(&format!("{evil}{lie}"));
        net.put_off_again(&server, &id);
        net.why(&id, "evil.test");
    }
    assert_eq!((net.hosts[1].mail().len(), net.hosts[1].seen().connections), (0, 0));
    assert!(liar.asked().is_empty());
    let warned = server.wait_for(&["the MTA-STS policy of far.test cannot be fetched anew"]);
    assert!(warned.contains("https://mta-sts.far.test/.well-known/mta-sts.txt: "), "{warned}");
    server.stop();
    let server = net.serve("");
    // A new policy of the domain itself takes its place at once.
    net.web.set("mta-sts.far.test", policy("enforce", "evil.test", DAY));
    net.set(&format!("{evil}_mta-sts.far.test 0 TXT v=STSv1; id=4\n"));
    net.retry(&server, "relayed ", &id);
    assert_eq!(tag(&server.wait_for(&["relayed ", &id])), "mta-sts");
    until_empty(&net.place);
    let asked = net.web.asked();
    assert!(asked.iter().all(|asked| asked.what == "GET /.well-known/mta-sts.txt"), "{asked:?}");
    server.stop();
}

#[test]
fn what_cannot_be_fetched_rests_and_mail_goes_meanwhile() {
    let Some(net) = Net::new(&[(&Pair::of(&["mail.far.test"]), "")], &["far.test"]) else { return };
    net.far("mail.far.test", 0, "v=STSv1; id=1");
    let server = net.serve("");
    for _ in 0..3 {
        let id = post(&server, &["bob@far.test"]);
        assert_eq!(tag(&server.wait_for(&["relayed ", &id])), "verified");
    }
    assert_eq!(net.web.count("mta-sts.far.test"), 1);
    server.wait_for(&["far.test has an MTA-STS policy that cannot be had", "it answered 404"]);
    let said = net.route();
    assert!(said.contains("no MTA-STS policy of far.test: https://mta-sts."), "{said}");
    // Another id does not wait.
    net.web.set("mta-sts.far.test", policy("enforce", "mail.far.test", DAY));
    net.far("mail.far.test", 0, "v=STSv1; id=2");
    let id = post(&server, &["bob@far.test"]);
    assert_eq!(tag(&server.wait_for(&["relayed ", &id])), "mta-sts");
    server.stop();
}

#[test]
fn policies_that_only_test_or_are_taken_back_change_nothing() {
    let clear = "EHLO: 250-host.test | 250 PIPELINING";
    let pair = Pair::of(&["other.test"]);
    let Some(net) = Net::new(&[(&pair, clear), (&pair, "")], &["far.test"]) else { return };
    for (id, mode) in [(1, "testing"), (2, "none")] {
        net.web.set("mta-sts.far.test", policy(mode, "mail.far.test", DAY));
        for (host, word) in [(0, "no"), (1, "unverified")] {
            // A server of its own: mail to one domain goes by one connection.
            net.far("mail.far.test", host, &format!("v=STSv1; id={id}"));
            let server = net.serve("");
            let id = post(&server, &["bob@far.test"]);
            assert_eq!(tag(&server.wait_for(&["relayed ", &id])), word);
            server.stop();
        }
        let said = net.route();
        assert!(said.contains(&format!("the MTA-STS policy of far.test: {mode}, ")), "{said}");
    }
    assert_eq!(net.web.count("mta-sts.far.test"), 2);
}

#[test]
fn without_a_record_there_is_one_question_more_and_nothing_else() {
    let Some(net) = Net::new(&[(&Pair::of(&["mail.far.test"]), "")], &["far.test"]) else { return };
    let record = "_mta-sts.far.test TXT v=STSv1; id=1\n";
    let names = format!("far.test MX 10 mail.far.test\nmail.far.test A {}\n", ip(0));
    net.set(&names);
    let server = net.serve("");
    for _ in 0..5 {
        let id = post(&server, &["bob@far.test"]);
        server.wait_for(&["relayed ", &id]);
    }
    assert_eq!(net.dns.asked("_mta-sts.far.test", "TXT"), 1);
    assert!(!net.place.at("spool/mta-sts").exists());
    server.stop();
    // Switched off, and on ways that the configuration names, nobody is asked.
    let host = net.hosts[0].address;
    net.set(&format!("{names}{record}"));
    net.dns.forget();
    let route = format!("[relay.route]\n\"far.test\" = \"{host}\"");
    for relay in ["mta_sts = false", &format!("smarthost = \"{host}\""), &route] {
        let server = net.serve(relay);
        let id = post(&server, &["bob@far.test"]);
        server.wait_for(&["relayed ", &id]);
        server.stop();
    }
    assert_eq!((net.dns.asked("_mta-sts.far.test", "TXT"), net.web.asked().len()), (0, 0));
}

#[test]
fn files_that_somebody_has_spoiled_are_fetched_anew() {
    let Some(net) = Net::new(&[(&Pair::of(&["mail.far.test"]), "")], &["far.test"]) else { return };
    net.web.set("mta-sts.far.test", policy("enforce", "mail.far.test", DAY));
    net.far("mail.far.test", 0, "v=STSv1; id=1");
    let file = net.place.at("spool/mta-sts/far.test");
    for round in 1..5 {
        let server = net.serve("");
        let id = post(&server, &["bob@far.test"]);
        assert_eq!(tag(&server.wait_for(&["relayed ", &id])), "mta-sts");
        assert_eq!(net.web.count("mta-sts.far.test"), round);
        server.stop();
        let whole = std::fs::read(&file).unwrap();
        assert!(text(&whole).ends_with("policy max_age: 86400\nend\n"));
        assert_eq!(files(&net.place.at("spool/mta-sts")).len(), 1);
        std::fs::remove_file(&file).unwrap();
        match round {
            1 => std::fs::write(&file, &whole[..whole.len() / 2]).unwrap(),
            2 => std::fs::write(&file, vec![b'x'; 1_000_000]).unwrap(),
            3 => std::os::unix::fs::symlink("/etc/passwd", &file).unwrap(),
            _ => {}
        }
    }
}

/// A message that requires TLS goes to hosts that a policy names, also one that is only tried out; and to no other.
#[test]
fn a_policy_vouches_for_the_hosts_of_mail_that_requires_tls() {
    let offers = "EHLO: 250-host.test | 250-REQUIRETLS | 250 STARTTLS";
    let pair = Pair::of(&["mx.far.test"]);
    for (mode, mx, is_good) in [
        ("enforce", "mx.far.test", true),
        ("testing", "*.far.test", true),
        ("testing", "mx.other.test", false),
        ("enforce", "mx.other.test", false),
        ("none", "mx.far.test", false),
    ] {
        let Some(net) = Net::new(&[(&pair, offers)], &["far.test"]) else { return };
        net.web.set("mta-sts.far.test", policy(mode, mx, DAY));
        net.far("mx.far.test", 0, "v=STSv1; id=1;");
        let queue = Queue::new(Arc::new(RealDisk), &net.place.at("spool"));
        let header = format!(
            "facteur queue 1\nid: m1\nqueued: {}\nsession: s1\nfrom: <ann@mx.test> requiretls\n\
             trusted: yes\nto: <bob@far.test>\nsize: 13\n",
            Timestamp::now()
        );
        let entry = Entry::parse(&header, 0).unwrap();
        let message = b"Subject: x\n\nx";
        queue.insert(&entry, |file, path| file.append(message).doing("write", path)).unwrap();
        let server = net.serve("");
        match is_good {
            true => {
                server.wait_for(&["relayed ", "id=m1 ", "to=bob@far.test"]);
                let commands = net.hosts[0].seen().commands;
                assert!(commands.contains(&"MAIL FROM:<ann@mx.test> REQUIRETLS".to_owned()));
            }
            false => {
                server.wait_for(&["deferred ", "id=m1 "]);
                net.nobody_has_heard();
            }
        }
        server.stop();
    }
}
