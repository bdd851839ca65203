//! Mail on a real disk: none lost, none twice, none in pieces, as other programs read it.

use crate::client::{Client, stuffed};
use crate::servers::Inside;
use crate::support::{Dice, Place, assert_no_drafts, config, files, has_program, skip, text};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

const CROWD: &str = "[limit]\nsessions_per_client = 1000";

fn message(subject: &str) -> Vec<u8> {
    format!("From: <a@client.test>\r\nSubject: {subject}\r\n\r\nHello.\r\n").into_bytes()
}

/// One session for each number, all at once; each brings one message of that number to a user.
fn bring(addresses: &[SocketAddr], count: usize, user: impl Fn(usize) -> String + Sync) {
    thread::scope(|scope| {
        for number in 0..count {
            let (address, user) = (addresses[number % addresses.len()], &user);
            scope.spawn(move || {
                let mut client = Client::greeted(address);
                client.delivered(&[&user(number)], &message(&format!("number {number}")));
                client.expect("QUIT", "221 2.0.0 ");
            });
        }
    });
}

/// The numbers that [`bring`] gave them, of whole messages in `new/`; each once.
fn numbers(maildir: &Path) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for path in files(&maildir.join("new")) {
        let octets = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let size = name.rsplit_once(",S=").unwrap().1;
        assert_eq!(size.parse(), Ok(octets.len()), "{name}");
        let mail = text(&octets);
        let user = maildir.file_name().unwrap().to_string_lossy();
        let start = format!(
            "Return-Path: <sender@client.test>\nDelivered-To: {user}@mx.test\nReceived: from "
        );
        assert!(mail.starts_with(&start) && mail.ends_with("\n\nHello.\n"), "{mail}");
        let (_, number) = mail.split_once("\nSubject: number ").unwrap();
        let number = number.split_once('\n').unwrap().0.parse().unwrap();
        assert!(found.insert(number), "number {number} is there twice");
    }
    found
}

#[test]
fn of_200_at_once_none_is_lost_and_none_comes_twice() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(CROWD));
    bring(&[server.address], 200, |number| format!("user{}@mx.test", number % 10));
    for user in 0..10 {
        let expected: BTreeSet<usize> = (0..20).map(|n| n * 10 + user).collect();
        assert_eq!(numbers(&place.maildir(&format!("user{user}"))), expected);
    }
    assert_no_drafts(&place);
}

#[test]
fn two_servers_share_a_tree() {
    let place = Place::new();
    let one = Inside::serve(&place, &config(CROWD));
    let other = config(CROWD).replace("\"spool\"", "\"other\"");
    let other = Inside::serve(&place, &other);
    bring(&[one.address, other.address], 100, |_| "ann@mx.test".to_owned());
    assert_eq!(numbers(&place.maildir("ann")), (0..100).collect());
    assert_no_drafts(&place);
}

#[test]
fn python_reads_all_of_it() {
    if !has_program("python3", "--version") {
        return skip("python3 is not installed");
    }
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    bring(&[server.address], 20, |_| "ann@mx.test".to_owned());
    let program = "import mailbox, sys\n\
        box = mailbox.Maildir(sys.argv[1], create=False)\n\
        for subject in sorted(mail['Subject'] for mail in box): print(subject)\n";
    let mut python = Command::new("python3");
    let read = python.arg("-c").arg(program).arg(place.maildir("ann")).output().unwrap();
    let mut expected: Vec<String> = (0..20).map(|number| format!("number {number}")).collect();
    expected.sort();
    let found = text(&read.stdout);
    assert_eq!(found.lines().collect::<Vec<_>>(), expected, "{}", text(&read.stderr));
}

