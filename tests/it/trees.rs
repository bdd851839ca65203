//! Two servers, each with its own spool, that deliver into one tree of Maildirs at the same time, as
//! two hosts with a shared disk do.

use crate::client::Client;
use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, assert_no_drafts, config, files, text};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

/// Clients of each server.
const CLIENTS: usize = 6;
/// Messages of each client.
const MESSAGES: usize = 25;

/// A second server, which shares nothing but the mail.
fn second(place: &Place) -> Binary {
    let other = config("").replace("spool = \"spool\"", "spool = \"spool-of-the-other\"");
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(place.write("other.toml", other)).arg("serve");
    Binary::start(command)
}

/// What one client does: each message goes to Ann and to somebody else; gives the ids.
fn send(address: SocketAddr, client: &str, start: &Barrier) -> Vec<String> {
    let mut session = Client::greeted(address);
    start.wait();
    let one = |message| {
        let other = format!("user{}@mx.test", message % 5);
        // Some are large enough to wait in a file of the spool.
        let lines = "0123456789\r\n".repeat(if message % 10 == 0 { 10_000 } else { 10 });
        let mail = format!("Subject: {client} {message}\r\n\r\n{lines}");
        session.delivered(&["ann@mx.test", &other], mail.as_bytes())
    };
    (0..MESSAGES).map(one).collect()
}

/// A field's value, and the id in Received.
fn subject_and_id(mail: &[u8]) -> (String, String) {
    let mail = text(mail);
    let after = |mark: &str| {
        let (_, rest) = mail.split_once(mark).unwrap();
        rest.lines().next().unwrap().to_owned()
    };
    (after("\nSubject: "), after(" id ").trim_end_matches(';').to_owned())
}

#[test]
fn two_servers_on_one_tree_lose_nothing() {
    let place = Place::new();
    let servers = [Binary::serve(&place, &config("")), second(&place)];
    assert_ne!(servers[0].pid(), servers[1].pid());
    // No Maildir is there yet: all make the same ones at once.
    let start = Barrier::new(servers.len() * CLIENTS);
    let sent: Vec<(String, String)> = thread::scope(|scope| {
        let clients = (0..servers.len() * CLIENTS).map(|number| {
            let (address, start) = (servers[number % servers.len()].address, &start);
            scope.spawn(move || {
                let ids = send(address, &format!("client{number}"), start);
                let subject = |(message, id)| (format!("client{number} {message}"), id);
                ids.into_iter().enumerate().map(subject).collect::<Vec<_>>()
            })
        });
        // All are started before any is waited for.
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let count = servers.len() * CLIENTS * MESSAGES;
    let ids: BTreeSet<_> = sent.iter().map(|(_, id)| id).collect();
    assert_eq!((sent.len(), ids.len()), (count, count), "an id is there twice");

    let sent: BTreeSet<_> = sent.iter().cloned().collect();
    let found = |user: &str| {
        let mail = place.mail(user);
        assert!(mail.iter().all(|mail| mail.ends_with(b"0123456789\n")), "cut");
        mail.iter().map(|mail| subject_and_id(mail)).collect::<Vec<_>>()
    };
    let of_ann = found("ann");
    assert_eq!(of_ann.len(), count);
    assert!(of_ann.into_iter().collect::<BTreeSet<_>>() == sent, "not what was sent");
    let of_others: Vec<_> = (0..5).flat_map(|user| found(&format!("user{user}"))).collect();
    assert_eq!(of_others.len(), count);
    assert!(of_others.into_iter().collect::<BTreeSet<_>>() == sent, "not what was sent");

    // Names are unique in the whole tree, even without their size.
    let users: Vec<_> = files(&place.at("mail/mx.test"));
    let names = users.iter().flat_map(|user| files(&user.join("new")));
    let unique = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        name.split_once(",S=").unwrap().0.to_owned()
    };
    let names: BTreeSet<_> = names.map(unique).collect();
    assert_eq!(names.len(), 2 * count);
    assert_no_drafts(&place);
    servers.into_iter().for_each(Binary::stop);
}
