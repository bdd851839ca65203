//! One attempt at one host over a socket, against hosts of every kind ([`crate::hosts`]).

use crate::hosts::{Host, Mail};
use crate::memory::MemoryDisk;
use crate::secrecy::Pair;
use crate::servers::Inside;
use crate::support::{PATIENCE, Place, config, until};
use facteur::config::Config;
use facteur::event::Talk;
use facteur::mail::address::{ForwardPath, ReversePath};
use facteur::mail::envelope::{BodyType, Envelope, Notify, Recipient, Ret, Sender};
use facteur::relay::{Caller, Connection, Hop, Message, survey};
use facteur::smtp::client::{Fate, OutgoingMessage};
use facteur::store::body::StoredMessage;
use facteur::store::disk::Disk;
use facteur::store::sum::Sum;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Enough for a host that answers, and short for one that does not.
const SHORT: Duration = Duration::from_millis(700);

/// How long we wait for a host of this script: no longer than we must for one that goes silent.
fn time(script: &str) -> Duration {
    let is_slow = script.contains("(silent)") || script.contains("(drip");
    if is_slow { SHORT } else { PATIENCE }
}

/// What comes of it, with this time and, where that is not as it should be, with three times as much:
/// while the machine is busy a good host may be silent, too, at a step that nobody asks about.
fn patiently<T>(time: Duration, run: impl Fn(Duration) -> (bool, T)) -> T {
    match run(time) {
        (false, _) if time < PATIENCE => run(3 * time).1,
        (_, found) => found,
    }
}

/// Who waits so long for anything.
fn caller(time: Duration) -> Arc<Caller> {
    let config = Config::parse(&config(""), Path::new("/etc/facteur.toml")).unwrap();
    let mut caller = Caller::new(&config);
    let timeout = &mut caller.timeout;
    (timeout.command, timeout.data, timeout.r#final) = (time, time, time);
    Arc::new(caller)
}

fn hop(host: &Host) -> Hop {
    Hop::offered("host.test", host.address)
}

pub fn letter(to: &[&str], message: &dyn Message) -> OutgoingMessage {
    let (from, _) = ReversePath::parse(b"<a@mx.test>").unwrap();
    let sender = Sender::new(from);
    let recipients = to.iter().map(|to| {
        let (path, _) = ForwardPath::parse(format!("<{to}>").as_bytes()).unwrap();
        Recipient { path, notify: None, orcpt: None }
    });
    let envelope = Envelope { sender, recipients: recipients.collect() };
    OutgoingMessage { envelope, content: survey(message).unwrap() }
}

pub const MESSAGE: &[u8] = b"Subject: hi\n\n.dot\n..\n.\nend";

/// Opens, delivers [`MESSAGE`] to these, quits; gives the fates in words.
fn attempt(host: &Host, caller: &Arc<Caller>, to: &[&str]) -> Vec<String> {
    let letter = letter(to, &MESSAGE);
    let fates = match Connection::open(caller, &hop(host), &mut Talk::default()) {
        Err(fate) => vec![fate; to.len()],
        Ok(mut connection) => {
            let fates = connection.deliver(&letter, &MESSAGE);
            connection.quit();
            fates
        }
    };
    fates.iter().map(words).collect()
}

fn words(fate: &Fate) -> String {
    match fate {
        Fate::Relayed(answer) => format!("relayed {answer}"),
        Fate::Deferred(reason) => format!("deferred {reason}"),
        Fate::Failed(reason) => format!("failed {reason}"),
        Fate::NextHost(reason) => format!("next {reason}"),
    }
}

#[test]
fn a_good_host_gets_exact_octets() {
    for script in ["", "EHLO: 250 host.test", "EHLO: 500 what", "greeting: (pieces 1) | 220 x"] {
        let host = Host::start(script);
        let told = attempt(&host, &caller(PATIENCE), &["ann@host.test", "bob@host.test"]);
        assert_eq!(told, ["relayed 250 2.0.0 taken"; 2], "{script}");
        let mail = Mail {
            from: "a@mx.test".to_owned(),
            to: vec!["ann@host.test".to_owned(), "bob@host.test".to_owned()],
            octets: b"Subject: hi\r\n\r\n.dot\r\n..\r\n.\r\nend\r\n".to_vec(),
            is_taken: true,
        };
        assert_eq!(host.mail(), [mail], "{script}");
        assert_eq!(host.seen().commands.last().unwrap(), "QUIT");
    }
}

#[test]
fn a_large_message_out_of_a_file() {
    let line = b".a line of some length, with a dot that has to be doubled \xff\n";
    let message = line.repeat(20_000);
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("/queue")).unwrap();
    file.append(&[b"header\n\n", &message[..], b"journal"].concat()).unwrap();
    let part = StoredMessage {
        file: &*file,
        path: Path::new("/queue"),
        at: 8,
        size: message.len() as u64,
        sum: None,
    };
    let (host, caller) = (Host::start(""), caller(PATIENCE));
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    let fates = connection.deliver(&letter(&["ann@host.test"], &part), &part);
    assert_eq!(words(&fates[0]), "relayed 250 2.0.0 taken");
    let expected = message.split_inclusive(|b| *b == b'\n');
    let expected: Vec<u8> =
        expected.flat_map(|line| [&line[..line.len() - 1], b"\r\n"].concat()).collect();
    assert!(host.mail()[0].octets == expected);
    let size = format!("MAIL FROM:<a@mx.test> SIZE={} BODY=8BITMIME", expected.len());
    assert_eq!(host.count(&size), 1, "{:?}", host.seen().commands);
    // A file that has become shorter is never taken for a whole message.
    let part = StoredMessage {
        file: &*file,
        path: Path::new("/queue"),
        at: 8,
        size: message.len() as u64 + 100,
        sum: None,
    };
    let long =
        OutgoingMessage { content: Default::default(), ..letter(&["ann@host.test"], &MESSAGE) };
    let fates = connection.deliver(&long, &part);
    let told = words(&fates[0]);
    assert!(told.starts_with("deferred was not told all: ") && !connection.is_open(), "{told}");
    assert_eq!((host.mail().len(), fates[0].status()), (1, "4.3.0"));
}

