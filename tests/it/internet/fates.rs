//! What becomes of recipients, attempt after attempt, and that hosts of every kind lose no mail.

use super::{Net, count, mail, post, queue, until_empty, wait_for_count};
use crate::servers::{Binary, value};
use crate::support::{Place, until};
use facteur::store::entry::{JournalLine, What};
use jiff::Timestamp;
use std::time::Duration;

/// The journal of the only message in the queue.
fn journal(place: &Place) -> Vec<JournalLine> {
    let files = queue(place);
    assert_eq!(files.len(), 1, "{files:#?}");
    files[0].lines().filter_map(JournalLine::parse).collect()
}

/// What a log line says of the next attempt.
fn next(line: &str) -> Timestamp {
    value(line, "next").unwrap().parse().unwrap()
}

#[test]
fn each_recipient_has_a_fate_of_its_own() {
    let script = "RCPT TO:<b@: 450-4.2.0 later | 450 4.2.0 please\n\
                  RCPT TO:<c@: 550 5.1.1 no c\nRCPT TO:<d@: 550-5.1.1 no | 550 5.1.1 d";
    let (place, net) = (Place::new(), Net::new(&[script]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let id = post(&server, &["a@far.test", "b@far.test", "c@far.test", "d@far.test"]);
    server.wait_for(&["relayed ", &id, "to=a@far.test"]);
    server.wait_for(&["deferred ", &id, "to=b@far.test", "450-4.2.0 later / 450 4.2.0 please"]);
    server.wait_for(&["bounced ", &id, "to=c@far.test", "550 5.1.1 no c"]);
    server.wait_for(&["bounced ", &id, "to=d@far.test", "550-5.1.1 no / 550 5.1.1 d"]);
    // One notice about both.
    let notices = mail(&place, "ann", 1);
    for part in ["rfc822; c@far.test\n", "rfc822; d@far.test\n", "\nSubject: hi\n", "no c", "hello"]
    {
        assert!(notices[0].contains(part), "{part}: {}", notices[0]);
    }
    assert!(!notices[0].contains("a@far.test\n") && !notices[0].contains("b@far.test\n"));
    until("only one waits", || queue(&place).len() == 1);
    let fates: Vec<(usize, What, String)> =
        journal(&place).into_iter().map(|line| (line.recipient, line.what, line.words)).collect();
    let fate = |recipient, what, words: &str| (recipient, what, words.to_owned());
    let expected = [
        fate(0, What::Relayed, "250 2.0.0 taken"),
        fate(1, What::Deferred, "450-4.2.0 later\n450 4.2.0 please\n(RCPT)"),
        fate(2, What::Failed, "550 5.1.1 no c\n(RCPT)"),
        fate(3, What::Failed, "550-5.1.1 no\n550 5.1.1 d\n(RCPT)"),
    ];
    assert_eq!(fates, expected);
    assert_eq!(net.hosts[0].count("MAIL"), 1);
    // Only the deferred one is attempted again.
    net.hosts[0].change("RCPT: 250 ok");
    server.signal("USR1");
    server.wait_for(&["relayed ", &id, "to=b@far.test"]);
    until_empty(&place);
    assert_eq!(net.taken(0), ["a@far.test", "b@far.test"]);
    assert_eq!(net.hosts[0].count("RCPT"), 5);
    assert_eq!(place.mail("ann").len(), 1);
    server.stop();
}

/// The host may have it or not: two copies are better than none (RFC 5321 §6.1).
#[test]
fn a_host_that_closes_after_the_dot_is_asked_again() {
    let (place, net) = (Place::new(), Net::new(&[".*1: (close)", ""]));
    net.dns.set("far.test MX 10 one.test\nfar.test MX 20 two.test\none.test A 127.0.0.2\ntwo.test A 127.0.0.3");
    let server = Binary::serve(&place, &net.config("retry = [\"1s\"]", ""));
    post(&server, &["x@far.test"]);
    server.wait_for(&["deferred ", "to=x@far.test", "closed the connection"]);
    server.wait_for(&["relayed ", "to=x@far.test", "host=one.test"]);
    until_empty(&place);
    assert_eq!((net.hosts[0].seen().mail.len(), net.hosts[0].mail().len()), (2, 1));
    // Within one attempt nobody else got it.
    assert!(net.hosts[1].seen().mail.is_empty());
    server.stop();
}

/// Each of these may send mail back only when it says so, and none can make it vanish.
const HOSTILE: [&str; 20] = [
    "greeting: (endless 220-x)",
    "greeting: (drip 220 x)",
    "greeting: (raw {x*5000})",
    "greeting: 220 x | 250 early",
    "EHLO: (endless 250-x)",
    "EHLO: 250-x | 550 5.0.0 other code",
    "MAIL: (drip 2)",
    "MAIL: 250 2.1.0 ok | 250 2.1.0 more | 250 2.0.0 and more",
    "RCPT: (endless 250-x)",
    "RCPT: \\xff\\x00\\xfe",
    "DATA: (drip 354-)",
    "DATA: 250 2.0.0 taken",
    "DATA: 354 go | 250 2.0.0 taken",
    "DATA: 354 go | (close)",
    ".: (close)",
    ".: (reset)",
    ".: (silent)",
    ".: (drip 2)",
    ".: (endless 250-x)",
    ".: 354 more",
];

#[test]
fn hostile_hosts_neither_bounce_nor_lose_mail() {
    let (place, net) = (Place::new(), Net::new(&HOSTILE));
    let lines = (0..HOSTILE.len()).map(|n| format!("h{n}.test A 127.0.0.{}\n", n + 2));
    net.dns.set(&lines.collect::<String>());
    let server = Binary::serve(&place, &net.config("retry = [\"1h\"]", ""));
    let names: Vec<String> = (0..HOSTILE.len()).map(|n| format!("x@h{n}.test")).collect();
    names.iter().for_each(|name| drop(post(&server, &[name])));
    for (name, script) in names.iter().zip(HOSTILE) {
        let line = server.wait_for(&["deferred ", &format!("to={name}")]);
        assert!(line.len() < 6000, "{script}: {line}");
    }
    let good = "greeting: 220 x\nEHLO: 250 x\nMAIL: 250 2.1.0 ok\nRCPT: 250 2.1.5 ok\n\
                DATA: 354 go\n.: 250 2.0.0 taken";
    net.hosts.iter().for_each(|host| host.change(good));
    server.signal("USR1");
    for name in &names {
        server.wait_for(&["relayed ", &format!("to={name}")]);
    }
    until_empty(&place);
    assert_eq!(count(&server, &["bounced "]), 0);
    for (number, name) in names.iter().enumerate() {
        assert_eq!(net.taken(number), [name.as_str()], "{}", HOSTILE[number]);
    }
    server.stop();
}

#[test]
fn waits_are_those_of_the_list_and_a_tenth_longer_at_most() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("retry = [\"1s\", \"2s\", \"1h\"]", ""));
    post(&server, &["x@far.test"]);
    wait_for_count(&server, &["deferred ", "to=x@far.test"], 3);
    let attempts = journal(&place);
    let lines: Vec<String> =
        server.lines().into_iter().filter(|line| line.starts_with("deferred ")).collect();
    assert_eq!((attempts.len(), lines.len()), (3, 3));
    for (index, seconds) in [1, 2, 3600].into_iter().enumerate() {
        let wait: Duration =
            next(&lines[index]).duration_since(attempts[index].when).try_into().unwrap();
        let least = Duration::from_secs(seconds);
        // The log has whole seconds.
        let (from, to) = (least - Duration::from_secs(1), least + least / 10);
        assert!(wait >= from && wait <= to, "{wait:?} in place of {least:?}");
        if let Some(after) = attempts.get(index + 1) {
            let wait: Duration =
                after.when.duration_since(attempts[index].when).try_into().unwrap();
            assert!(wait >= least, "{wait:?} instead of {least:?}");
        }
    }
    server.stop();
}

