//! `facteur trace`: the story of mail that was refused, waits or is gone, by whatever of it somebody has in
//! hand; and what must never stand in it.

mod files;
mod secrets;

use crate::commands::{run, run_clean};
use crate::hosts::Host;
use crate::servers::{Binary, value};
use crate::support::{Place, config, until};

/// A site with one user and two next hops.
fn config_for(far: &Host, good: &Host) -> String {
    let more = format!(
        "[relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\n[relay.route]\n\
         \"far.test\" = \"{}\"\n\"good.test\" = \"{}\"\n",
        far.address, good.address
    );
    config(&more).replace("any_user = true", "users = \"users\"")
}

fn serve(place: &Place, far: &Host, good: &Host) -> Binary {
    place.write("users", "ann:{PLAIN}x:::::\n");
    Binary::serve(place, &config_for(far, good))
}

/// What `facteur trace` says, with success.
fn traced(place: &Place, arguments: &[&str]) -> String {
    let (status, out, err) = run_clean(place, &[&["trace"], arguments].concat());
    assert_eq!((status, err.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

/// The same once it holds these texts: the trace is written a moment after the deed.
fn traced_with(place: &Place, handle: &str, texts: &[&str]) -> String {
    let mut out = String::new();
    until(&format!("{texts:?} of {handle}"), || {
        out = run(place, &["trace", handle]).1;
        texts.iter().all(|text| out.contains(text))
    });
    out
}

/// A story with what differs each time replaced.
fn timeless(told: &str, names: &[(&str, &str)]) -> String {
    let line =
        |line: &str| match line.get(..24).filter(|time| time.parse::<jiff::Timestamp>().is_ok()) {
            Some(_) => format!("T{}\n", &line[24..]),
            None => format!("{}\n", line.trim_start().trim_start_matches("S: ")),
        };
    let mut text: String = told.lines().map(line).collect();
    // The date in our Received may be shorter.
    for before in [" SIZE=", "    C: ("] {
        let digits =
            text.split(before).nth(1).unwrap_or_default().split(['\n', ' ']).next().unwrap();
        text = text.replacen(&format!("{before}{digits}"), &format!("{before}N"), 1);
    }
    for (name, with) in names {
        text = text.replace(name, with);
    }
    text
}

/// The same with the answer to the client before the attempt, which may begin sooner than it is given.
fn answered_first(story: &str) -> String {
    let is_answer = |line: &&str| {
        line.starts_with("T  accepted ") || line.starts_with("T  S: 250 2.0.0 Ok: queued as ")
    };
    let is_heading = |line: &&str| line.starts_with("T attempt at ");
    let (answer, others): (Vec<&str>, Vec<&str>) = story.lines().partition(is_answer);
    let (before, after) = others.split_at(others.iter().position(is_heading).unwrap());
    let rest = after[1..].iter().filter(|line| !is_heading(line));
    let lines = before.iter().chain(&answer).chain(&after[..1]).chain(rest);
    lines.map(|line| format!("{line}\n")).collect()
}

const REFUSAL: &str = "550-5.7.1 We do not want this.\\r\\n550-5.7.1 It looks like spam.\\r\\n\
    550-5.7.1 Tell us when it is none:\\r\\n550-5.7.1 https://far.test/appeal\\r\\n\
    550 5.7.1 (ref: 77abc9)\\r\\n";

const STORY: &str = "\
message MESSAGE, session SESSION
T  connected client=127.0.0.1 service=smtp
T  S: 220 mx.test ESMTP facteur
T  C: EHLO client.test
T  S: 250-mx.test greets client.test
250-PIPELINING
250-SIZE 52428800
250-8BITMIME
250-SMTPUTF8
250-CHUNKING
250-DSN
250-ENHANCEDSTATUSCODES
250-LIMITS RCPTMAX=1000
250-VRFY
250-EXPN
250-ETRN
250 HELP
T  C: MAIL FROM:<ann@mx.test>
T  S: 250 2.1.0 sender ok
T  C: RCPT TO:<nobody@mx.test>
T  S: 550 5.1.1 <nobody@mx.test>: no such user here [SESSION]
T  C: RCPT TO:<eve@far.test>
T  decided: eve@far.test: on to eve@far.test
T  S: 250 2.1.5 recipient ok
T  C: DATA
T  S: 354 send the message, end with <CRLF>.<CRLF>
T  C: (64 octets of message)
T  Message-ID: <one 1@mx.test>
T  accepted client=127.0.0.1 from=ann@mx.test size=56 recipients=1
T  S: 250 2.0.0 Ok: queued as MESSAGE
T attempt at 127.0.0.1[127.0.0.1]:FAR
T    connecting: 127.0.0.1:FAR
T    S: 220 host.test ESMTP
T    C: EHLO mx.test
T    S: 250-host.test
250-PIPELINING
250-SIZE 10000000
250-8BITMIME
250-SMTPUTF8
250 DSN
T    C: MAIL FROM:<ann@mx.test> SIZE=N
T    C: RCPT TO:<eve@far.test>
T    C: DATA
T    S: 250 2.1.0 ok
T    S: 250 2.1.5 ok
T    S: 354 go
T    C: (N octets of message)
T    S: 550-5.7.1 We do not want this.
550-5.7.1 It looks like spam.
550-5.7.1 Tell us when it is none:
550-5.7.1 https://far.test/appeal
550 5.7.1 (ref: 77abc9)
T  noticed notice=NOTICE to=ann@mx.test what=failed
T  bounced to=eve@far.test reason=\"REASON\"
T  C: QUIT
T  S: 221 2.0.0 mx.test closing
T  disconnected reason=quit
";

#[test]
fn every_handle_tells_the_whole_story_also_after_a_restart() {
    let place = Place::new();
    let far = Host::start(&format!(".: (raw {REFUSAL})"));
    let good = Host::start("");
    let server = serve(&place, &far, &good);
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test>", "250");
    let refused = client.expect("RCPT TO:<nobody@mx.test>", "550");
    let session = refused.rsplit_once('[').unwrap().1.trim_end_matches(']').to_owned();
    client.expect("RCPT TO:<eve@far.test>", "250");
    client.expect("DATA", "354");
    client.send(b"Subject: hi\r\nMessage-ID:\r\n <one 1@mx.test>\r\n\r\nhello, secret\r\n.\r\n");
    let id = client.reply().strip_prefix("250 2.0.0 Ok: queued as ").unwrap().to_owned();
    let noticed = server.wait_for(&["noticed ", &id]);
    let notice = value(&noticed, "notice").unwrap();
    let bounced = server.wait_for(&["bounced ", &id]);
    let reason = value(&bounced, "reason").unwrap();
    server.wait_for(&["delivered ", &notice]);
    client.expect("QUIT", "221");
    server.wait_for(&["disconnected ", &session]);
    server.stop();
    let first = traced(&place, &[&id]);
    let port = far.address.port().to_string();
    let names = [
        (reason.as_str(), "REASON"),
        (&id, "MESSAGE"),
        (&session, "SESSION"),
        (&notice, "NOTICE"),
        (&format!("]:{port}"), "]:FAR"),
        (&format!("127.0.0.1:{port}"), "127.0.0.1:FAR"),
    ];
    assert_eq!(answered_first(&timeless(&first, &names)), STORY);
    assert!(!first.contains("hello, secret"), "the message is not in it");
    let server = serve(&place, &far, &good);
    for handle in [id.as_str(), &session, "<one 1@mx.test>", "one 1@mx.test", "77abc9"] {
        assert_eq!(traced(&place, &[handle]), first, "{handle}");
        assert_eq!(traced(&place, &[handle, "--since", "1h"]), first, "{handle}");
    }
    // An address, which may have many, has a line for each message; its id leads to the rest.
    let line = |handle: &str, fate: &str| {
        let told = traced(&place, &[handle]);
        assert_eq!(traced(&place, &[handle, "--since", "1h"]), told, "{handle}");
        let lines: Vec<&str> = told.lines().collect();
        let [.., line] = lines[..] else { panic!("nothing of {handle}") };
        assert!(line.contains(fate), "{handle}: {told}");
        lines.len()
    };
    for eve in ["eve@far.test", "EVE@far.test"] {
        assert_eq!(
            line(eve, &format!(" {id} bounced from=ann@mx.test to=eve@far.test reason=")),
            1
        );
    }
    let refused = format!(" {id} refused from=ann@mx.test to=nobody@mx.test reason=\"550 5.1.1 ");
    assert_eq!(line("nobody@mx.test", &refused), 1);
    // What came last stands last.
    assert_eq!(line("ann@mx.test", &format!(" {notice} delivered from=<> to=ann@mx.test")), 2);
    assert_eq!(traced(&place, &[&id, "eve@far.test"]), first);
    // The notice has a story of its own, which names the message that it is about.
    let told = traced(&place, &[&notice]);
    assert!(told.starts_with(&format!("message {notice}\n")) && told.contains(&id), "{told}");
    // Two handles of one story tell it once.
    assert_eq!(traced(&place, &[&id, &session]), first);
    server.stop();
}

#[test]
fn mail_that_went_waits_or_was_refused() {
    let place = Place::new();
    let far = Host::start("RCPT: 450 4.2.0 not today");
    let good = Host::start(".: 250 2.0.0 Ok: queued as 4XyZ12");
    let server = serve(&place, &far, &good);
    let post = |to: &str, message_id: &str| {
        let message = format!("Message-ID: <{message_id}@mx.test>\n\nhi");
        crate::internet::send(&server, "ann@mx.test", &[to], &message)
    };
    let (gone, waits) = (post("zoe@good.test", "gone"), post("eve@far.test", "waits"));
    let told = traced_with(&place, &gone, &["relayed ", "disconnected "]);
    for handle in ["4XyZ12", "gone@mx.test"] {
        assert_eq!(traced(&place, &[handle]), told, "{handle}");
    }
    let line = traced(&place, &["zoe@good.test"]);
    assert!(
        line.ends_with(&format!(" {gone} relayed from=ann@mx.test to=zoe@good.test\n")),
        "{line}"
    );
    let told = traced_with(&place, &waits, &["deferred ", "disconnected "]);
    let last = told.lines().last().unwrap();
    let expected = "  waits to=eve@far.test state=\"deferred once; next attempt in 1h";
    assert!(last.contains(expected) || last.contains("next attempt in 59m"), "{told}");
    // Until somebody takes it out of the queue.
    let (status, _, err) = run(&place, &["queue", "remove", &waits]);
    assert_eq!(status, 0, "{err}");
    let told = traced_with(&place, &waits, &["removed"]);
    assert!(told.ends_with("  removed\n"), "{told}");
    // Refused before there was a recipient, and as a whole after it had come.
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test>", "250");
    client.expect("RCPT TO:<ann@mx.test>", "250");
    client.expect("DATA", "354");
    client.send(b"Message-ID: <bare@mx.test>\r\n\r\nbare\rhere\r\n.\r\n");
    let refused = client.reply();
    assert!(refused.starts_with("550 5.6.0"), "{refused}");
    let told = traced_with(&place, "bare@mx.test", &["5.6.0", "MAIL FROM"]);
    assert!(told.starts_with("no message was taken, session s"), "{told}");
    assert!(
        told.contains("C: (44 octets of message)") && told.contains("TO:<ann@mx.test>"),
        "{told}"
    );
    // Each of a session's messages has its own story, with what is around both.
    let (one, two) = (
        client.delivered(&["ann@mx.test"], b"a\r\n"),
        client.delivered(&["ann@mx.test"], b"b\r\n"),
    );
    client.expect("QUIT", "221");
    let told = traced_with(&place, &one, &["disconnected "]);
    assert!(
        told.contains("EHLO client.test") && told.contains("delivered to=ann@mx.test"),
        "{told}"
    );
    assert!(!told.contains(&two) && !told.contains("5.6.0"), "{told}");
    // By its session all of it.
    let session = told.lines().next().unwrap().rsplit_once(' ').unwrap().1;
    let told = traced(&place, &[session]);
    assert!([&*one, &two, "5.6.0"].iter().all(|text| told.contains(text)), "{told}");
    server.stop();
    // What a command put into the queue is known there before any attempt.
    let mut command = std::process::Command::new(crate::servers::FACTEUR);
    command.args(["sendmail", "eve@far.test"]);
    let (status, said) = crate::sendmail::feed(&place, command, b"Subject: x\n\nhi\n");
    assert_eq!(status, 0, "{said}");
    let queued = crate::sendmail::queued(&place).pop().unwrap().0.id;
    let told = traced(&place, &[&queued]);
    assert!(told.contains("waits to=eve@far.test state=\"not attempted yet"), "{told}");
}

#[test]
fn scripts_get_an_object_a_line() {
    let place = Place::new();
    let (far, good) = (Host::start(""), Host::start(""));
    let server = serve(&place, &far, &good);
    let id = crate::internet::post(&server, &["zoe@good.test", "ann@mx.test"]);
    traced_with(&place, &id, &["relayed ", "disconnected "]);
    let out = traced(&place, &[&id, "--json"]);
    let objects: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), out.lines().count());
    let of = |event: &str| {
        let found = objects.iter().find(|object| object["event"] == event);
        found.unwrap_or_else(|| panic!("no {event} in {out}"))
    };
    for object in &objects {
        assert!(object["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{object}");
        assert!(object["session"].is_string() || object["id"] == id.as_str(), "{object}");
    }
    assert_eq!(
        (&of("accepted")["id"], &of("accepted")["recipients"]),
        (&id.as_str().into(), &2.into())
    );
    assert!(of("message")["octets"].as_u64().unwrap() > 10);
    assert_eq!(of("relayed")["to"], "zoe@good.test");
    let banner =
        objects.iter().find(|object| object["host"].is_string() && object["event"] == "heard");
    assert_eq!(banner.unwrap()["text"], "220 host.test ESMTP");
    server.stop();
}

#[test]
fn what_a_peer_sends_forges_no_line() {
    let place = Place::new();
    let far = Host::start("RCPT: 550 5.1.1 no \\x1b[2J\\x1b]0;x\\x07 \\xe2\\x80\\xae");
    let good = Host::start("");
    let server = serve(&place, &far, &good);
    let mut client = server.client();
    client.ask("EHLO a\n2026-11-23T00:00:00.000000Z accepted id=m1 session=s1 from=x@forged.test");
    client.ask("NOOP \u{1b}[2J\u{202e}\u{2028}accepted id=m1 to=x@forged.test\rheard");
    client.expect("MAIL FROM:<ann@mx.test>", "250");
    client.expect("RCPT TO:<eve@far.test>", "250");
    client.expect("DATA", "354");
    client.send(b"Message-ID: <a\x1b[2J\x0b@b>\r\n\r\nx\r\n.\r\n");
    let id = client.reply().strip_prefix("250 2.0.0 Ok: queued as ").unwrap().to_owned();
    let told = traced_with(&place, &id, &["bounced "]);
    // Then nothing changes any more.
    server.wait_for(&["delivered ", "to=ann@mx.test"]);
    let controls =
        |text: &str| text.chars().filter(|c| *c != '\n').any(facteur::mail::visible::is_hidden);
    assert!(!controls(&told), "{told}");
    let (status, out, _) = run(&place, &["trace", "x@forged.test"]);
    assert_eq!((status, out.as_str()), (1, ""), "nobody of that name was spoken to");
    for path in crate::support::files(&place.at("spool/trace")) {
        let lines = std::fs::read_to_string(path).unwrap();
        assert!(!controls(&lines), "{lines}");
        let is_ours =
            |line: &str| line.split(' ').next().unwrap().parse::<jiff::Timestamp>().is_ok();
        assert!(lines.lines().all(is_ours) && !lines.contains("\n2026-11-23T00:00:00.000000Z"));
    }
    let out = traced(&place, &[&id, "--json"]);
    assert!(!controls(&out) && out.lines().all(|line| line.starts_with("{\"time\":")), "{out}");
    server.stop();
}