#[test]
fn everybody_has_a_fate_of_their_own() {
    let script = "RCPT TO:<bob: 550-5.1.1 nobody | 550 5.1.1 of this name
                  RCPT TO:<cat: 450 4.2.0 grey";
    for more in ["", "\nEHLO: 250 host.test"] {
        let host = Host::start(&(script.to_owned() + more));
        let to = ["ann@host.test", "bob@host.test", "cat@host.test"];
        let told = attempt(&host, &caller(PATIENCE), &to);
        let expected = [
            "relayed 250 2.0.0 taken",
            "failed said 550 5.1.1 nobody / 5.1.1 of this name (RCPT)",
            "deferred said 450 4.2.0 grey (RCPT)",
        ];
        assert_eq!(told, expected);
        assert_eq!(host.mail()[0].to, ["ann@host.test"]);
        // Nobody left: no message goes, or an empty one to nobody.
        let told = attempt(&host, &caller(PATIENCE), &to[1..]);
        assert_eq!(told, expected[1..]);
        assert!(host.mail()[1..].iter().all(|mail| mail.to.is_empty() && mail.octets.is_empty()));
    }
}

#[test]
fn hosts_that_behave_badly_cost_a_timeout_and_no_mail() {
    let silent = "was silent too long";
    let closed = "closed the connection";
    let endless = "is no sound mail server, it sent a reply";
    let host = Host::start("");
    let acts = [
        ("(silent)", silent),
        ("(close)", closed),
        ("(reset)", closed),
        ("(drip 250-x\\r\\n)", silent),
        ("(drip x)", silent),
        ("(raw 250-half) | (close)", closed),
        ("(raw 250-half\\r\\n) | (silent)", silent),
        ("(endless 250-x)", endless),
        ("(raw {x*5000}) | (silent)", endless),
        ("(raw \\x16\\x03\\r\\n) | (silent)", "is no sound mail server, it sent \"\\x16\\x03\" is"),
        ("421 4.3.2 later | (close)", "said 421 4.3.2 later"),
    ];
    let steps = ["greeting", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "."];
    std::thread::scope(|scope| {
        for (act, words) in acts {
            let host = &host;
            scope.spawn(move || {
                for step in steps {
                    let more = if step == "HELO" { "\nEHLO: 500 what" } else { "" };
                    let kind = if step == "." { "deferred" } else { "next" };
                    let expected = format!("{kind} {words}");
                    // A reset of a connection that was just made may come while it is still being made.
                    let sooner = "next cannot be reached: Connection reset by peer";
                    let is_sooner = (step, act) == ("greeting", "(reset)");
                    let fits = |told: &[String]| {
                        told[0].starts_with(&expected) || is_sooner && told[0].starts_with(sooner)
                    };
                    let (told, bad) = patiently(time(act), |time| {
                        let bad = Host::start(&format!("{step}: {act}{more}"));
                        let begun = Instant::now();
                        let told = attempt(&bad, &caller(time), &["ann@host.test"]);
                        let time = begun.elapsed();
                        assert!(time < PATIENCE / 2, "{step}: {act} took {time:?}");
                        (fits(&told), (told, bad))
                    });
                    assert!(fits(&told), "{step}: {act}: {told:?}");
                    assert!(bad.mail().is_empty() && bad.seen().connections == 1, "{step}: {act}");
                }
                drop(attempt(host, &caller(PATIENCE), &["ann@host.test"]));
            });
        }
    });
    assert_eq!(host.mail().len(), acts.len());
}

