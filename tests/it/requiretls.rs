//! REQUIRETLS and `TLS-Required: No` through the whole server (RFC 8689): which next hops get such a message, what
//! comes back, and what is kept.

use crate::client::{Client, stuffed};
use crate::dnsd::Dnsd;
use crate::filterd::Filter;
use crate::filters::MAY;
use crate::hosts::Host;
use crate::internet::{listed, listeners, mail, queue, until_empty};
use crate::lmtp::keeper;
use crate::outside::{Input, installed, program, run};
use crate::secrecy::{self, Pair, TLS, authority};
use crate::sendmail::sendmail;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, config, text, until};
use std::process::Command;

/// A host that promises it, also to who does not ask for TLS.
const OFFERS: &str =
    "EHLO: 250-host.test | 250-PIPELINING | 250-8BITMIME | 250-REQUIRETLS | 250 STARTTLS";
const MESSAGE: &str = "Subject: hush\n\nThe words that nobody may read.\n";

/// A server with a certificate, which believes the authority of the tests; with these sections.
fn serve(place: &Place, more: &str) -> Binary {
    Pair::of(&["mx.test"]).write(place);
    place.write("facteur.toml", config(&format!("{more}\n{TLS}")));
    restarted(place)
}

/// The same once more, by the files that are there.
fn restarted(place: &Place) -> Binary {
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(place.at("facteur.toml")).arg("serve");
    command.env("SSL_CERT_FILE", place.write("authority.pem", authority()));
    Binary::start(command)
}

/// `[relay]` with a host for each domain.
fn routes(hosts: &[(&str, &Host)]) -> String {
    let routes =
        hosts.iter().map(|(domain, host)| format!("\"{domain}\" = \"{}\"\n", host.address));
    let routes: String = routes.collect();
    format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\nthreads = 1\n[relay.route]\n{routes}"
    )
}

fn secured(server: &Binary) -> Client {
    let mut client = server.client();
    let offered = client.start_tls(&secrecy::client());
    assert!(offered.contains("250-REQUIRETLS"), "{offered}");
    client
}

/// Sends a message that requires TLS; gives its id.
fn require(server: &Binary, from: &str, to: &[&str], message: &str) -> String {
    send(&mut secured(server), &format!("<{from}> REQUIRETLS"), to, message)
}

fn send(client: &mut Client, from: &str, to: &[&str], message: &str) -> String {
    client.expect(&format!("MAIL FROM:{from}"), "250 ");
    to.iter().for_each(|to| drop(client.expect(&format!("RCPT TO:<{to}>"), "250 ")));
    client.expect("DATA", "354 ");
    client.send(&stuffed(message.replace('\n', "\r\n").as_bytes()));
    let reply = client.reply();
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"));
    id.to_owned()
}

/// The commands MAIL that a host has heard.
fn mails(host: &Host) -> Vec<String> {
    let commands = host.seen().commands.into_iter();
    commands.filter(|line| line.starts_with("MAIL ")).collect()
}

#[test]
fn only_a_host_that_proves_its_name_and_promises_it_gets_it() {
    let own = &["127.0.0.1"][..];
    let stripped = "EHLO: 250-host.test | 250-REQUIRETLS | 250 8BITMIME";
    let once = "EHLO*1: 250-host.test | 250-REQUIRETLS | 250 STARTTLS";
    let none = "(EHLO)";
    for (pair, script, reason) in [
        (Pair::of(own), OFFERS, ""),
        // None of all: it comes back.
        (Pair::of(own), "", none),
        (Pair::of(own), once, none),
        // Somebody may sit between: it waits.
        (Pair::self_signed(own), OFFERS, "(STARTTLS, owed by REQUIRETLS"),
        (Pair::of(&["other.test"]), OFFERS, "(STARTTLS, owed by REQUIRETLS"),
        (Pair::with(own, (2001, 2002), true), OFFERS, "(STARTTLS, owed by REQUIRETLS"),
        (Pair::of(own), stripped, "(STARTTLS, owed by REQUIRETLS"),
        (
            Pair::of(own),
            &format!("{OFFERS}\nSTARTTLS: 454 4.7.0 later"),
            "(STARTTLS, owed by REQUIRETLS",
        ),
        (
            Pair::of(own),
            &format!("{OFFERS}\nSTARTTLS: 220 go | (close)"),
            "(STARTTLS, owed by REQUIRETLS",
        ),
    ] {
        let (place, host) = (Place::new(), Host::with(&pair, script));
        let server = serve(&place, &routes(&[("far.test", &host)]));
        let id = require(&server, "ann@mx.test", &["bob@far.test"], MESSAGE);
        server.wait_for(&["accepted ", &format!("id={id} "), " requiretls=yes"]);
        match reason {
            "" => {
                server.wait_for(&["relayed ", &format!("id={id} ")]);
                assert_eq!(mails(&host)[0].rsplit(' ').next(), Some("REQUIRETLS"));
                assert_eq!(host.mail().len(), 1);
            }
            reason if reason == none => {
                server.wait_for(&["bounced ", &format!("id={id} "), "5.7.30"]);
                let notice = &mail(&place, "ann", 1)[0];
                assert!(notice.contains("Status: 5.7.30"), "{notice}");
                // The header alone comes back.
                let words = ["Subject: hush", "that nobody may read"];
                assert_eq!(words.map(|words| notice.contains(words)), [true, false], "{notice}");
            }
            reason => {
                server.wait_for(&["deferred ", &format!("id={id} "), reason]);
                assert_eq!(listed(&place).len(), 1);
                assert!(queue(&place)[0].contains("\nfrom: <ann@mx.test> requiretls\n"));
            }
        }
        assert!(reason.is_empty() || mails(&host).is_empty(), "{:?}", host.seen().commands);
        server.stop();
    }
}

