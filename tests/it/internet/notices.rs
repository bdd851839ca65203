//! Who hears that mail has failed, and that nobody else does (RFC 5321 §6.1, RFC 3461 §5.2).

use super::{Net, count, mail, post, send, until_empty, wait_for_count};
use crate::servers::Binary;
use crate::support::{Place, files, until};

/// Clients here are anybody, and the aliases of mx.test are these.
fn untrusting(net: &Net, place: &Place, aliases: &str) -> String {
    place.write("aliases", aliases);
    let config = net.config("", "").replace("127.0.0.0/8", "127.0.0.9");
    config.replace("any_user = true", "any_user = true\naliases = \"aliases\"")
}

#[test]
fn mail_from_nobody_fails_without_a_word() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 550 5.1.1 nobody"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    let id = send(&server, "", &["x@far.test"], "Subject: hi\n\nx");
    server.wait_for(&["bounced ", &id, "to=x@far.test", "nobody"]);
    until_empty(&place);
    assert_eq!(count(&server, &["noticed "]), 0);
    assert!(files(&place.at("mail")).is_empty());
    server.stop();
}

/// Its sender may be forged, and may have nothing to do with it.
#[test]
fn failures_of_strangers_go_to_the_postmaster() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 550 5.1.1 nobody", ""]));
    net.dns.set("far.test A 127.0.0.2\nstranger.test A 127.0.0.3");
    let server = Binary::serve(
        &place,
        &untrusting(&net, &place, "team: x@far.test, bob\nfar: y@far.test\n"),
    );
    for to in ["team@mx.test", "far@mx.test"] {
        send(&server, "eve@stranger.test", &[to], "Subject: hi\n\nx");
    }
    server.wait_for(&["bounced ", "to=x@far.test"]);
    server.wait_for(&["bounced ", "to=y@far.test"]);
    let notices = mail(&place, "postmaster", 2);
    for part in
        ["eve@stranger.test", "\nAction: failed\nStatus: 5.1.1\n", "\nTo: <postmaster@mx.test>"]
    {
        assert!(notices[0].contains(part), "{part}: {}", notices[0]);
    }
    until_empty(&place);
    assert_eq!(place.mail("bob").len(), 1);
    assert_eq!(net.hosts[1].seen().connections, 0);
    server.stop();
}

/// Nor is anything told of mail that is late, or was handed on, to who may be anybody.
#[test]
fn strangers_hear_of_no_delay() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later", ""]));
    net.dns.set("far.test A 127.0.0.2\nstranger.test A 127.0.0.3");
    let config = untrusting(&net, &place, "far: y@far.test\n");
    let config = config
        .replace("[relay]", "[relay]\nretry = [\"1s\"]\ndelay_notice = \"1s\"\nexpire = \"4s\"");
    let server = Binary::serve(&place, &config);
    send(&server, "eve@stranger.test", &["far@mx.test"], "Subject: hi\n\nx");
    server.wait_for(&["expired ", "to=y@far.test"]);
    assert!(mail(&place, "postmaster", 1)[0].contains("\nStatus: 4.4.7\n"));
    until_empty(&place);
    assert_eq!(count(&server, &["noticed "]), 1);
    assert_eq!(net.hosts[1].seen().connections, 0);
    server.stop();
}

#[test]
fn a_notice_that_fails_goes_to_the_postmaster_once() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 550 5.1.1 nobody"]));
    net.dns.set("far.test A 127.0.0.2\ngone.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    send(&server, "eve@gone.test", &["x@far.test"], "Subject: the cause\n\nx");
    server.wait_for(&["bounced ", "to=x@far.test"]);
    server.wait_for(&["bounced ", "to=eve@gone.test"]);
    let notices = mail(&place, "postmaster", 1);
    // It holds the notice that failed, and that the mail it was about.
    for part in ["rfc822; eve@gone.test\n", "rfc822; x@far.test\n", "Subject: the cause\n"] {
        assert!(notices[0].contains(part), "{part}: {}", notices[0]);
    }
    until_empty(&place);
    assert_eq!(count(&server, &["noticed "]), 2);
    server.stop();
}

