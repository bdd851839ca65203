//! Connections of a balancer (`listen.proxy`): the client that its PROXY header names is the one that counts and
//! shows, by lines of our own and by a real haproxy.

use crate::client::Client;
use crate::commands::run;
use crate::daemons::{Daemon, free_port, own_ip};
use crate::dnsd::Dnsd;
use crate::outside::{installed, program};
use crate::secrecy::{self, Pair};
use crate::servers::{Binary, value};
use crate::support::{PATIENCE, Place, config, text, until};
use crate::tls::{address, site};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Instant;

/// The tests' own connections are those of a balancer.
fn behind(config: &str) -> String {
    config.replacen("[domain", "proxy = [\"127.0.0.1/32\"]\n[domain", 1)
}

fn serve(place: &Place, more: &str) -> Binary {
    Binary::serve(place, &behind(&config(more)))
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 25\r\n";

/// Version 2, for a client.
fn v2(client: &str) -> Vec<u8> {
    let client: Ipv6Addr = client.parse().unwrap();
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x29".to_vec();
    header.extend(client.octets());
    header.extend([0; 16]);
    header.extend([0xdc, 4, 0, 25]);
    // A piece of what some balancers add.
    header.extend([0x04, 0, 2, 1, 2]);
    header
}

/// A connection after that header, before the banner.
fn headed(address: SocketAddr, header: &[u8]) -> Client {
    let mut client = Client::connect(address);
    client.send(header);
    client
}

/// The same up to the reply to EHLO.
fn greeted(address: SocketAddr, header: &[u8]) -> Client {
    let mut client = headed(address, header);
    let banner = client.reply();
    assert!(banner.starts_with("220 "), "{banner:?}");
    client.expect("EHLO client.test", "250");
    client
}

const MAIL: &[u8] = b"From: ann@client.test\r\nSubject: x\r\n\r\nHello.\r\n";

#[test]
fn the_client_that_is_named_shows() {
    let place = Place::new();
    let dns = Dnsd::new("client.test TXT v=spf1 ip4:192.0.2.7 -all\n");
    let mut told = Vec::new();
    let server = serve(&place, &format!("[dns]\nservers = [\"{}\"]", dns.address()));
    for (header, shown) in [
        (V1.to_vec(), "192.0.2.7"),
        (v2("2001:db8::7"), "2001:db8::7"),
        (v2("::ffff:192.0.2.7"), "192.0.2.7"),
        // These speak for themselves; they come by a gateway, of whose mail nothing is found out.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        let id = greeted(server.address, &header).delivered(&["ann@mx.test"], MAIL);
        let accepted = server.wait_for(&["accepted ", &id]);
        assert_eq!(value(&accepted, "client").as_deref(), Some(shown));
        let session = value(&accepted, "session").unwrap();
        let connected = server.wait_for(&["connected ", &session]);
        assert_eq!(value(&connected, "client").as_deref(), Some(shown));
        let mail = place.mail("ann");
        let is_it = |mail: &&Vec<u8>| text(mail).contains(&id);
        let mail = text(mail.iter().find(is_it).unwrap());
        let literal = if shown.contains(':') { format!("IPv6:{shown}") } else { shown.to_owned() };
        assert!(mail.contains(&format!("[{literal}]")), "{shown}: {mail}");
        assert_eq!(mail.contains("spf=pass"), shown == "192.0.2.7", "{mail}");
        assert_eq!(mail.contains("spf=fail"), shown == "2001:db8::7", "{mail}");
        told.push((id, shown));
    }
    server.stop();
    for (id, shown) in told {
        let (_, story, _) = run(&place, &["trace", &id]);
        assert!(story.contains(&format!("client={shown} ")), "{story}");
    }
}

/// One octet after the other, and what follows at once belongs to the session.
#[test]
fn a_header_in_any_pieces() {
    let place = Place::new();
    let server = serve(&place, "");
    for header in [V1.to_vec(), v2("2001:db8::7")] {
        let mut client = Client::connect(server.address);
        header.iter().for_each(|octet| client.send(&[*octet]));
        assert!(client.reply().starts_with("220 "));
        client.expect("NOOP", "250");
        // An early command is one that came before our banner, and no part of the header.
        let mut client = headed(server.address, &[&header[..], b"EHLO early\r\n"].concat());
        client.expect_last("421 4.7.0 you spoke before the greeting");
    }
    server.stop();
}

#[test]
fn what_is_missing_or_broken_is_closed_and_told() {
    let place = Place::new();
    let server = serve(&place, "");
    for (sent, why) in [
        (&b"EHLO client.test\r\n"[..], "does not begin with a PROXY header"),
        (b"PROXY TCP4 192.0.2.7 127.0.0.1 1 x\r\n", "the PROXY header is broken: a port"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "the PROXY header is too long"),
    ] {
        let mut client = headed(server.address, sent);
        assert_eq!(client.reply(), "", "{}", sent.escape_ascii());
        assert!(client.is_over());
        server.wait_for(&["disconnected ", why]);
    }
    let mut client = headed(server.address, &V1[..20]);
    client.hang_up();
    assert_eq!(client.reply(), "");
    server.wait_for(&["disconnected ", "closed before a whole PROXY header"]);
    // Silence holds up nobody else, and ends.
    let began = Instant::now();
    let mut silent: Vec<Client> = (0..10).map(|_| Client::connect(server.address)).collect();
    silent[0].send(&V1[..20]);
    greeted(server.address, V1).expect("QUIT", "221");
    assert!(began.elapsed().as_secs() < 5);
    silent.iter_mut().for_each(|client| assert_eq!(client.reply(), ""));
    assert!(began.elapsed().as_secs() >= 4 && began.elapsed() < PATIENCE);
    server.wait_for(&["disconnected ", "no PROXY header came in 5s"]);
    let is_own =
        |line: &&String| line.starts_with("connected ") && line.contains("client=127.0.0.1");
    // Who is behind them is not known.
    until("all are told", || server.lines().iter().filter(is_own).count() == 14);
    // A stop waits for none of them.
    let waiting = Client::connect(server.address);
    server.stop();
    drop(waiting);
}

#[test]
fn the_client_that_is_named_counts() {
    let place = Place::new();
    let more = "[limit]\nsessions_per_client = 2\n[relay]\nnetworks = [\"192.0.2.7/32\", \"127.0.0.0/8\"]\n\
                [relay.route]\n\"far.test\" = \"127.0.0.1:1\"";
    let server = serve(&place, more);
    let other = b"PROXY TCP4 198.51.100.1 127.0.0.1 56324 25\r\n";
    // More than two connections of the balancer, two of each client.
    let mut mine = [(); 2].map(|()| greeted(server.address, V1));
    let mut others = [(); 2].map(|()| greeted(server.address, other));
    headed(server.address, V1).expect_last("421 4.7.0 ");
    headed(server.address, other).expect_last("421 4.7.0 ");
    server.wait_for(&["rejected ", "client=198.51.100.1", "421 4.7.0"]);
    // It is the client who may relay, not its balancer.
    mine[0].expect("MAIL FROM:<ann@mx.test>", "250");
    mine[0].expect("RCPT TO:<bob@far.test>", "250");
    others[0].expect("MAIL FROM:<ann@mx.test>", "250");
    others[0].expect("RCPT TO:<bob@far.test>", "550 5.7.1 ");
    drop((mine, others));
    until("their places are free", || headed(server.address, V1).reply().starts_with("220 "));
    server.stop();
}

/// Whoever guesses by a balancer waits, and nobody else behind it.
#[test]
fn wrong_passwords_are_those_of_the_client() {
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    place.write("users", "ann:{PLAIN}pencil:::::\n");
    let config = site("").replacen("any_user = true", "users = \"users\"", 1);
    let server = Binary::serve(&place, &behind(&config));
    let submission = address(&server, "submission");
    let secured = |header: &[u8]| {
        let mut client = greeted(submission, header);
        client.start_tls(&secrecy::client());
        client
    };
    let log_in = |client: &mut Client, password: &str| {
        let words = facteur::smtp::auth::encode(format!("\0ann@mx.test\0{password}").as_bytes());
        let began = Instant::now();
        let reply = client.ask(&format!("AUTH PLAIN {words}"));
        (reply, began.elapsed())
    };
    for _ in 0..2 {
        let mut guesser = secured(V1);
        for _ in 0..2 {
            assert!(log_in(&mut guesser, "wrong").0.starts_with("535 "));
        }
    }
    let other = b"PROXY TCP4 198.51.100.1 127.0.0.1 56324 25\r\n";
    let (reply, _) = log_in(&mut secured(other), "pencil");
    assert!(reply.starts_with("235 "), "{reply}");
    // The fifth answer is two seconds late.
    let (reply, took) = log_in(&mut secured(V1), "wrong");
    assert!(reply.starts_with("535 ") && took.as_millis() >= 1_900, "{reply} {took:?}");
    let (reply, took) = log_in(&mut secured(other), "wrong");
    assert!(reply.starts_with("535 ") && took.as_millis() < 1_900, "{reply} {took:?}");
    server.stop();
}

#[test]
fn others_have_no_header() {
    let place = Place::new();
    // The tests come from an address beside the balancer's.
    let config = config("").replacen("[domain", "proxy = [\"127.0.0.2/32\"]\n[domain", 1);
    let server = Binary::serve(&place, &config);
    let mut client = server.client();
    client.expect("PROXY TCP4 192.0.2.7 127.0.0.1 56324 25", "500 5.5.");
    client.expect("NOOP", "250");
    server.stop();
    assert!(!server_lines_name(&place, "192.0.2.7"));
}

/// Whether a story names it as a client.
fn server_lines_name(place: &Place, client: &str) -> bool {
    let (_, told, _) = run(place, &["trace", client]);
    told.contains(&format!("client={client}"))
}

#[test]
fn check_names_them() {
    let place = Place::new();
    let config = config("").replacen("[domain", "proxy = [\"192.0.2.9\", \"::/0\"]\n[domain", 1);
    place.write("facteur.toml", config);
    let (status, out, err) = run(&place, &["check"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("listen proxy 192.0.2.9/32"), "{out}");
    let warning = "listen.proxy: whoever is in ::/0 may say that he is any client";
    assert!(err.contains(warning) && !err.contains("192.0.2.9"), "{err}");
}

#[test]
fn the_header_comes_before_tls() {
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    let server = Binary::serve(&place, &behind(&site("")));
    let mut client = headed(address(&server, "submissions"), V1);
    client.secure(&secrecy::client());
    assert!(client.reply().starts_with("220 "));
    client.expect("EHLO client.test", "250");
    server.wait_for(&["connected ", "client=192.0.2.7", "service=submissions"]);
    let mut client = greeted(address(&server, "submission"), V1);
    client.start_tls(&secrecy::client());
    // A handshake in place of the header is none.
    let mut client = Client::connect(address(&server, "submissions"));
    client.send(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    assert_eq!(client.reply(), "");
    server.stop();
}

/// A real balancer, by both versions, for all services, with its health checks.
#[test]
fn a_real_haproxy() {
    if !installed(&["haproxy"]) {
        return;
    }
    let place = Place::new();
    Pair::of(&["mx.test"]).write(&place);
    let server = Binary::serve(&place, &behind(&site("")));
    let ip = own_ip();
    let (mut lines, mut ports) = (String::new(), Vec::new());
    let ways = ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"];
    for service in ["smtp", "submission", "submissions"] {
        for way in ways {
            let port = free_port(ip);
            let to = address(&server, service);
            lines += &format!("listen {service}-{way}\n bind {ip}:{port}\n server mx {to} {way}\n");
            ports.push((service, port));
        }
    }
    let to = address(&server, "smtp");
    let port = free_port(ip);
    lines += &format!(
        "listen checked\n bind {ip}:{port}\n option smtpchk EHLO balancer.test\n \
         server mx {to} send-proxy-v2 check-send-proxy check inter 100\n"
    );
    let file = place.write(
        "haproxy.cfg",
        format!("defaults\n mode tcp\n timeout connect 10s\n timeout client 1m\n timeout server 1m\n{lines}"),
    );
    let mut command: Command = program(&place, "haproxy");
    command.args(["-db", "-f"]).arg(file);
    // Which of its listeners is waited for makes no difference.
    let haproxy = Daemon::start(&place, "haproxy", command, (ip, port).into());
    for (index, (service, port)) in ports.into_iter().enumerate() {
        // Each from an address of its own, which haproxy sees and nobody else.
        let own = std::net::Ipv4Addr::new(127, 77, 0, 1 + index as u8);
        let stream = from(own, (ip, port).into());
        let mut client = Client::of(stream);
        if service == "submissions" {
            client.secure(&secrecy::client());
        }
        let banner = client.reply();
        assert!(banner.starts_with("220 "), "{service} {own}: {banner:?} {}", haproxy.said());
        client.expect("EHLO client.test", "250");
        let own = format!("client={own} ");
        server.wait_for(&["connected ", &own, &format!("service={service}")]);
        if service == "smtp" {
            client.delivered(&["ann@mx.test"], MAIL);
        }
    }
    assert_eq!(place.mail("ann").len(), ways.len());
    // A check is nobody's connection but its own.
    let check = format!("client={} ", to.ip());
    server.wait_for(&["connected ", &check, "service=smtp"]);
    drop(haproxy);
    server.stop();
}

/// A connection from an address of this machine.
fn from(own: std::net::Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((own, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}