/// Nothing of it goes over a connection that is less secret, and no other mail waits for what it needs.
#[test]
fn other_mail_has_connections_of_its_own() {
    let (place, host) = (Place::new(), Host::with(&Pair::of(&["127.0.0.1"]), ""));
    let server = serve(&place, &routes(&[("far.test", &host)]));
    send(&mut server.client(), "<ann@mx.test>", &["bob@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=bob@far.test"]);
    let id = require(&server, "ann@mx.test", &["eve@far.test"], MESSAGE);
    server.wait_for(&["bounced ", &format!("id={id} "), "5.7.30"]);
    send(&mut server.client(), "<ann@mx.test>", &["joe@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=joe@far.test"]);
    assert_eq!(mails(&host).len(), 2);
    server.stop();
    // A host without TLS holds up such mail alone.
    let (place, host) = (Place::new(), Host::start(""));
    let server = serve(&place, &routes(&[("far.test", &host)]));
    let id = require(&server, "ann@mx.test", &["eve@far.test"], MESSAGE);
    server.wait_for(&["deferred ", &format!("id={id} ")]);
    send(&mut server.client(), "<ann@mx.test>", &["joe@far.test"], MESSAGE);
    server.wait_for(&["relayed ", "to=joe@far.test", "tls=no"]);
    assert_eq!(listed(&place).len(), 1);
    server.stop();
}

#[test]
fn it_is_kept_over_a_kill_and_a_retry() {
    let pair = Pair::of(&["127.0.0.1"]);
    let host = Host::with(&pair, "MAIL: 451 4.3.0 not now");
    host.change(OFFERS);
    let place = Place::new();
    let server = serve(&place, &routes(&[("far.test", &host)]));
    let id = require(&server, "bob@far.test", &["joe@far.test"], MESSAGE);
    server.wait_for(&["deferred ", &format!("id={id} "), "451 4.3.0"]);
    drop(server); // killed
    host.change("MAIL: 250 2.1.0 ok");
    let server = restarted(&place);
    let mut retry = Command::new(FACTEUR);
    retry.arg("-c").arg(place.at("facteur.toml")).args(["queue", "retry", &id]);
    assert!(retry.status().unwrap().success());
    server.wait_for(&["relayed ", &format!("id={id} ")]);
    until_empty(&place);
    let mails = mails(&host);
    assert!(
        mails.len() == 2 && mails.iter().all(|line| line.ends_with(" REQUIRETLS")),
        "{mails:?}"
    );
    server.stop();
}

/// A notice goes back as the message came, and else as any notice does: a lost one helps nobody (§5).
#[test]
fn a_notice_goes_back_by_tls_where_it_can_and_never_whole() {
    let own = &["127.0.0.1"][..];
    let refuses = Host::with(&Pair::of(own), &format!("RCPT: 550 5.1.1 nobody\n{OFFERS}"));
    for (script, mail) in [(OFFERS, "MAIL FROM:<> REQUIRETLS"), ("", "MAIL FROM:<>")] {
        let (place, home) = (Place::new(), Host::with(&Pair::of(own), script));
        let server = serve(&place, &routes(&[("far.test", &refuses), ("home.test", &home)]));
        let mut client = secured(&server);
        let from = "<eve@home.test> RET=FULL REQUIRETLS";
        let id = send(&mut client, from, &["bob@far.test"], MESSAGE);
        server.wait_for(&["noticed ", &format!("id={id} ")]);
        until("the notice has come", || !home.mail().is_empty());
        assert_eq!(mails(&home), [mail]);
        let notice = text(&home.mail()[0].octets);
        let words = ["Status: 5.1.1", "Subject: hush", "that nobody may read"];
        assert_eq!(words.map(|words| notice.contains(words)), [true, true, false], "{notice}");
        until_empty(&place);
        server.stop();
    }
    // As long as somebody may sit between, it waits.
    let (place, home) = (Place::new(), Host::with(&Pair::self_signed(own), OFFERS));
    let server = serve(&place, &routes(&[("far.test", &refuses), ("home.test", &home)]));
    require(&server, "eve@home.test", &["bob@far.test"], MESSAGE);
    server.wait_for(&["deferred ", "to=eve@home.test", "4.7.5"]);
    assert!(mails(&home).is_empty());
    server.stop();
}

