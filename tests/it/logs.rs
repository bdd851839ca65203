//! The log of the real binary: which lines, with which keys, and that no peer can forge one.

use crate::client::{Client, stuffed};
use crate::servers::{Binary, FACTEUR, value};
use crate::support::{PATIENCE, Place, config, skip, text, until};
use facteur::limits::TURNED_AWAY_TOLD;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

/// One line, read by the rules of the contract.
#[derive(Debug)]
struct Line {
    event: String,
    pairs: Vec<(String, String)>,
}

impl Line {
    /// Panics where the line is not `event key=value ...`.
    fn parse(line: &str) -> Line {
        let (event, mut rest) = line.split_once(' ').unwrap_or((line, ""));
        assert!(event.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{line:?}");
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let (key, value) = rest.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
            assert!(key.chars().all(|c| c.is_ascii_lowercase()) && !key.is_empty(), "{line:?}");
            let (value, length) = Line::value(value).unwrap_or_else(|| panic!("{line:?}"));
            pairs.push((key.to_owned(), value));
            rest = &rest[key.len() + 1 + length..];
            rest = match rest.strip_prefix(' ') {
                None if rest.is_empty() => rest,
                more => more.unwrap_or_else(|| panic!("{line:?}")),
            };
        }
        Line { event: event.to_owned(), pairs }
    }

    /// A value at the start of a text, and how long it stands there.
    fn value(text: &str) -> Option<(String, usize)> {
        let Some(quoted) = text.strip_prefix('"') else {
            let word = text.split(' ').next()?;
            return (!word.is_empty() && !word.contains('"'))
                .then(|| (word.to_owned(), word.len()));
        };
        let (mut value, mut letters) = (String::new(), quoted.char_indices());
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => return Some((value, at + 2)),
                '\\' => match letters.next()?.1 {
                    sign @ ('"' | '\\') => value.push(sign),
                    sign => value.extend(['\\', sign]), // \u{202e}
                },
                letter => value.push(letter),
            }
        }
        None
    }

    fn keys(&self) -> Vec<&str> {
        self.pairs.iter().map(|(key, _)| key.as_str()).collect()
    }

    fn get(&self, key: &str) -> &str {
        let pair = self.pairs.iter().find(|(name, _)| name == key);
        &pair.unwrap_or_else(|| panic!("no {key} in {self:?}")).1
    }
}

/// Stops a server; gives its whole log, each line read and free of what acts on a terminal.
fn log(mut server: Binary) -> Vec<Line> {
    server.signal("TERM");
    server.wait_end(PATIENCE);
    let lines = server.lines();
    for line in &lines {
        let acts = |c: char| {
            c.is_control()
                || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                    | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        assert!(!line.contains(acts), "{line:?}");
    }
    lines.iter().map(|line| Line::parse(line)).collect()
}

fn all<'a>(log: &'a [Line], event: &str) -> Vec<&'a Line> {
    log.iter().filter(|line| line.event == event).collect()
}

