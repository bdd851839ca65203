//! A backup MX: whom strangers may write to, where their mail goes, and who hears that the better MX refused it.

use crate::commands::run;
use crate::internet::{Net, mail, queue, send, until_empty};
use crate::servers::Binary;
use crate::support::{Place, until};

/// A site of strangers, which is a backup for far.test; more lines stand in its `[relay]`.
fn site(net: &Net, relay: &str, backup: &str) -> String {
    net.config(relay, &format!("[relay.backup]\n{backup}\n[trust]\ngateways = []\n"))
        .replace("networks = [\"127.0.0.0/8\"]\n", "")
}

/// far.test has a better MX than this host, and a worse one.
const ZONE: &str = "far.test MX 10 one.far.test\nfar.test MX 20 mx.test\nfar.test MX 30 three.far.test\n\
    one.far.test A 127.0.0.2\nmx.test A 192.0.2.77\nthree.far.test A 127.0.0.3\n\
    own.test TXT v=spf1 ip4:127.0.0.1 -all\nown.test MX 10 home.own.test\nhome.own.test A 127.0.0.4\n\
    forged.test TXT v=spf1 ?all\nforged.test MX 10 home.own.test\n";

/// What a stranger hears at RCPT.
fn heard(server: &Binary, to: &str) -> String {
    let mut client = server.client();
    client.expect("MAIL FROM:<x@own.test>", "250");
    client.ask(&format!("RCPT TO:<{to}>"))
}

#[test]
fn strangers_mail_for_those_who_exist_waits_for_the_better_mx_alone() {
    let (place, net) = (Place::new(), Net::new(&["greeting: 421 4.3.2 away", "", ""]));
    net.dns.set(ZONE);
    place.write("far", "# who is there\nann\nBob@FAR.test\n");
    let server = Binary::serve(&place, &site(&net, "retry = [\"1h\"]", "\"far.test\" = \"far\""));
    for (to, reply) in [
        ("nobody@far.test", "550 5.1.1"),
        ("annx@far.test", "550 5.1.1"),
        ("ann@sub.far.test", "550 5.7.1"),
        ("ann+x@far.test", "250 2.1.5"),
        ("postmaster@far.test", "250 2.1.5"),
        ("BOB@far.test", "250 2.1.5"),
    ] {
        assert!(heard(&server, to).starts_with(reply), "{to}");
    }
    let id = send(&server, "x@own.test", &["ann@far.test"], "Subject: hi\n\nhello");
    server.wait_for(&["deferred ", &format!("id={id}"), "421 4.3.2 away"]);
    // Neither the worse one was asked, nor we ourselves.
    assert_eq!((net.hosts[1].seen().connections, queue(&place).len()), (0, 1));
    net.hosts[0].change("greeting: 220 back");
    assert_eq!(run(&place, &["queue", "retry", "--all"]).0, 0);
    server.wait_for(&["relayed ", &format!("id={id}"), "host=one.far.test[127.0.0.2]"]);
    until_empty(&place);
    // Who exists changes without a reload.
    place.write("far", "zoe\n");
    until("zoe is taken", || heard(&server, "zoe@far.test").starts_with("250"));
    assert!(heard(&server, "ann@far.test").starts_with("550 5.1.1"));

    let (status, out, _) = run(&place, &["route", "zoe@far.test"]);
    assert!(status == 0 && out.contains("this host is a backup MX for it: anybody"), "{out}");
    assert!(out.contains("MX 20 mx.test: mx.test is this host; it and all that are no better"));
    let (status, out, _) = run(&place, &["route", "ann@far.test"]);
    assert!(status == 1 && out.contains("strangers hear 550 5.1.1"), "{out}");
    let (status, out, _) = run(&place, &["route", "--client", "192.0.2.1", "ann@far.test"]);
    assert!(status == 1 && out.contains("refused with 550 5.1.1"), "{out}");
    server.stop();
}