/// MX hosts with certificates for `one.far.test` and `two.far.test`, and a server that asks for them.
struct Far {
    dns: Dnsd,
    hosts: Vec<Host>,
    place: Place,
    server: Binary,
}

impl Far {
    fn new(scripts: &[&str]) -> Far {
        let (names, listeners) = (["one.far.test", "two.far.test"], listeners(scripts.len()));
        let port = listeners[0].local_addr().unwrap().port();
        let hosts = listeners.into_iter().zip(names.iter().zip(scripts)).map(
            |(listener, (name, script))| {
                Host::secure_at(listener, Pair::of(&[name]).server(), script)
            },
        );
        let (hosts, dns, place) = (hosts.collect(), Dnsd::new(""), Place::new());
        place.write("aliases", "all: eve@far.test\nteam: ann, eve@far.test\n");
        let server = serve(
            &place,
            &format!(
                "aliases = \"aliases\"\n[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\ntrust_ad = true\n\
                 [relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\nport = {port}\n",
                dns.address()
            ),
        );
        Far { dns, hosts, place, server }
    }

    /// The zone, of which DNSSEC vouches for these names, and more lines.
    fn zone(&self, vouched: &[&str], more: &str) {
        let secure: String = vouched.iter().map(|name| format!("{name} !ad\n")).collect();
        self.dns.set(&format!(
            "far.test 0 MX 10 one.far.test\nfar.test 0 MX 20 two.far.test\n\
             one.far.test 0 A 127.0.0.2\ntwo.far.test 0 A 127.0.0.3\n{secure}{more}"
        ));
    }
}

#[test]
fn the_next_mx_host_is_asked_where_one_does_not_promise_it() {
    for (second, event, word) in [
        (OFFERS, "relayed ", "host=two.far.test"),
        // Where none does, it comes back; where one could not be asked, it waits.
        ("", "bounced ", "5.7.30"),
        ("greeting: 421 4.3.2 busy | (close)", "deferred ", "421 4.3.2"),
    ] {
        let far = Far::new(&["", second]);
        far.zone(&["far.test"], "");
        let id = require(&far.server, "ann@mx.test", &["eve@far.test"], MESSAGE);
        far.server.wait_for(&[event, &format!("id={id} "), word]);
        assert!(mails(&far.hosts[0]).is_empty());
        assert_eq!(far.hosts[1].mail().len(), usize::from(second == OFFERS));
        far.server.stop();
    }
}

/// Hosts that anybody in between could have named are refused at RCPT already; what DNS does not say refuses nobody.
#[test]
fn only_where_somebody_vouches_for_the_hosts_it_is_taken() {
    let far = Far::new(&[OFFERS, OFFERS]);
    let rcpt = |to: &str, reply: &str| {
        let mut client = secured(&far.server);
        client.expect("MAIL FROM:<ann@mx.test> REQUIRETLS", "250 ");
        client.expect(&format!("RCPT TO:<{to}>"), reply)
    };
    far.zone(
        &[],
        "policy.test 0 MX 10 one.far.test\n_mta-sts.policy.test TXT v=STSv1; id=1;\n\
         other.test MX 10 one.far.test\n_mta-sts.other.test TXT v=spf1 -all\n\
         sick.test MX 10 one.far.test\n_mta-sts.sick.test !servfail\n\
         dead.test !servfail\nalone.test A 127.0.0.2\n",
    );
    let refused = rcpt("eve@far.test", "550 5.7.30 <eve@far.test>: far.test: it requires TLS, ");
    assert!(refused.contains("vouches for the MX records ["), "{refused}");
    rcpt("all@mx.test", "550 5.7.30 <all@mx.test>: far.test: ");
    rcpt("ann@mx.test", "250 ");
    // Ann's copy is at its end.
    rcpt("team@mx.test", "250 ");
    // Nobody else's mail is asked about.
    let mut client = secured(&far.server);
    client.expect("MAIL FROM:<ann@mx.test>", "250 ");
    client.expect("RCPT TO:<eve@far.test>", "250 ");
    drop(client);
    // A policy may vouch for them, and a domain that stands for itself is named by the mail.
    for domain in ["policy.test", "sick.test", "dead.test", "alone.test"] {
        rcpt(&format!("eve@{domain}"), "250 ");
    }
    rcpt("eve@other.test", "550 5.7.30 ");
    far.server.stop();
}