#[test]
fn the_lines_of_a_session_and_its_messages() {
    let place = Place::new();
    let server = Binary::serve(&place, &config(""));
    let mut client = server.client();
    let refused = client.expect("RCPT TO:<ann@mx.test>", "503 5.5.1 ");
    client.expect("MAIL FROM:<A@Client.test>", "250 ");
    let unknown = client.expect("RCPT TO:<x@elsewhere.test>", "550 5.7.1 ");
    client.expect("RSET", "250 ");
    let id = client.delivered(&["ann@mx.test", "bob@mx.test", "ann+tag@mx.test"], MAIL);
    client.expect("QUIT", "221 ");
    drop(client);
    drop(server.client());
    // Or it would be told 421 by a server that stops, which is a refusal more.
    server.wait_for(&["disconnected", "closed by the client"]);
    let log = log(server);

    let connected = all(&log, "connected");
    assert_eq!(connected.len(), 2);
    assert_eq!(connected[0].keys(), ["session", "client", "service", "time"]);
    let session = connected[0].get("session");
    assert_eq!((connected[0].get("client"), connected[0].get("service")), ("127.0.0.1", "smtp"));

    let rejected = all(&log, "rejected");
    assert_eq!(rejected.len(), 2);
    assert_eq!(rejected[0].keys(), ["session", "client", "command", "reply", "time"]);
    assert_eq!(rejected[0].get("command"), "RCPT TO:<ann@mx.test>");
    assert_eq!((rejected[0].get("reply"), rejected[0].get("session")), (&*refused, session));
    assert_eq!((rejected[1].get("reply"), rejected[1].get("session")), (&*unknown, session));
    assert!(unknown.ends_with(&format!(" [{session}]")), "{unknown}");

    let accepted = all(&log, "accepted");
    assert_eq!(accepted.len(), 1);
    for (key, value) in [
        ("id", id.as_str()),
        ("client", "127.0.0.1"),
        ("from", "sender@client.test"),
        ("size", "19"),
        ("recipients", "3"),
    ] {
        assert_eq!(accepted[0].get(key), value, "{key}");
    }
    let delivered = all(&log, "delivered");
    assert_eq!(delivered.len(), 2);
    for (line, user) in delivered.iter().zip(["ann", "bob"]) {
        assert_eq!(line.get("id"), id);
        assert_eq!(line.get("to"), format!("{user}@mx.test"));
        assert_eq!(line.get("maildir"), place.maildir(user).to_str().unwrap());
    }
    let disconnected = all(&log, "disconnected");
    assert_eq!(disconnected.len(), 2);
    assert_eq!(disconnected[0].keys(), ["session", "reason", "time"]);
    let order = ["listening", "connected", "accepted", "delivered", "disconnected", "stopped"];
    let at = |event| log.iter().position(|line| line.event == event).unwrap();
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{log:#?}");
}

/// What a peer may say to look like a line of ours.
const FORGERIES: [&[u8]; 14] = [
    b"NOOP\" session=forged",
    b"EHLO a\" id=forged \"",
    b"EHLO a\\",
    b"EHLO a\\\" id=forged",
    b"X\raccepted id=forged client=192.0.2.1",
    b"X\naccepted id=forged client=192.0.2.1",
    b"\x1b[2J\x1b]0;forged\x07",
    b"X \xe2\x80\xae\xe2\x80\x8f\xe2\x81\xa6 turned",
    b"X \xe2\x80\xa8accepted id=forged \xe2\x80\xa9 \xc2\x85accepted id=forged",
    b"X \xff\xfe\x80\x9b31m",
    b"X \0\x7f\x0b\x0c accepted id=forged",
    b"RCPT TO:<\"a\\\" to=forged\"@mx.test>",
    b"MAIL FROM:<a b=c@d> id=forged",
    b"\xef\xbb\xbfaccepted id=forged",
];

#[test]
fn no_peer_forges_a_line() {
    let place = Place::new();
    let server = Binary::serve(&place, &config("[limit]\nerrors = 1000"));
    let mut client = server.client();
    for forgery in FORGERIES {
        client.send(&[forgery, b"\r\n"].concat());
        let reply = client.reply();
        assert!(!reply.is_empty() && reply.is_ascii(), "{reply:?}");
    }
    client.expect("RSET", "250 ");
    // In what is accepted, too: quotes and backslashes may stand in an address.
    client.expect("EHLO client.test", "250");
    client.expect("MAIL FROM:<\"a\\\" id=forged \\\\\"@client.test>", "250 ");
    client.expect("RCPT TO:<\"b\\\" to=forged\"@mx.test>", "250 ");
    client.expect("DATA", "354 ");
    client.send(&stuffed(b"Subject: x\r\n\r\naccepted id=forged\r\n"));
    let reply = client.reply();
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    drop(client);
    let log = log(server);
    let known = [
        "listening",
        "started",
        "warning",
        "connected",
        "rejected",
        "accepted",
        "delivered",
        "disconnected",
        "stopping",
        "stopped",
    ];
    for line in &log {
        assert!(known.contains(&line.event.as_str()), "{line:?}");
        assert!(line.pairs.iter().all(|(key, value)| {
            let names = matches!(key.as_str(), "id" | "session");
            !names || !value.contains("forged")
        }));
        let mut keys = line.keys();
        keys.dedup();
        assert_eq!(keys.len(), line.pairs.len(), "{line:?}");
    }
    assert_eq!((all(&log, "accepted").len(), all(&log, "delivered").len()), (1, 1));
    assert_eq!(all(&log, "accepted")[0].get("from"), "\"a\\\" id=forged \\\\\"@client.test");
    assert!(all(&log, "rejected").len() >= 10);
}

#[test]
fn each_refusal_of_a_client_is_told() {
    let place = Place::new();
    let server = Binary::serve(&place, &config("[limit]\nsessions_per_client = 1"));
    let client = server.client();
    Client::connect(server.address).expect_last("421 4.7.0 ");
    server.wait_for(&["rejected session=", "421 4.7.0"]);
    drop(client);
    // Else the stop would find it, and say 421 to it as well.
    server.wait_for(&["disconnected ", "closed by the client"]);
    let log = log(server);
    assert_eq!(all(&log, "rejected").len(), 1);
    // Who was turned away has its own session, which the reply names and the log tells whose it was.
    assert_eq!((all(&log, "connected").len(), all(&log, "disconnected").len()), (2, 2));
}

/// What came over an IPv6 socket from an IPv4 address is an IPv4 client, everywhere.
#[test]
fn an_ipv4_client_of_an_ipv6_socket() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return skip("there is no IPv6 here");
    }
    let place = Place::new();
    let mut server = Binary::serve(&place, &config("").replace("127.0.0.1:0", "[::]:0"));
    let port = server.address.port();
    for (address, literal) in [("127.0.0.1", "[127.0.0.1]"), ("::1", "[IPv6:::1]")] {
        server.address = (address.parse::<std::net::IpAddr>().unwrap(), port).into();
        server.client().delivered(&["ann@mx.test"], MAIL);
        server.wait_for(&["connected session=", &format!(" client={address} ")]);
        let received = format!("\nReceived: from client.test ({literal})\n");
        let mail = place.mail("ann");
        assert!(mail.iter().any(|mail| text(mail).contains(&received)), "{received}");
    }
    server.stop();
}