#[test]
fn octets_before_their_time_are_no_replies() {
    for (script, words) in [
        ("greeting: 220 a | 250 b", "next said 250 b (EHLO)"),
        ("EHLO: 250 a | 250 b", "next said 250 b (MAIL)"),
        ("DATA: 354 go | 250 taken", "next said 250 taken (inside the message)"),
        ("DATA: 354 go | (raw 2) | (close)", "next closed the connection (inside the message)"),
        ("EHLO: 250 x\nMAIL: 250 a | 250 b", "next said 250 b (RCPT)"),
    ] {
        let host = Host::start(script);
        let told = attempt(&host, &caller(PATIENCE), &["ann@host.test"]);
        let early = told[0].starts_with("next is no sound mail server, it sent octets before");
        assert!(told[0].starts_with(words) || early, "{script}: {told:?}");
        assert!(host.seen().mail.is_empty(), "{script}");
    }
    // Nothing is said inside such a TLS; the mail goes in the clear.
    let script = "STARTTLS: 220 go | (tls 550 5.7.1 not you)";
    let host = Host::with(&Pair::of(&["host.test"]), script);
    let told = attempt(&host, &caller(PATIENCE), &["ann@host.test"]);
    assert_eq!(told, ["relayed 250 2.0.0 taken"]);
    assert_eq!((host.mail().len(), host.seen().connections), (1, 2));
}

#[test]
fn a_host_that_speaks_or_stops_inside_the_message() {
    // More than the buffers of two kernels hold.
    let message = b"0123456789abcdef\n".repeat(1_000_000);
    for (script, expected) in [
        ("DATA: 354 go | (take 100000) | (reset)", "next closed the connection (inside"),
        ("DATA: 354 go | (take 100000) | (silent)", "next was silent too long (inside"),
        (
            "DATA: 354 go | (take 100000) | 552 5.3.4 enough | (close)",
            "failed said 552 5.3.4 enough",
        ),
        (
            "DATA: 354 go | (take 100000) | (pieces 1) | 552 5.3.4 enough | (wait 100) | (close)",
            "failed said 552 5.3.4 enough",
        ),
        (
            "DATA: 354 go | (take 100000) | 452 4.3.1 full | (close)",
            "next said 452 4.3.1 full (inside",
        ),
        ("EHLO: 250-x | 250 SIZE 1000000", "failed takes messages of up to 1000000 octets, this"),
        ("", "relayed 250 2.0.0 taken"),
    ] {
        let any_size = format!("{script}\nEHLO: 250-x | 250 SIZE 0");
        let message = &message[..];
        let (told, host) = patiently(time(script), |time| {
            let host = Host::start(&any_size);
            let opened = Connection::open(&caller(time), &hop(&host), &mut Talk::default());
            let letter = letter(&["ann@host.test"], &message);
            let told = match opened {
                Ok(mut connection) => words(&connection.deliver(&letter, &message)[0]),
                Err(fate) => words(&fate),
            };
            (told.starts_with(expected), (told, host))
        });
        let reset = script.contains("552") && told.starts_with("next closed the connection");
        assert!(told.starts_with(expected) || reset, "{script}: {told}");
        assert_eq!(host.mail().len(), usize::from(told.starts_with("relayed")));
    }
}