/// It comes too late for a word in the session, and goes back.
#[test]
fn what_an_alias_sends_on_may_come_back() {
    let far = Far::new(&[OFFERS]);
    far.zone(&[], "");
    let id = require(&far.server, "bob@mx.test", &["team@mx.test"], MESSAGE);
    far.server.wait_for(&["bounced ", &format!("id={id} "), "5.7.30"]);
    let notice = &mail(&far.place, "postmaster", 1)[0];
    assert!(notice.contains("5.7.30") && !notice.contains("nobody may read"), "{notice}");
    // What is a bounce already goes on as mail does.
    let mut client = secured(&far.server);
    send(&mut client, "<> REQUIRETLS", &["eve@far.test"], MESSAGE);
    far.server.wait_for(&["relayed ", "to=eve@far.test"]);
    assert_eq!(mails(&far.hosts[0]), ["MAIL FROM:<>"]);
    far.zone(&["far.test"], "");
    send(&mut client, "<> REQUIRETLS", &["joe@far.test"], MESSAGE);
    far.server.wait_for(&["relayed ", "to=joe@far.test"]);
    assert_eq!(mails(&far.hosts[0]).last().map(String::as_str), Some("MAIL FROM:<> REQUIRETLS"));
    far.server.stop();
}

/// For mail about a broken certificate, say; its next hop is held to nothing, but TLS is used.
#[test]
fn tls_required_no_lifts_what_records_demand() {
    let far = Far::new(&["", ""]);
    let port = far.hosts[0].address.port();
    let wrong = format!("_{port}._tcp.one.far.test 0 TLSA 3 1 1 {}\n", "00".repeat(32));
    let wrong = format!("{wrong}{}", wrong.replace("one.far", "two.far"));
    let names = ["far.test", "one.far.test", "two.far.test"];
    let records = ["one", "two"].map(|name| format!("_{port}._tcp.{name}.far.test"));
    let vouched: Vec<&str> = names.into_iter().chain(records.iter().map(String::as_str)).collect();
    far.zone(&vouched, &wrong);
    let mut client = far.server.client();
    let waits = send(&mut client, "<ann@mx.test>", &["eve@far.test"], MESSAGE);
    far.server.wait_for(&["deferred ", &format!("id={waits} "), "4.7.5"]);
    let lifted = format!("TLS-Required: No\n{MESSAGE}");
    let id = send(&mut client, "<ann@mx.test>", &["eve@far.test"], &lifted);
    far.server.wait_for(&["accepted ", &format!("id={id} "), " tls-required=no"]);
    let line = far.server.wait_for(&["relayed ", &format!("id={id} ")]);
    assert!(line.contains("tls=TLSv1.3:"), "{line}");
    // With both, it waits.
    let id = require(&far.server, "ann@mx.test", &["eve@far.test"], &lifted);
    far.server.wait_for(&["deferred ", &format!("id={id} "), "4.7.5"]);
    // A file of the queue says so, so that it is kept over a kill; in a second field nothing is.
    let twice = format!("TLS-Required: No\n{lifted}");
    let id = send(&mut client, "<ann@mx.test>", &["eve@far.test"], &twice);
    far.server.wait_for(&["deferred ", &format!("id={id} "), "4.7.5"]);
    far.server.stop();
}

#[test]
fn programs_of_this_machine_say_it_in_the_header() {
    let place = Place::new();
    place.write("facteur.toml", config("[relay.route]\n\"far.test\" = \"127.0.0.1:1\"\n"));
    let lifted = format!("TLS-Required: no\n{MESSAGE}");
    for (message, lines) in [(&*lifted, 1), (MESSAGE, 0)] {
        let (status, said) = sendmail(&place, &["eve@far.test"], message.as_bytes());
        assert_eq!(status, 0, "{said}");
        let file = queue(&place).pop().unwrap();
        assert_eq!(file.matches("\ntls-required: no\n").count(), lines, "{file}");
        std::fs::remove_dir_all(place.at("spool/queue")).unwrap();
    }
    // There is no TLS on a pipe.
    let session = b"EHLO x\r\nMAIL FROM:<ann@mx.test> REQUIRETLS\r\nQUIT\r\n";
    let (_, said) = sendmail(&place, &["-bs"], session);
    assert!(said.contains("\n555 5.5.4 ") && !said.contains("250-REQUIRETLS"), "{said}");
}

