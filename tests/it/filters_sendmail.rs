//! Mail by sendmail and its filters: the queue asks them, in a thread that nobody waits for, before anybody gets the
//! mail; with a server and without one.

use crate::commands::run;
use crate::filterd::Filter;
use crate::filters::MAY;
use crate::hosts::Host;
use crate::sendmail::feed;
use crate::servers::{Binary, FACTEUR, value};
use crate::support::{Place, config, files, text, until};
use std::fs;
use std::process::Command;

fn place(filter: &Filter, more: &str) -> (Place, String) {
    let place = Place::new();
    let config = config(&filter.table("f", more));
    place.write("facteur.toml", &config);
    (place, config)
}

fn sendmail(place: &Place, arguments: &[&str], input: &[u8]) {
    let mut command = Command::new(FACTEUR);
    command.arg("sendmail").args(arguments);
    let (status, said) = feed(place, command, input);
    assert_eq!(status, 0, "{said}");
}

fn inbox(place: &Place, user: &str) -> Vec<String> {
    place.mail(user).iter().map(|mail| text(mail)).collect()
}

const MAIL: &[u8] = b"Subject: x\n\nHi\n";

#[test]
fn asked_before_anybody_gets_it() {
    let filter = Filter::start("end: add X-F: 1 | insert 0 X-Top: a | continue");
    let (place, config) = place(&filter, "");
    sendmail(&place, &["-f", "ann@mx.test", "bob@mx.test", "zoe@mx.test"], MAIL);
    sendmail(&place, &["-bs"], b"EHLO x\r\nMAIL FROM:<ann@mx.test>\r\nRCPT TO:<eve@mx.test>\r\nDATA\r\nSubject: x\r\n\r\nHi\r\n.\r\nQUIT\r\n");
    assert_eq!(filter.connections(), 0, "no command asks");
    let id = files(&place.at("spool/queue"))[0].file_name().unwrap().to_str().unwrap().to_owned();
    let server = Binary::serve(&place, &config);
    for user in ["bob", "zoe", "eve"] {
        until("it is there", || inbox(&place, user).len() == 1);
        let mail = &inbox(&place, user)[0];
        let header: Vec<&str> = mail.split("\n\n").next().unwrap().lines().collect();
        assert!(header[2].starts_with("X-Top: a") && header[3].starts_with("Received: "), "{mail}");
        assert_eq!(header.last(), Some(&"X-F: 1"), "{mail}");
    }
    let (heard, macros) = (filter.heard("header Received"), filter.heard("macros mail"));
    assert!(heard.is_empty() && macros[0].contains(&format!("i={id}")), "{macros:?}");
    assert_eq!(filter.heard("rcpt").len(), 3);
    server.wait_for(&["filtered ", &format!("id={id}"), "action=changed"]);
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
    server.stop();
}

/// What is refused goes back; what is thrown away or held is told.
#[test]
fn each_opinion() {
    let filter = Filter::start("");
    let (place, config) = place(&filter, MAY);
    let server = Binary::serve(&place, &config);
    filter.change("end*1: reply 554 5.7.9 no such words");
    sendmail(&place, &["-f", "ann@mx.test", "bob@mx.test"], MAIL);
    until("it came back", || inbox(&place, "ann").len() == 1);
    let notice = &inbox(&place, "ann")[0];
    assert!(notice.contains("no such words") && notice.contains("Status: 5.7.9"), "{notice}");
    // One of two recipients.
    filter.change("rcpt <no@*1: reply 550 5.1.1 nobody");
    sendmail(&place, &["-f", "ann@mx.test", "no@mx.test", "bob@mx.test"], MAIL);
    until("it came back", || inbox(&place, "ann").len() == 2);
    until("the other has it", || inbox(&place, "bob").len() == 1);
    filter.change("end*1: discard");
    sendmail(&place, &["-f", "ann@mx.test", "carl@mx.test"], MAIL);
    server.wait_for(&["filtered ", "action=discard"]);
    filter.change("end*1: rcpt- <carl@mx.test> | rcpt+ <dora@mx.test> | body other\\n | continue");
    sendmail(&place, &["-f", "ann@mx.test", "carl@mx.test"], MAIL);
    until("it goes to another", || inbox(&place, "dora").len() == 1);
    assert!(inbox(&place, "dora")[0].ends_with("\n\nother\n"));
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
    filter.change("end*1: quarantine why | continue");
    sendmail(&place, &["-f", "ann@mx.test", "carl@mx.test"], MAIL);
    let held = server.wait_for(&["held ", "filter=f"]);
    let id = value(&held, "id").unwrap();
    let (status, out, err) = run(&place, &["queue", "retry", &id]);
    assert_eq!(status, 0, "{out}{err}");
    until("it goes", || inbox(&place, "carl").len() == 1);
    server.stop();
}

/// A filter that is down keeps its mail waiting and no other; the queue says why, and a retry asks again.
#[test]
fn a_filter_that_is_down() {
    let host = Host::start("");
    let filter = Filter::start("connect: (close)");
    let more = format!("[relay.route]\n\"far.test\" = \"{}\"\n", host.address);
    let (place, config) = place(&filter, &format!("services = [\"sendmail\"]\n{more}"));
    let server = Binary::serve(&place, &config);
    sendmail(&place, &["-f", "ann@mx.test", "bob@mx.test", "eve@far.test"], MAIL);
    server.wait_for(&["filtered ", "filter=f", "action=failed"]);
    server.wait_for(&["deferred ", "to=bob@mx.test"]);
    server.client().delivered(&["zoe@mx.test"], b"Subject: x\r\n\r\nHi\r\n");
    let id = files(&place.at("spool/queue"))[0].file_name().unwrap().to_str().unwrap().to_owned();
    let (_, why, _) = run(&place, &["queue", "why", &id]);
    assert!(why.contains("filter"), "{why}");
    assert!(
        fs::read_to_string(place.at("spool/queue").join(&id))
            .unwrap()
            .contains("\nunfiltered: yes\n")
    );
    assert!(inbox(&place, "bob").is_empty() && host.mail().is_empty());
    server.stop();
    // The filters are no longer configured: it goes as it is.
    let config = config.replace("services = [\"sendmail\"]", "services = [\"submission\"]");
    let server = Binary::serve(&place, &config);
    let (status, ..) = run(&place, &["queue", "retry", &id]);
    until("it goes", || inbox(&place, "bob").len() == 1 && host.mail().len() == 1);
    assert!(status == 0 || files(&place.at("spool/queue")).is_empty());
    server.stop();
}
