//! Mail through the whole server into an Internet of our own: names by a scripted DNS server, hosts at
//! 127.0.0.2 and up that all listen on one port, as MX hosts do.

mod control;
mod fates;
mod files;
mod kills;
mod mx;
mod notices;
mod scheduling;
mod seven;
mod silent;
mod stops;
mod thousands;
mod why;

use crate::commands::run;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::servers::Binary;
use crate::support::{PATIENCE, Place, config, files, text, until};
use std::net::TcpListener;
use std::path::PathBuf;

/// The names and hosts of one test.
pub struct Net {
    pub dns: Dnsd,
    /// The first one is at 127.0.0.2.
    pub hosts: Vec<Host>,
    pub port: u16,
}

impl Net {
    /// A host for each script, from 127.0.0.2 on; nobody has a name yet.
    pub fn new(scripts: &[&str]) -> Net {
        let listeners = listeners(scripts.len());
        let port = listeners[0].local_addr().unwrap().port();
        let hosts = listeners.into_iter().zip(scripts);
        let hosts = hosts.map(|(listener, script)| Host::at(listener, script)).collect();
        Net { dns: Dnsd::new(""), hosts, port }
    }

    /// A site that asks these names, with more keys of `relay` and more sections. What is silent is so
    /// for two seconds.
    pub fn config(&self, relay: &str, more: &str) -> String {
        let (port, dns) = (self.port, self.dns.address());
        config(&format!(
            "[dns]\nservers = [\"{dns}\"]\ntimeout = \"1s\"\n\
             [timeout]\ncommand = \"2s\"\nfinal = \"2s\"\ndata = \"2s\"\nconnect = \"2s\"\n\
             [relay]\nnetworks = [\"127.0.0.0/8\"]\nport = {port}\n{relay}\n{more}"
        ))
    }

    /// Recipients of all mail that the host has taken, in order.
    pub fn taken(&self, host: usize) -> Vec<String> {
        self.hosts[host].mail().into_iter().flat_map(|mail| mail.to).collect()
    }
}

/// Of the host at this place.
pub fn ip(index: usize) -> String {
    format!("127.0.0.{}", index + 2)
}

/// One port at so many addresses from 127.0.0.2 on, at least one; kept from the moment it is found free.
pub fn listeners(hosts: usize) -> Vec<TcpListener> {
    loop {
        let first = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (1..hosts).map(|index| TcpListener::bind((&*ip(index), port)));
        if let Ok(all) = std::iter::once(Ok(first)).chain(others).collect() {
            return all;
        }
    }
}

/// Sends a message through the server, in a session of its own; gives its id.
pub fn send(server: &Binary, from: &str, to: &[&str], message: &str) -> String {
    let mut client = server.client();
    client.expect(&format!("MAIL FROM:<{from}>"), "250");
    for to in to {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(format!("{}\r\n.\r\n", message.replace('\n', "\r\n")).as_bytes());
    let reply = client.reply();
    let id = reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}"));
    id.to_owned()
}

/// The same for a small message from ann@mx.test.
pub fn post(server: &Binary, to: &[&str]) -> String {
    send(server, "ann@mx.test", to, "Subject: hi\n\nhello")
}

/// The queue files as they lie there.
pub fn queue(place: &Place) -> Vec<String> {
    let read = |path: &PathBuf| std::fs::read(path).map(|octets| text(&octets)).ok();
    files(&place.at("spool/queue")).iter().filter_map(read).collect()
}

pub fn until_empty(place: &Place) {
    until("the queue is empty", || files(&place.at("spool/queue")).is_empty());
}

/// What `facteur queue list --json` says.
pub fn listed(place: &Place) -> Vec<serde_json::Value> {
    let (status, out, err) = run(place, &["queue", "list", "--json"]);
    assert_eq!((status, &*err), (0, ""), "{out}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All mail of a user of mx.test, once so many have come.
pub fn mail(place: &Place, user: &str, count: usize) -> Vec<String> {
    until(&format!("{count} messages for {user}"), || place.mail(user).len() >= count);
    let mail: Vec<String> = place.mail(user).iter().map(|octets| text(octets)).collect();
    assert_eq!(mail.len(), count, "{mail:#?}");
    mail
}

/// How many log lines hold all these texts.
pub fn count(server: &Binary, texts: &[&str]) -> usize {
    let lines = server.lines();
    lines.iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
}

/// Waits until so many log lines hold all these texts.
pub fn wait_for_count(server: &Binary, texts: &[&str], wanted: usize) {
    let in_time = crate::support::within(PATIENCE, || count(server, texts) >= wanted);
    assert!(in_time, "not {wanted} times {texts:?} in {:#?}", server.lines());
}