#[test]
fn replies_that_each_come_in_time_do_not_make_an_hour() {
    let to: Vec<String> = (0..20).map(|n| format!("u{n}@host.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let expected = vec!["next was silent too long (RCPT)"; 20];
    let (told, host) = patiently(Duration::from_millis(600), |time| {
        let host = Host::start("EHLO: 250 host.test\nRCPT: (wait 250) | 250 ok");
        let told = attempt(&host, &caller(time), &to);
        (told == expected, (told, host))
    });
    assert_eq!(told, expected);
    assert!(host.mail().is_empty() && host.count("RCPT") < 10);
}

#[test]
fn several_messages_over_one_connection() {
    let (host, caller) = (Host::start("RCPT TO:<no: 550 5.1.1 no"), caller(PATIENCE));
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    for (to, expected) in [
        ("ann@host.test", "relayed 250 2.0.0 taken"),
        ("no@host.test", "failed said 550 5.1.1 no (RCPT)"),
        ("bob@host.test", "relayed 250 2.0.0 taken"),
    ] {
        let fates = connection.deliver(&letter(&[to], &MESSAGE), &MESSAGE);
        assert_eq!(words(&fates[0]), expected);
    }
    connection.quit();
    let seen = host.seen();
    assert_eq!((seen.connections, host.count("EHLO"), host.count("RSET")), (1, 1, 0));
    assert_eq!(host.mail().iter().filter(|mail| !mail.to.is_empty()).count(), 2);
}

/// Behind its 250 nobody reads on, because a look costs as much as a read.
#[test]
fn a_host_that_tires_between_two_messages_gets_the_next_by_a_new_connection() {
    let host = Host::start(".*1: 250 taken | (wait 50) | 421 4.3.2 tired | (note tired)");
    let caller = caller(PATIENCE);
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    for _ in 0..2 {
        let fates = connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &MESSAGE);
        assert!(matches!(fates[..], [Fate::Relayed(_)]), "{fates:?}");
        until("the host is tired", || host.count("tired") == 1);
    }
    assert_eq!((host.seen().connections, host.count("MAIL")), (2, 2), "MAIL on the old one");
    assert_eq!(host.mail().len(), 2);
}

#[test]
fn a_host_that_closes_after_each_message_is_connected_to_again() {
    for script in [
        ".: 250 taken | (close)",
        ".: 250 taken | 421 no more | (close)",
        "MAIL*1: 250 ok\nMAIL*1: 421 no more | (close)\nMAIL*1: 250 ok\nMAIL*1: 421 no | (close)",
        "EHLO: 250-host.test | 250 LIMITS MAILMAX=1",
        "MAIL*1: 250 ok\nMAIL*1: 554 5.5.0 tired\nMAIL*1: 250 ok\nMAIL*1: 503 no",
    ] {
        let (host, caller) = (Host::start(script), caller(PATIENCE));
        let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
        for _ in 0..3 {
            let fates = connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &MESSAGE);
            assert!(matches!(fates[..], [Fate::Relayed(_)]), "{script}: {fates:?}");
        }
        connection.quit();
        assert_eq!((host.mail().len(), host.seen().connections), (3, 3), "{script}");
    }
    // What is said on a fresh one is meant.
    let (host, caller) = (Host::start("MAIL*1: 250 ok\nMAIL: 550 5.1.8 not you"), caller(PATIENCE));
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    for expected in ["relayed 250 2.0.0 taken", "failed said 550 5.1.8 not you (MAIL)"] {
        let fates = connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &MESSAGE);
        assert_eq!(words(&fates[0]), expected);
    }
    assert_eq!(host.seen().connections, 2);
    // But one that only closes is left alone.
    let host = Host::start("MAIL: (close)");
    let told = attempt(&host, &caller, &["ann@host.test"]);
    assert_eq!(
        (told[0].as_str(), host.seen().connections),
        ("next closed the connection (MAIL)", 1)
    );
}

