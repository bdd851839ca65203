//! What is kept comes back: the mail, the secrets and the keys by the copy of each night, the queue by a move.

use super::{Machine, by_heading};
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::outside::installed;
use crate::servers::value;
use crate::support::files;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The site that is kept. All its paths are relative, so that it is the same on another machine.
fn site(machine: &Machine, host: &Host, dns: &Dnsd) {
    let config = format!(
        "hostname = \"mx.example.org\"\nspool = \"../../var/spool/facteur\"\n\
         [listen]\nsmtp = [\"127.0.0.1:0\"]\n\
         [domain.\"example.org\"]\nmaildir = \"../../var/vmail/{{domain}}/{{user}}\"\n\
         users = \"example.org.users\"\ndkim = \"keys/example.org\"\n\
         [dns]\nservers = [\"{}\"]\n\
         [relay]\nnetworks = [\"127.0.0.0/8\"]\nretry = [\"1h\"]\n\
         [relay.route]\n\"example.net\" = \"{}\"\n",
        dns.address(),
        host.address
    );
    machine.place.write("etc/facteur/facteur.toml", config);
    machine.place.write("etc/facteur/example.org.users", "ann:{PLAIN}x:::::\n");
    machine.run("facteur dkim new example.org", &[]).good();
}

#[test]
fn what_is_kept_comes_back() {
    if !installed(&["rsync", "tar"]) {
        return;
    }
    let [each_night, onto_a_new, moved, came_back] = by_heading(
        "backup.md",
        [
            "Each night",
            "Onto a new machine",
            "Move the queue too",
            "A queue that came back from a copy or a snapshot",
        ],
    );
    let (old, new, third) = (Machine::new(), Machine::new(), Machine::new());
    let (host, dns) = (Host::start("RCPT: 450 4.2.0 later"), Dnsd::new(""));
    site(&old, &host, &dns);
    let server = old.serve();
    let mut client = server.client();
    client.delivered(&["ann@example.org"], b"Subject: kept\r\n\r\nHello.\r\n");
    client.delivered(&["bob@example.net"], b"Subject: waits\r\n\r\nHello.\r\n");
    let line = server.wait_for(&["deferred ", "to=bob@example.net"]);
    let id = value(&line, "id").unwrap();

    // While it serves.
    old.run(&each_night.join("\n"), &[]).good();
    let archive = old.at("/var/backups/facteur.tar.gz");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);

    // Onto a new one, where nothing else is.
    let copies = format!("{}/", old.at("/var/backups").display());
    new.run(&format!("rsync -a {copies} /var/backups/"), &[]).good();
    let statuses: Vec<(String, i32, String)> = onto_a_new
        .iter()
        .map(|line| new.run(line, &[]))
        .map(|ran| (ran.command, ran.status, ran.said))
        .collect();
    let (dns_told, others) = statuses.split_last().unwrap();
    assert!(others.iter().all(|(_, status, _)| *status == 0), "{others:#?}");
    assert!(dns_told.1 == 1 && dns_told.2.contains("MX   example.org"), "{dns_told:?}");
    let calls = fs::read_to_string(new.place.at("calls")).unwrap();
    assert_eq!(calls, "enable --now facteur.socket facteur.service\n");
    for name in ["srs.secret", "login.secret"] {
        let of = |machine: &Machine| fs::read(machine.at("/var/spool/facteur").join(name)).unwrap();
        assert_eq!(of(&old), of(&new), "{name}");
    }
    let keys = |machine: &Machine| {
        let all = files(&machine.at("/etc/facteur/keys/example.org")).into_iter();
        all.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
    };
    assert!(keys(&old) == keys(&new) && keys(&new).len() == 2);
    let there = new.serve();
    let listed = new.run("facteur mail list ann@example.org", &[]).good();
    assert!(listed.contains("kept"), "{listed}");
    assert_eq!(new.run("facteur queue list", &[]).good(), "");
    there.client().delivered(&["ann@example.org"], b"Subject: new\r\n\r\nHello.\r\n");
    there.stop();

    // Moved with its queue: the old one has stopped.
    server.stop();
    let to_third = format!("{}/", third.at("/var/spool/facteur").display());
    let words = [("new.example.org:/var/spool/facteur/", to_third.as_str())];
    for line in &moved[..2] {
        old.run(line, &words).good();
    }
    site(&third, &host, &dns);
    let listed = third.run(&moved[2], &[]).good();
    assert!(listed.contains(&id) && listed.contains("bob@example.net"), "{listed}");
    third.run(&moved[3], &[]).good();
    host.change("RCPT: 250 2.1.5 ok");
    // Octets that came before the host had said no to their recipient.
    let before = host.mail().len();
    let there = third.serve();
    third.run("facteur queue retry --all", &[]).good();
    there.wait_for(&["relayed ", &id, "to=bob@example.net"]);
    assert_eq!(host.mail().len(), before + 1);
    there.stop();

    // What the old one still has would be sent once more.
    let of_id = |line: &String| old.run(line, &[("ID", &id)]).good();
    let said: Vec<String> = came_back.iter().map(of_id).collect();
    assert!(said[0].contains(&id) && said[1].contains("450 4.2.0 later"), "{said:?}");
    assert_eq!(old.run("facteur queue list", &[]).good(), "");
    assert_eq!(host.mail().len(), before + 1);
}