/// A client that takes this for a submission port shows its password to nobody but us.
#[test]
fn no_password_is_told() {
    for auth in ["AUTH LOGIN", "auth login", "Auth\tLOGIN"] {
        let place = Place::new();
        let server = Binary::serve(&place, &config(""));
        let mut client = server.client();
        client.expect(&format!("{auth} bWFyaWU="), "5");
        client.expect("c2VjcmV0", "500 ");
        client.expect("NOOP", "250 ");
        client.expect("QUIT", "221 ");
        server.wait_for(&["disconnected"]);
        let log = server.lines().join("\n");
        assert!(!log.contains("bWFyaWU=") && !log.contains("c2VjcmV0"), "{log}");
        server.stop();
    }
}

/// A server whose log is a pipe, read as far as the line that tells where it listens.
struct Piped {
    child: Child,
    log: BufReader<ChildStderr>,
    address: SocketAddr,
    /// Up to that line, and with it.
    first: Vec<String>,
}

impl Piped {
    fn serve(place: &Place, config: &str, change: impl FnOnce(&mut Command)) -> Piped {
        let file = place.write("facteur.toml", config);
        let mut command = Command::new(FACTEUR);
        command.arg("-c").arg(file).arg("serve").env_remove("RUST_LOG");
        command.env_remove("JOURNAL_STREAM").stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = Vec::new();
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "{first:?}");
            let address = value(line.trim_end(), "address");
            first.push(line);
            if let Some(address) = address {
                break address.parse().unwrap();
            }
        };
        Piped { child, log, address, first }
    }

    fn terminate(&mut self) {
        let command = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mail_and_shutdown_wait_for_no_reader() {
    let place = Place::new();
    let mut server = Piped::serve(&place, &config("[limit]\nerrors = 100000"), |_| {});
    let mut client = Client::greeted(server.address);
    // More than the pipe and the server's own room take, of which nothing is read.
    let noise = [&b"NONSENSE "[..], &[b'x'; 300], b"\r\n"].concat();
    for _ in 0..1500 {
        client.send(&noise);
        assert!(client.reply().starts_with("500 "));
    }
    let began = Instant::now();
    (0..20).for_each(|_| drop(client.delivered(&["ann@mx.test"], MAIL)));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    client.expect("QUIT", "221 ");
    server.terminate();
    let mut ended = None;
    until("the server ends", || {
        ended = server.child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));
    assert_eq!(place.mail("ann").len(), 20);
    // What the pipe had taken are whole lines from the beginning on.
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).unwrap();
    assert!(rest.starts_with("started ") || rest.starts_with("connected "), "{rest:.200}");
}

#[test]
fn under_systemd_each_line_has_its_priority_and_no_time() {
    let place = Place::new();
    place.write("users", "ann:{PLAIN}x:::::\nno user at all\n");
    let config = config("").replace("any_user = true", "users = \"users\"");
    let mut server = Piped::serve(&place, &config, |it| {
        it.env("JOURNAL_STREAM", "8:1");
    });
    server.terminate();
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).unwrap();
    let lines = server.first.iter().map(|line| line.trim_end()).chain(rest.lines());
    let mut warnings = 0;
    for line in lines {
        let is_warning = line.starts_with("<4>warning ");
        assert!(is_warning || line.starts_with("<6>"), "{line}");
        assert!(!line.contains(" time="), "{line}");
        warnings += usize::from(is_warning && line.contains("users:2: "));
    }
    assert_eq!((warnings, rest.lines().last()), (1, Some("<6>stopped")));
}

/// What ends it is an error in the journal, so that `journalctl -p err` shows why there is no server.
#[test]
fn under_systemd_the_reason_why_it_does_not_start_is_an_error() {
    let place = Place::new();
    place.write("facteur.toml", config("[limit]\nbogus = 1"));
    for (stream, start) in [(None, "facteur: "), (Some("8:1"), "<3>facteur: ")] {
        let mut command = Command::new(FACTEUR);
        command.arg("serve").current_dir(place.path()).env_remove("JOURNAL_STREAM");
        command.envs(stream.map(|stream| ("JOURNAL_STREAM", stream)));
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert!(said.starts_with(start) && said.contains("bogus"), "{said}");
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
    }
}

#[test]
fn a_crowd_that_is_turned_away_does_not_fill_the_log() {
    let place = Place::new();
    let server = Binary::serve(&place, &config("[limit]\nsessions_per_client = 1"));
    let client = server.client();
    for _ in 0..TURNED_AWAY_TOLD + 50 {
        Client::connect(server.address).expect_last("421 4.7.0 ");
    }
    drop(client);
    let log = log(server);
    for event in ["connected", "rejected", "disconnected"] {
        let told = all(&log, event).len() as u64;
        assert!((TURNED_AWAY_TOLD..TURNED_AWAY_TOLD + 5).contains(&told), "{told} {event}");
    }
}