#[test]
fn many_recipients_come_in_as_many_transactions_as_are_needed() {
    let to: Vec<String> = (0..250).map(|n| format!("u{n}@host.test")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let limits = "EHLO: 250-host.test | 250-PIPELINING | 250 LIMITS RCPTMAX=60";
    let full = "RCPT*70: 250 ok\nRCPT*30: 452 4.5.3 too many";
    for (script, sizes) in [
        ("", vec![100, 100, 50]),
        (limits, vec![60, 60, 60, 60, 10]),
        (full, vec![70, 100, 80]),
        ("EHLO: 250 host.test\nRCPT*70: 250 ok\nRCPT*1: 452 many", vec![70, 100, 80]),
    ] {
        let host = Host::start(script);
        let told = attempt(&host, &caller(PATIENCE), &to);
        assert_eq!(told, vec!["relayed 250 2.0.0 taken"; 250], "{script}");
        let mail = host.mail();
        assert_eq!(mail.iter().map(|mail| mail.to.len()).collect::<Vec<_>>(), sizes, "{script}");
        let all: Vec<&str> = mail.iter().flat_map(|mail| &mail.to).map(String::as_str).collect();
        assert_eq!((all, host.seen().connections), (to.clone(), 1));
    }
}

#[test]
fn parameters_are_passed_on_where_they_are_offered() {
    let (host, plain) = (Host::start(""), Host::start("EHLO: 250 host.test"));
    let mut letter = letter(&["ann@host.test"], &MESSAGE);
    let sender = &mut letter.envelope.sender;
    (sender.ret, sender.envid) = (Some(Ret::Full), Some("Q".to_owned()));
    (sender.body, sender.smtputf8) = (BodyType::EightBitMime, true);
    let recipient = &mut letter.envelope.recipients[0];
    recipient.notify = Some(Notify { failure: true, ..Notify::default() });
    recipient.orcpt = Some("rfc822;x@y.test".to_owned());
    for (host, dsn) in [(&host, true), (&plain, false)] {
        let caller = caller(PATIENCE);
        let mut connection = Connection::open(&caller, &hop(host), &mut Talk::default()).unwrap();
        assert!(matches!(connection.deliver(&letter, &MESSAGE)[..], [Fate::Relayed(_)]));
        assert_eq!(connection.offers().dsn, dsn);
    }
    let said = |host: &Host| host.seen().commands[1..3].to_vec();
    let mail = "MAIL FROM:<a@mx.test> SIZE=33 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=Q";
    let rcpt = "RCPT TO:<ann@host.test> NOTIFY=FAILURE ORCPT=rfc822;x@y.test";
    assert_eq!(said(&host), [mail, rcpt]);
    assert_eq!(said(&plain), ["MAIL FROM:<a@mx.test>", "RCPT TO:<ann@host.test>"]);
}

#[test]
fn hosts_that_refuse_to_begin() {
    for (script, expected, quits) in [
        ("greeting: 554 5.7.1 never", "next said 554 5.7.1 never (greeting)", 1),
        ("greeting: 521 5.3.2 never", "next said 521 5.3.2 never (greeting)", 1),
        ("greeting: 450 later", "next said 450 later (greeting)", 1),
        ("greeting: 421 bye | (close)", "next said 421 bye (greeting)", 0),
        ("EHLO: 451 later", "next said 451 later (EHLO)", 1),
        ("EHLO: 502 a\nHELO: 502 b", "next said 502 b (HELO)", 1),
    ] {
        let host = Host::start(script);
        assert_eq!(attempt(&host, &caller(PATIENCE), &["ann@host.test"]), [expected]);
        assert_eq!((host.count("QUIT"), host.seen().commands.len() < 4), (quits, true), "{script}");
    }
    let gone = hop(&Host::start(""));
    // Freed with the host, perhaps after a moment: connections until then are closed at once.
    let caller = caller(PATIENCE);
    crate::support::until("the port is free", || {
        match Connection::open(&caller, &gone, &mut Talk::default()) {
            Err(fate) => words(&fate).starts_with("next cannot be reached: Connection refused"),
            Ok(_) => false,
        }
    });
}

#[test]
fn the_next_host_and_one_that_comes_to_its_senses() {
    let first = Host::start("MAIL: 450 4.3.2 later");
    let second = Host::beside(&first, "127.0.0.2", "RCPT: 450 4.2.0 grey");
    let caller = caller(PATIENCE);
    let told = attempt(&first, &caller, &["ann@host.test"]);
    assert_eq!(told, ["next said 450 4.3.2 later (MAIL)"]);
    let told = attempt(&second, &caller, &["ann@host.test"]);
    assert_eq!(told, ["deferred said 450 4.2.0 grey (RCPT)"]);
    first.change("MAIL: 250 welcome");
    assert_eq!(attempt(&first, &caller, &["ann@host.test"]), ["relayed 250 2.0.0 taken"]);
    assert_eq!(
        (first.mail()[0].to.len(), second.mail().iter().any(|m| !m.to.is_empty())),
        (1, false)
    );
}

#[test]
fn quit_does_not_wait_for_long() {
    let (host, caller) = (Host::start("QUIT: (silent)"), caller(PATIENCE));
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &MESSAGE);
    let begun = Instant::now();
    connection.quit();
    assert!(begun.elapsed() < PATIENCE / 2 && host.mail().len() == 1);
}