#[test]
fn a_postmaster_who_cannot_be_reached_ends_it() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 550 5.1.1 nobody"]));
    net.dns.set("far.test A 127.0.0.2\ngone.test A 127.0.0.2");
    place.write("aliases", "postmaster: pm@gone.test\n");
    let config = net.config("", "");
    let config = config.replace("any_user = true", "any_user = true\naliases = \"aliases\"");
    let server = Binary::serve(&place, &config);
    send(&server, "eve@gone.test", &["x@far.test"], "Subject: hi\n\nx");
    server.wait_for(&["bounced ", "to=pm@gone.test"]);
    until_empty(&place);
    assert_eq!((count(&server, &["noticed "]), count(&server, &["bounced "])), (2, 3));
    server.stop();
}

/// NOTIFY says who hears of what (RFC 3461 §4.1).
#[test]
fn notify_is_respected() {
    // One that knows no DSN: what it does is told by us.
    let script = "EHLO: 250 x\nRCPT TO:<no@: 550 5.1.1 nobody";
    let (place, net) = (Place::new(), Net::new(&[script]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    let cases = [
        ("no@far.test", " NOTIFY=NEVER", None),
        ("no@far.test", " NOTIFY=SUCCESS", None),
        ("no@far.test", " NOTIFY=FAILURE", Some("failed")),
        ("no@far.test", "", Some("failed")),
        ("yes@far.test", " NOTIFY=SUCCESS", Some("relayed")),
        ("yes@far.test", " NOTIFY=FAILURE,DELAY", None),
        ("yes@far.test", "", None),
    ];
    let mut wanted = 0;
    for (to, notify, action) in cases {
        let mut client = server.client();
        client.expect("MAIL FROM:<ann@mx.test>", "250");
        client.expect(&format!("RCPT TO:<{to}>{notify}"), "250");
        client.expect("DATA", "354");
        client.send(b"Subject: hi\r\n\r\nx\r\n.\r\n");
        let reply = client.reply();
        let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap();
        server.wait_for(&[&format!(" id={id} to={to} ")]);
        wanted += usize::from(action.is_some());
        until_empty(&place);
        let notices = mail(&place, "ann", wanted);
        if let Some(action) = action {
            let with = format!("\nAction: {action}\n");
            assert!(notices.iter().any(|n| n.contains(&with) && n.contains(id)), "{notices:#?}");
        }
    }
    assert_eq!(count(&server, &["noticed "]), wanted);
    server.stop();
}

/// A notice holds the whole message as it was, or only its header when that was asked for.
#[test]
fn what_is_returned() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 550 5.1.1 nobody"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    let long = format!("Subject: long\n\n{}", "0123456789abcdef0123456789abcde\n".repeat(8000));
    send(&server, "ann@mx.test", &["x@far.test"], &long);
    let notice = mail(&place, "ann", 1).remove(0);
    assert!(notice.contains("text/rfc822-headers") && notice.contains("\nSubject: long\n"));
    assert!(notice.len() < 10_000);
    let mut client = server.client();
    client.expect("MAIL FROM:<bob@mx.test> RET=HDRS", "250");
    client.expect("RCPT TO:<x@far.test>", "250");
    client.expect("DATA", "354");
    client.send(b"Subject: short\r\n\r\nsecret\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    let notice = mail(&place, "bob", 1).remove(0);
    assert!(notice.contains("\nSubject: short\n") && !notice.contains("secret"), "{notice}");
    until_empty(&place);
    server.stop();
}

/// The disk is full just when a notice has to be written: the failure has not happened then, and is
/// told by the next attempt.
#[test]
fn no_failure_without_its_notice() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("retry = [\"1s\"]", ""));
    post(&server, &["x@far.test"]);
    server.wait_for(&["deferred ", "to=x@far.test", "450 4.2.0 later"]);
    // Nothing can be written where drafts are made: even root needs a directory for a file.
    let (tmp, aside) = (place.at("spool/tmp"), place.at("spool/aside"));
    until("no draft is there", || std::fs::read_dir(&tmp).unwrap().next().is_none());
    std::fs::rename(&tmp, &aside).unwrap();
    std::fs::write(&tmp, "").unwrap();
    net.hosts[0].change("RCPT: 550 5.1.1 nobody");
    wait_for_count(&server, &["deferred ", "to=x@far.test", "no notice could be written"], 1);
    assert_eq!(count(&server, &["bounced "]), 0);
    std::fs::remove_file(&tmp).unwrap();
    std::fs::rename(&aside, &tmp).unwrap();
    // It would be tried again in a minute.
    server.signal("USR1");
    server.wait_for(&["bounced ", "to=x@far.test"]);
    assert!(mail(&place, "ann", 1)[0].contains("\nStatus: 5.1.1\n"));
    until_empty(&place);
    server.stop();
}
