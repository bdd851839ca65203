//! Mail that does not arrive, and logins that fail: the page's commands say where it lies.

use super::{Machine, by_heading};
use crate::client::Client;
use crate::dnsd::Dnsd;
use crate::hosts::Host;
use crate::outside::installed;
use crate::secrecy::{Pair, authority, client};
use crate::servers::{Binary, value};
use crate::tls::address;

/// A server of example.org, with a message that waits, one in the mailbox, one in the junk, and one refused.
struct Trouble {
    machine: Machine,
    server: Binary,
    host: Host,
    dns: Dnsd,
    /// The message that waits.
    id: String,
}

impl Trouble {
    fn new() -> Trouble {
        let mut machine = Machine::new();
        let (host, dns) = (Host::start("RCPT: 450 4.2.0 later"), Dnsd::new(""));
        let pair = Pair::of(&["mx.example.org", "mx.test"]);
        machine.place.write("etc/facteur/mx.pem", &pair.certificate);
        machine.place.write("etc/facteur/mx.key", &pair.key);
        let trusted = machine.place.write("authority.pem", authority());
        machine.environment.push(("SSL_CERT_FILE".to_owned(), trusted.display().to_string()));
        let config = format!(
            "hostname = \"mx.example.org\"\nspool = \"../../var/spool/facteur\"\n\
             [listen]\nsmtp = [\"127.0.0.1:0\"]\nsubmissions = [\"127.0.0.1:0\"]\n\
             [tls]\ncertificate = \"mx.pem\"\nkey = \"mx.key\"\n\
             [domain.\"example.org\"]\nmaildir = \"../../var/vmail/{{domain}}/{{user}}\"\n\
             users = \"example.org.users\"\ndkim = \"keys/example.org\"\n\
             [dns]\nservers = [\"{}\"]\n[trust]\ngateways = []\n\
             [relay]\nretry = [\"1h\"]\n[relay.route]\n\"example.net\" = \"{}\"\n",
            dns.address(),
            host.address
        );
        machine.place.write("etc/facteur/facteur.toml", config);
        machine.place.write("etc/facteur/example.org.users", "ann:{PLAIN}secret:::::\nbob:\n");
        machine.run("facteur dkim new example.org", &[]).good();
        let server = machine.serve();

        let mut own = Client::connect_tls(address(&server, "submissions"), &client());
        own.reply();
        own.expect("EHLO client.test", "250");
        own.expect("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==", "535 5.7.8 ");
        own.expect("AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZWNyZXQ=", "235 ");
        own.expect("MAIL FROM:<ann@example.org>", "250 ");
        own.expect("RCPT TO:<bob@example.net>", "250 ");
        own.expect("DATA", "354 ");
        own.send(b"From: ann@example.org\r\nSubject: hi\r\n\r\nHello.\r\n.\r\n");
        assert!(own.reply().starts_with("250 "));
        let line = server.wait_for(&["deferred ", "to=bob@example.net"]);
        let id = value(&line, "id").unwrap();

        let mut stranger = server.client();
        stranger.expect("MAIL FROM:<zoe@example.com>", "250 ");
        stranger.expect("RCPT TO:<ann@example.org>", "250 ");
        stranger.expect("RCPT TO:<nobody@example.org>", "550 5.1.1 ");
        stranger.expect("DATA", "354 ");
        stranger.send(b"From: zoe@example.com\r\nSubject: hello\r\n\r\nHello.\r\n.\r\n");
        assert!(stranger.reply().starts_with("250 "));
        // No author: that counts as a policy of quarantine.
        stranger.expect("MAIL FROM:<zoe@example.com>", "250 ");
        stranger.expect("RCPT TO:<ann@example.org>", "250 ");
        stranger.expect("DATA", "354 ");
        stranger.send(b"Subject: of nobody\r\n\r\nHello.\r\n.\r\n");
        assert!(stranger.reply().starts_with("250 "));
        Trouble { machine, server, host, dns, id }
    }

    /// What each line of the page says, and its status.
    fn run(&self, lines: &[String]) -> Vec<(i32, String)> {
        let tls = address(&self.server, "submissions").to_string();
        let words = [("ID", self.id.as_str()), ("mx.example.org:465", &tls)];
        lines
            .iter()
            .map(|line| {
                let ran = self.machine.run(line, &words);
                (ran.status, ran.said)
            })
            .collect()
    }
}

#[test]
fn the_commands_of_the_page_tell_where_it_lies() {
    if !installed(&["openssl", "journalctl"]) {
        return;
    }
    let [mine, theirs, logins, loud] = by_heading(
        "trouble.md",
        [
            "My mail does not arrive",
            "Their mail does not arrive here",
            "Nobody can log in",
            "All that is loud",
        ],
    );
    let trouble = Trouble::new();
    assert_eq!(mine.len(), 10);
    let message = "Received: from mx.example.org\nFrom: ann@example.org\nSubject: hi\n\nHello.\n";
    trouble.machine.place.write("etc/facteur/message.eml", message);
    let said = trouble.run(&mine);
    let words = [
        trouble.id.as_str(),
        "450 4.2.0 later",
        "bob@example.net",
        "later",
        "bob@example.net",
        "missing",
        "waiting",
        "spf=none",
        "warning: ",
        "",
    ];
    // DNS shows none of our records: that is what `dns` fails for.
    let statuses = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    for (at, (status, said)) in said.iter().enumerate() {
        assert_eq!(*status, statuses[at], "{}: {said}", mine[at]);
        assert!(said.contains(words[at]), "{}: {said}", mine[at]);
    }
    assert!(said[2].1.contains(&trouble.id), "{}", said[2].1);

    let said = trouble.run(&theirs);
    let words = ["550 5.1.1 ", "ann@example.org", "hello", "of nobody", "disk "];
    for (at, (status, said)) in said.iter().enumerate() {
        assert_eq!(*status, 0, "{}: {said}", theirs[at]);
        assert!(said.contains(words[at]), "{}: {said}", theirs[at]);
    }
    assert!(!said[2].1.contains("of nobody"), "{}", said[2].1);

    let said = trouble.run(&logins);
    assert_eq!(said[0], (0, "ann@example.org  PLAIN\nbob@example.org  -\n".to_owned()));
    assert!(said[1].0 == 0 && said[1].1.contains("Verify return code: 0 (ok)"), "{}", said[1].1);
    // What the journal would be asked for is what our log says; without a journal it has nothing.
    let (_, pattern) = logins[2].split_once("--grep '").unwrap();
    let pattern = regex(pattern.trim_end_matches('\''));
    let lines = trouble.server.lines();
    let found: Vec<&String> = lines.iter().filter(|line| pattern(line)).collect();
    assert!(found.len() == 1 && found[0].contains("user=ann@example.org"), "{lines:#?}");
    for (status, said) in [&said[2], &trouble.run(&loud)[0]] {
        assert!(matches!(status, 0 | 1) && !said.contains("option"), "{said}");
    }
    assert!(trouble.host.count("RCPT") >= 1 && !trouble.dns.log().is_empty());
    trouble.server.stop();
}

/// Words with anything between them, as the page asks the journal for.
fn regex(pattern: &str) -> impl Fn(&str) -> bool {
    let parts: Vec<String> = pattern.split(".*").map(str::to_owned).collect();
    move |line| {
        let mut rest = line;
        parts.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    }
}