/// Reads half of the message, then fails as a disk does.
struct Broken;

impl Message for Broken {
    fn size(&self) -> u64 {
        100_000
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        buffer.fill(b'x');
        if offset > 50_000 { Err(io::Error::other("bad sector")) } else { Ok(buffer.len()) }
    }
}

#[test]
fn what_we_cannot_read_is_not_sent_and_not_failed() {
    let (host, caller) = (Host::start(""), caller(PATIENCE));
    let mut connection = Connection::open(&caller, &hop(&host), &mut Talk::default()).unwrap();
    let fates = connection.deliver(&letter(&["ann@host.test"], &MESSAGE), &Broken);
    assert_eq!(words(&fates[0]), "deferred was not told all: bad sector (inside the message)");
    connection.quit();
    assert!(host.seen().mail.is_empty() && host.count("QUIT") == 0);
}

#[test]
fn another_facteur_takes_it() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let (caller, hop) = (caller(PATIENCE), Hop::offered("mx.test", server.address));
    let mut connection = Connection::open(&caller, &hop, &mut Talk::default()).unwrap();
    let message = "Subject: hi\n\n.\n\u{e9}\n".as_bytes();
    let fates = connection.deliver(&letter(&["ann@mx.test", "bob@mx.test"], &message), &message);
    assert!(fates.iter().all(|fate| matches!(fate, Fate::Relayed(_))), "{fates:?}");
    connection.quit();
    for user in ["ann", "bob"] {
        let mail = place.mail(user);
        assert!(mail.len() == 1 && mail[0].ends_with(message));
    }
}

/// The octets were good when they were surveyed, and came back changed: the host must not take them.
#[test]
fn a_message_that_changes_while_it_is_sent_has_no_end() {
    for octets in [&b"Subject: hi\n\nbody\n"[..], &b"0123456789abcdef\n".repeat(20_000)] {
        let disk = MemoryDisk::new();
        let file = disk.create(Path::new("/queue")).unwrap();
        file.append(octets).unwrap();
        let size = octets.len() as u64;
        let part =
            |sum| StoredMessage { file: &*file, path: Path::new("/queue"), at: 0, size, sum };
        let letter = letter(&["ann@host.test"], &part(Some(Sum::of(octets).value())));
        let other = part(Some(Sum::of(&octets[1..]).value()));
        assert!(survey(&other).is_err());
        let host = Host::start("");
        let opened = Connection::open(&caller(PATIENCE), &hop(&host), &mut Talk::default());
        let Ok(mut connection) = opened else { panic!() };
        let fates = connection.deliver(&letter, &other);
        assert!(words(&fates[0]).starts_with("deferred "), "{}", words(&fates[0]));
        assert!(!connection.is_open());
        connection.quit();
        assert!(host.mail().iter().all(|mail| !mail.is_taken), "{size}");
    }
}
