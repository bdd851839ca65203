//! Messages as they are sent, and exactly what must lie in `new/` for each of them.
//!
//! `maildir-fixtures/messages/NAME.eml` holds lines with CR LF, before transparency doubles dots;
//! `maildir-fixtures/delivered/NAME.eml` the file in `new/`, with `{id}` and `{date}` in our Received
//! field. All are from `<sender@client.test>` to `<ann@mx.test>`, by DATA and by BDAT alike; what has
//! no last line end can only come by BDAT.

use crate::client::Client;
use crate::servers::Inside;
use crate::support::{Dice, Place, assert_no_drafts, config, files, text};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("maildir-fixtures").join(folder)
}

fn names(folder: &str) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files(&fixtures(folder)).into_iter().map(name).filter(|name| name.ends_with(".eml")).collect()
}

/// Delivers a message and gives the only file in a user's `new/`, with its id; then removes it.
fn deliver(place: &Place, client: &mut Client, message: &[u8]) -> (Vec<u8>, String) {
    let id = client.delivered(&["ann@mx.test"], message);
    (only_mail(place), id)
}

/// The same in two chunks.
fn deliver_in_chunks(place: &Place, client: &mut Client, message: &[u8]) -> (Vec<u8>, String) {
    let (one, other) = message.split_at(message.len() / 2);
    client.expect("MAIL FROM:<sender@client.test>", "250 ");
    client.expect("RCPT TO:<ann@mx.test>", "250 ");
    client.send(&[format!("BDAT {}\r\n", one.len()).as_bytes(), one].concat());
    assert!(client.reply().starts_with("250 2.0.0 "));
    client.send(&[format!("BDAT {} LAST\r\n", other.len()).as_bytes(), other].concat());
    let reply = client.reply();
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"));
    (only_mail(place), id.to_owned())
}

fn only_mail(place: &Place) -> Vec<u8> {
    let new = files(&place.maildir("ann").join("new"));
    let [path] = &new[..] else { panic!("{new:?}") };
    let octets = fs::read(path).unwrap();
    let end = format!(",S={}", octets.len());
    assert!(path.to_string_lossy().ends_with(&end), "{} {end}", path.display());
    fs::remove_file(path).unwrap();
    octets
}

/// The date of our Received field, which ends the fields that we put on top.
fn date(mail: &[u8]) -> String {
    let top = mail.split(|&b| b == b'\n').nth(5).map(text).unwrap_or_default();
    let date = top.strip_prefix('\t').unwrap_or_else(|| panic!("{}", text(mail)));
    let format = "%a, %d %b %Y %H:%M:%S %z";
    let moment = jiff::Timestamp::strptime(format, date).unwrap();
    let age = jiff::Timestamp::now().as_second() - moment.as_second();
    assert!((-5..600).contains(&age), "{date}");
    date.to_owned()
}

/// `golden` with the id and the date of this delivery; only the first of each is a placeholder.
fn filled(golden: &[u8], id: &str, date: &str) -> Vec<u8> {
    let mut filled = golden.to_vec();
    for (placeholder, value) in [("{id}", id), ("{date}", date)] {
        let wanted = placeholder.as_bytes();
        let at = filled.windows(wanted.len()).position(|part| part == wanted);
        let at = at.unwrap_or_else(|| panic!("no {placeholder} in the golden"));
        filled.splice(at..at + wanted.len(), value.bytes());
    }
    filled
}

#[test]
fn every_message_lies_in_new_as_its_golden_says() {
    let names_sent = names("messages");
    assert_eq!(names_sent, names("delivered"), "each message has a golden, and the other way");
    assert!(names_sent.len() >= 25);
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = server.client();
    for name in names_sent {
        let message = fs::read(fixtures("messages").join(&name)).unwrap();
        let golden = fs::read(fixtures("delivered").join(&name)).unwrap();
        let check = |(mail, id): (Vec<u8>, String)| {
            let expected = filled(&golden, &id, &date(&mail));
            assert!(mail == expected, "{name}: {:?}, not {:?}", text(&mail), text(&expected));
        };
        if message.is_empty() || message.ends_with(b"\r\n") {
            check(deliver(&place, &mut client, &message));
        }
        check(deliver_in_chunks(&place, &mut client, &message));
    }
    assert_no_drafts(&place);
}

#[test]
fn a_line_of_a_megabyte() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut dice = Dice::new(9);
    let line: Vec<u8> = (0..1 << 20).map(|_| b"abc.\0\xff "[dice.below(7)]).collect();
    let message = [b"Subject: long\r\n\r\n", &line[..], b"\r\n"].concat();
    let (mail, _) = deliver(&place, &mut server.client(), &message);
    let end = [b"\nSubject: long\n\n", &line[..], b"\n"].concat();
    assert!(mail.ends_with(&end) && date(&mail).len() > 20);
}

/// As long as the header can be: Return-Path fields of many lines, in a message that spills.
#[test]
fn return_paths_in_a_large_header() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let (mut message, mut kept) = (Vec::new(), Vec::new());
    for number in 0..50 {
        message.extend(b"Return-Path: <x@y.test>\r\n");
        message.extend(b" folded\r\n".repeat(100));
        let field = format!("X-Number: {number} {}\n", "x".repeat(2000));
        kept.extend(field.as_bytes());
        message.extend(field.replace('\n', "\r\n").as_bytes());
    }
    message.extend(b"\r\nReturn-Path: <stays@y.test>\r\n");
    kept.extend(b"\nReturn-Path: <stays@y.test>\n");
    let (mail, _) = deliver(&place, &mut server.client(), &message);
    assert!(mail.ends_with(&kept) && mail.len() - kept.len() < 300, "{}", mail.len() - kept.len());
}

#[test]
fn what_the_envelope_puts_on_top() {
    let place = Place::new();
    let server = Inside::serve(&place, &config(""));
    let mut client = Client::connect(server.address);
    assert!(client.reply().starts_with("220 "));
    client.expect("HELO [192.0.2.1]", "250");
    for (from, to, expected) in [
        ("", "ann@mx.test", "Return-Path: <>\nDelivered-To: ann@mx.test\n"),
        (
            "\"a b\"@x.test",
            "ANN@MX.test",
            "Return-Path: <\"a b\"@x.test>\nDelivered-To: ann@mx.test\n",
        ),
        (
            "a@[192.0.2.9]",
            "ann+tag@mx.test",
            "Return-Path: <a@[192.0.2.9]>\nDelivered-To: ann@mx.test\n",
        ),
    ] {
        client.expect(&format!("MAIL FROM:<{from}>"), "250 ");
        client.expect(&format!("RCPT TO:<{to}>"), "250 ");
        client.expect("DATA", "354 ");
        client.send(b".\r\n");
        let reply = client.reply();
        let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap();
        let mail = place.mail("ann").pop().unwrap();
        let shown = to.replace("MX", "mx");
        let expected = format!(
            "{expected}Received: from [192.0.2.1] ([127.0.0.1])\n\tby mx.test with SMTP id {id}\n\
             \tfor <{shown}>;\n\t{}\n",
            date(&mail)
        );
        assert_eq!(text(&mail), expected);
        fs::remove_dir_all(place.maildir("ann")).unwrap();
    }
}