#[test]
fn without_a_better_mx_nothing_is_taken_and_check_fails() {
    let (place, net) = (Place::new(), Net::new(&[""]));
    let good = "far.test MX 10 one.far.test\nfar.test MX 20 mx.test\none.far.test A 127.0.0.2\n";
    let routed = "[relay.route]\n\"far.test\" = \"127.0.0.2:25\"\n[relay.backup]";
    let config = site(&net, "", "\"far.test\" = \"\"");
    let server = Binary::serve(&place, &config);
    for (zone, reply, weight, words) in [
        (good, "250", None, ""),
        (
            "far.test MX 10 one.far.test\none.far.test A 127.0.0.2",
            "550 5.4.6",
            Some("error"),
            "this host is not among the MX of far.test",
        ),
        ("far.test A 127.0.0.2", "550 5.4.6", Some("error"), "this host is not among"),
        (
            "far.test MX 10 mx.test\nfar.test MX 10 one.far.test\nfar.test MX 20 two.far.test",
            "550 5.4.6",
            Some("error"),
            "no MX of far.test is better than this host",
        ),
        ("far.test MX 0 .", "556 5.1.10", Some("error"), "null MX"),
        ("far.test MX !servfail", "451 4.4.3", Some("warning"), "SERVFAIL"),
        (
            "far.test MX 10 one.far.test\none.far.test !servfail",
            "451 4.4.3",
            Some("warning"),
            "SERVFAIL",
        ),
    ] {
        net.dns.set(zone);
        // The resolver remembers; a server of its own does not.
        let fresh = Place::new();
        fresh.write("facteur.toml", &config);
        let one = Binary::serve(&fresh, &config);
        assert!(
            heard(&one, "any@far.test").starts_with(reply),
            "{zone}: {}",
            heard(&one, "a@far.test")
        );
        one.stop();
        let (status, _, err) = run(&fresh, &["check"]);
        let line =
            |line: &str| line.contains("relay.backup.\"far.test\": ") && line.contains(words);
        assert_eq!(status, i32::from(weight == Some("error")), "{zone}: {err}");
        assert!(err.contains("warning: ") && err.contains("backscatter"), "{err}");
        if let Some(weight) = weight {
            let is_told = err.lines().any(|it| it.starts_with(weight) && line(it));
            assert!(is_told, "{zone}: {err}");
        }
    }
    server.stop();
    // A next hop that the configuration names is no question of MX.
    let fresh = Place::new();
    fresh.write("facteur.toml", config.replace("[relay.backup]", routed));
    net.dns.set("");
    assert_eq!(run(&fresh, &["check"]).0, 0);
    // A domain is one or the other.
    fresh.write("facteur.toml", config.replace("\"far.test\"", "\"MX.test\""));
    let (status, _, err) = run(&fresh, &["check"]);
    assert!(status == 1 && err.contains("relay.backup.\"MX.test\": mail for mx.test is delivered"));
}

#[test]
fn a_refusal_goes_back_to_who_is_proved_and_else_to_the_postmaster() {
    let refuses = "RCPT TO:<gone@: 550 5.1.1 gone\nRCPT TO:<away@: 550 5.1.1 away";
    let (place, net) = (Place::new(), Net::new(&[refuses, "", ""]));
    net.dns.set(ZONE);
    let server = Binary::serve(&place, &site(&net, "", "\"far.test\" = \"\""));
    let proved = send(&server, "x@own.test", &["gone@far.test", "ann@far.test"], "Subject: a\n\nb");
    server.wait_for(&["bounced ", &format!("id={proved}"), "to=gone@far.test"]);
    until("the sender is told", || net.taken(2) == ["x@own.test"]);
    let forged = send(&server, "x@forged.test", &["away@far.test"], "Subject: a\n\nb");
    server.wait_for(&["bounced ", &format!("id={forged}"), "to=away@far.test"]);
    let told = mail(&place, "postmaster", 1);
    assert!(told[0].contains("away@far.test") && told[0].contains("550 5.1.1 away"), "{}", told[0]);
    until_empty(&place);
    assert_eq!(net.taken(2), ["x@own.test"]);
    server.stop();
}