#[test]
fn what_waits_too_long_goes_back() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later", "greeting: 421 no"]));
    net.dns.set("far.test A 127.0.0.2\ndead.test A 127.0.0.3\ndark.test !servfail");
    let relay = "retry = [\"1s\"]\nexpire = \"2s\"\ndelay_notice = \"0s\"";
    let server = Binary::serve(&place, &net.config(relay, ""));
    let names = ["x@far.test", "x@dead.test", "x@dark.test", "y@dead.test"];
    names.iter().for_each(|name| drop(post(&server, &[name])));
    for name in names {
        let line = server.wait_for(&["expired ", &format!("to={name}")]);
        assert!(line.contains("waited too long; at last: "), "{line}");
    }
    let notices = mail(&place, "ann", 4);
    for notice in notices {
        assert!(notice.contains("\nAction: failed\nStatus: 4.4.7\n"), "{notice}");
    }
    until_empty(&place);
    assert_eq!(count(&server, &["bounced "]), 0);
    server.stop();
}

#[test]
fn lateness_is_told_once_and_then_the_end() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2\ndead.test A 127.0.0.99");
    let relay = "retry = [\"1s\"]\nexpire = \"6s\"\ndelay_notice = \"2s\"";
    let server = Binary::serve(&place, &net.config(relay, ""));
    for name in ["x@far.test", "x@dead.test"] {
        post(&server, &[name]);
    }
    for name in ["x@far.test", "x@dead.test"] {
        server.wait_for(&["expired ", &format!("to={name}")]);
    }
    until_empty(&place);
    let notices = mail(&place, "ann", 4);
    for name in ["x@far.test", "x@dead.test"] {
        let its = notices.iter().filter(|notice| notice.contains(&format!("rfc822; {name}\n")));
        let with = |action: &str| its.clone().filter(|notice| notice.contains(action)).count();
        assert_eq!(
            (with("\nAction: delayed\n"), with("\nAction: failed\n")),
            (1, 1),
            "{notices:#?}"
        );
    }
    server.stop();
}

#[test]
fn who_was_told_that_it_is_late_hears_that_it_arrived() {
    let (place, net) = (Place::new(), Net::new(&["RCPT: 450 4.2.0 later"]));
    net.dns.set("far.test A 127.0.0.2");
    let relay = "retry = [\"1s\"]\ndelay_notice = \"1s\"";
    let server = Binary::serve(&place, &net.config(relay, ""));
    post(&server, &["x@far.test"]);
    assert!(mail(&place, "ann", 1)[0].contains("\nAction: delayed\n"));
    net.hosts[0].change("RCPT: 250 2.1.5 ok");
    server.wait_for(&["relayed ", "to=x@far.test"]);
    until_empty(&place);
    let notices = mail(&place, "ann", 2);
    assert!(notices.iter().any(|notice| notice.contains("\nAction: relayed\n")), "{notices:#?}");
    server.stop();
}