#[test]
fn each_domain_has_its_own_tree() {
    let place = Place::new();
    let more = "[domain.\"other.test\"]\nmaildir = \"other/{user}/Maildir\"\nany_user = true";
    let server = Inside::serve(&place, &config(more));
    let to = ["ann@mx.test", "ann@OTHER.test", "bob@other.test", "Ann+tag@mx.test"];
    server.client().delivered(&to, &message("both"));
    let trees = [
        ("mail/mx.test/ann", "ann@mx.test"),
        ("other/ann/Maildir", "ann@other.test"),
        ("other/bob/Maildir", "bob@other.test"),
    ];
    for (maildir, mailbox) in trees {
        let found = files(&place.at(maildir).join("new"));
        let [path] = &found[..] else { panic!("{maildir}: {found:?}") };
        let mail = text(&fs::read(path).unwrap());
        assert!(mail.contains(&format!("\nDelivered-To: {mailbox}\n")), "{mail}");
        // No recipient is told of the others.
        assert!(!mail.contains("\n\tfor <"), "{mail}");
    }
}

#[test]
fn one_message_to_1000_recipients() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = server.client();
    let mut commands = "MAIL FROM:<a@client.test>\r\n".to_owned();
    (0..1001).for_each(|n| commands.push_str(&format!("RCPT TO:<u{n}@mx.test>\r\n")));
    client.send(format!("{commands}DATA\r\n").as_bytes());
    (0..1001).for_each(|_| assert!(client.reply().starts_with("250 2.1.")));
    assert!(client.reply().starts_with("452 4.5.3 "));
    assert!(client.reply().starts_with("354 "));
    client.send(&stuffed(&message("all")));
    assert!(client.reply().starts_with("250 2.0.0 "));
    for user in (0..1000).map(|n| format!("u{n}")) {
        let mail = place.mail(&user);
        assert_eq!(mail.len(), 1, "{user}");
        assert!(text(&mail[0]).contains(&format!("\nDelivered-To: {user}@mx.test\n")));
    }
    assert!(!place.maildir("u1000").exists());
    assert_no_drafts(&place);
}

#[test]
fn a_large_message_comes_octet_for_octet_and_holds_up_nobody() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let large = large_message(25 << 20);
    let wire = stuffed(&large);
    let (first, rest) = wire.split_at(wire.len() / 2);
    let mut slow = server.client();
    slow.begin(&["large@mx.test", "second@mx.test"]);
    slow.send(first);
    server.client().delivered(&["small@mx.test"], &message("between"));
    assert_eq!(place.mail("small").len(), 1);
    let small = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            slow.send(rest);
            slow.reply()
        });
        let (mut client, mut small) = (server.client(), 1);
        while !sending.is_finished() {
            client.delivered(&["small@mx.test"], &message("beside"));
            small += 1;
        }
        let reply = sending.join().unwrap();
        assert!(reply.starts_with("250 2.0.0 "), "{reply}");
        small
    });
    assert_eq!(place.mail("small").len(), small);
    let expected: Vec<u8> = large.iter().copied().filter(|&b| b != b'\r').collect();
    for user in ["large", "second"] {
        let mail = place.mail(user);
        let [mail] = &mail[..] else { panic!("{user}: {} messages", mail.len()) };
        let start = mail.len() - expected.len();
        assert!(mail[start..] == expected[..], "{user}: not what was sent");
        assert_eq!(text(&mail[..start]).lines().count(), 5, "{}", text(&mail[..start]));
    }
    assert_no_drafts(&place);
    assert!(files(&place.at("spool/spill")).is_empty());
}

/// Lines of any octets but CR and LF, many of which begin with dots.
fn large_message(size: usize) -> Vec<u8> {
    let mut dice = Dice::new(25);
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    while message.len() < size {
        let line = message.len();
        message.extend(std::iter::repeat_n(b'.', dice.below(4)));
        for _ in 0..dice.below(125) {
            message.extend(dice.below(usize::MAX).to_le_bytes());
        }
        for octet in &mut message[line..] {
            *octet = if matches!(octet, b'\r' | b'\n') { b'.' } else { *octet };
        }
        message.extend_from_slice(b"\r\n");
    }
    message
}
