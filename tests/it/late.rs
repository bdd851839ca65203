//! Copies that cannot be written when their message comes: its sender hears 250, and they come later.

use crate::servers::{Binary, Inside, value};
use crate::support::{Place, assert_no_drafts, config, files, text, until};
use std::fmt::Write;
use std::fs;

const MESSAGE: &[u8] =
    b"Received: from x by y\r\nReturn-Path: <old@x.test>\r\nSubject: x\r\n\r\n.\r\n";

/// Nothing can be written for ann until the file that stands in the place of her Maildir is gone.
fn block(place: &Place) {
    fs::create_dir_all(place.at("mail/mx.test")).unwrap();
    fs::write(place.maildir("ann"), "in the way").unwrap();
}

fn unblock(place: &Place) {
    fs::remove_file(place.maildir("ann")).unwrap();
}

#[test]
fn a_late_copy_waits_in_the_queue_and_is_one_like_others() {
    let place = Place::new();
    block(&place);
    // With our own Received field it has as many as would be too many for a message that comes.
    let config = config("[relay]\nretry = [\"1h\"]\n[limit]\nhops = 2");
    let server = Binary::serve(&place, &config);
    let id = server.client().delivered(&["ann@mx.test", "bob@mx.test"], MESSAGE);
    let line = server.wait_for(&["deferred ", "to=ann@mx.test"]);
    assert_eq!(value(&line, "id").as_ref(), Some(&id));
    let reason = value(&line, "reason").unwrap();
    assert!(reason.contains("mail/mx.test/ann"), "{reason}");
    server.wait_for(&["delivered ", "to=bob@mx.test"]);
    let queued = files(&place.at("spool/queue"));
    assert!(queued.len() == 1 && queued[0].ends_with(&id), "{queued:?}");
    let queued = text(&fs::read(&queued[0]).unwrap());
    assert!(queued.contains("\nto: <ann@mx.test>\nsize: ") && !queued.contains("to: <bob@"));
    unblock(&place);
    server.signal("USR1");
    server.wait_for(&["delivered ", "to=ann@mx.test", &id]);
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
    let [ann, bob] = ["ann", "bob"].map(|user| place.mail(user).iter().map(|m| text(m)).collect());
    let (ann, bob): (Vec<String>, Vec<String>) = (ann, bob);
    assert_eq!(ann, bob.iter().map(|mail| mail.replace("bob", "ann")).collect::<Vec<_>>());
    assert_no_drafts(&place);
    server.stop();
}

/// One copy was all there was of it: its sender can wait as well as we.
#[test]
fn a_message_of_one_copy_is_refused_instead() {
    let place = Place::new();
    block(&place);
    let server = Inside::serve(&place, &config(""));
    let reply = server.client().deliver(&["ann@mx.test"], MESSAGE);
    assert!(reply.starts_with("451 4.3.0 "), "{reply}");
    assert!(files(&place.at("spool/queue")).is_empty());
    unblock(&place);
    server.client().delivered(&["ann@mx.test"], MESSAGE);
    assert_eq!(place.mail("ann").len(), 1);
}

/// What a queue file could not name so that it is read again is refused before it is written.
#[test]
fn an_alias_that_leads_to_more_hosts_than_a_queue_file_holds() {
    let (place, mut aliases) = (Place::new(), "some: x@far.test\nall: ann".to_owned());
    let label = "a".repeat(58);
    for number in 0..10_000 {
        let _ = write!(aliases, ", {label}@{label}.{label}.{label}{number}.test");
    }
    place.write("aliases", aliases + "\n");
    let more =
        "aliases = \"aliases\"\n[relay]\nsmarthost = \"127.0.0.1:1\"\n[limit]\nrecipients = 20000";
    let config = config(more);
    let server = Inside::serve(&place, &config);
    let mut client = server.client();
    let reply = client.deliver(&["bob@mx.test", "all@mx.test"], MESSAGE);
    assert!(reply.starts_with("452 4.5.3 "), "{reply}");
    assert!(place.mail("ann").is_empty() && place.mail("bob").is_empty());
    assert!(files(&place.at("spool/queue")).is_empty());
    client.delivered(&["bob@mx.test", "some@mx.test"], MESSAGE);
    assert_eq!((place.mail("bob").len(), files(&place.at("spool/queue")).len()), (1, 1));
}