/// What leaves is what counts: the next server reads the same field.
#[test]
fn filters_put_the_field_in_and_take_it_out() {
    let filter = Filter::start("");
    let place = Place::new();
    let table = filter.table("f", MAY);
    place.write(
        "facteur.toml",
        config(&format!(
            "[relay]\nnetworks = [\"127.0.0.0/8\"]\n[relay.route]\n\"far.test\" = \"127.0.0.1:1\"\n{table}"
        )),
    );
    let server = restarted(&place);
    let lifted = format!("TLS-Required: No\n{MESSAGE}");
    for (script, message, is_lifted) in [
        ("end*1: add TLS-Required: No | continue", MESSAGE, true),
        ("end*1: add X-Seen: 1 | continue", &*lifted, true),
        ("end*1: add TLS-Required: No | continue", &lifted, false),
        ("end*1: change 1 TLS-Required: | continue", &lifted, false),
        ("end*1: body other\\n | continue", &lifted, true),
        ("end*1: body other\\n | change 1 TLS-Required: Yes | continue", &lifted, false),
    ] {
        for is_program in [false, true] {
            filter.change(script);
            match is_program {
                false => {
                    send(&mut server.client(), "<ann@mx.test>", &["eve@far.test"], message);
                }
                true => {
                    let (status, said) = sendmail(&place, &["eve@far.test"], message.as_bytes());
                    assert_eq!(status, 0, "{said}");
                }
            }
            let mut file = String::new();
            until(script, || {
                file = queue(&place).pop().unwrap_or_default();
                !file.is_empty() && !file.contains("\nunfiltered: yes\n")
            });
            let says = file.contains("\ntls-required: no\n");
            assert_eq!(says, is_lifted, "{script}, {is_program}: {file}");
            let id = listed(&place)[0]["id"].as_str().unwrap().to_owned();
            // One that is being sent at this moment is not removed.
            until("it is removed", || {
                let mut remove = Command::new(FACTEUR);
                remove.arg("-c").arg(place.at("facteur.toml")).args(["queue", "remove", &id]);
                remove.status().unwrap().success()
            });
        }
    }
    server.stop();
}

/// It keeps mail of ours on this machine, and is no hop.
#[test]
fn a_server_that_keeps_mail_hears_nothing_of_it() {
    let (place, keeper) = (Place::new(), keeper(""));
    let more = format!(
        "[domain.\"kept.test\"]\nlmtp = \"inet:{}\"\nany_user = true\n\
         [domain.\"away.test\"]\nlmtp = \"inet:192.0.2.1:24\"\nany_user = true\n",
        keeper.address
    );
    let server = serve(&place, &more);
    require(&server, "bob@far.test", &["ann@kept.test"], MESSAGE);
    assert_eq!(mails(&keeper).len(), 1);
    assert!(!mails(&keeper)[0].contains("REQUIRETLS"));
    let mut client = secured(&server);
    client.expect("MAIL FROM:<bob@far.test> REQUIRETLS", "250 ");
    client.expect(
        "RCPT TO:<ann@away.test>",
        "550 5.7.30 <ann@away.test>: it requires TLS, and its mail",
    );
    drop(client);
    server.stop();
}

/// Python's smtplib, which speaks of extensions as it is told to.
#[test]
fn a_program_that_requires_it() {
    if !installed(&["python3"]) {
        return;
    }
    let place = Place::new();
    let server = serve(&place, "");
    let script = format!(
        "import smtplib, ssl\n\
         context = ssl.create_default_context(cafile='authority.pem')\n\
         client = smtplib.SMTP('127.0.0.1', {}, 'client.test')\n\
         client._host = 'mx.test'\n\
         client.ehlo()\n\
         assert not client.has_extn('requiretls')\n\
         client.starttls(context=context)\n\
         client.ehlo()\n\
         assert client.has_extn('requiretls')\n\
         client.sendmail('bob@far.test', ['ann@mx.test'], 'Subject: hush\\r\\n\\r\\nx\\r\\n', ['REQUIRETLS'])\n\
         client.quit()\n",
        server.address.port()
    );
    place.write("client.py", script);
    run(&place, program(&place, "python3").arg("client.py"), Input::Octets(b""));
    assert_eq!(mail(&place, "ann", 1).len(), 1);
    server.wait_for(&["accepted ", " requiretls=yes"]);
    server.stop();
}
