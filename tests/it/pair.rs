//! Two facteurs that relay to each other: what one takes for the other's users arrives octet for octet,
//! both ways, and what cannot arrive comes back to who sent it.

use crate::client::{Client, stuffed};
use crate::daemons::{Sink, below_received, free_port, own_ip};
use crate::nameservers::Names;
use crate::outside::{PYTHON, Parcel, installed};
use crate::secrecy::{Pair, TLS, authority};
use crate::servers::{Binary, FACTEUR};
use crate::support::{Dice, Place, files, text, until};
use std::net::SocketAddr;
use std::process::Command;

/// One of the two: the site of `a.test` or `b.test`.
struct Site {
    place: Place,
    server: Binary,
    name: &'static str,
}

impl Site {
    /// `more`: what stands behind the networks in `[relay]`.
    fn start(name: &'static str, address: SocketAddr, more: &str) -> Site {
        let place = Place::new();
        let server = Binary::serve(&place, &config(name, address, more));
        Site { place, server, name }
    }

    /// One with a certificate for its address, that believes the authority of the tests.
    fn with_tls(name: &'static str, address: SocketAddr, more: &str) -> Site {
        let place = Place::new();
        Pair::of(&[&address.ip().to_string()]).write(&place);
        let file = place.write("facteur.toml", config(name, address, &format!("{more}\n{TLS}")));
        let mut command = Command::new(FACTEUR);
        command.arg("-c").arg(file).arg("serve");
        command.env("SSL_CERT_FILE", place.write("authority.pem", authority()));
        Site { server: Binary::start(command), place, name }
    }

    fn mail(&self, user: &str) -> Vec<Vec<u8>> {
        let paths = files(&self.place.at("mail").join(user).join("new"));
        paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    /// The only message that this user ever gets.
    fn wait_for_mail(&self, user: &str) -> Vec<u8> {
        until(&format!("mail for {user}@{}", self.name), || !self.mail(user).is_empty());
        let [mail] = &self.mail(user)[..] else { panic!("not one message") };
        mail.clone()
    }

    fn is_idle(&self) -> bool {
        files(&self.place.at("spool/queue")).is_empty()
    }
}

/// Of one of them; `more` begins inside `[relay]`.
fn config(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "hostname = \"mx.{name}\"\nspool = \"spool\"\n[listen]\nsmtp = [\"{address}\"]\n\
         [domain.\"{name}\"]\nmaildir = \"mail/{{user}}\"\nany_user = true\n\
         [relay]\nnetworks = [\"127.0.0.0/8\"]\n{more}\n"
    )
}

/// The route to the other one.
fn route(domain: &str, address: SocketAddr) -> String {
    format!("[relay.route]\n\"{domain}\" = \"{address}\"")
}

/// Sends one message, with all that stands in MAIL and RCPT.
fn send(client: &mut Client, mail: &str, rcpt: &str, message: &[u8]) {
    client.expect(&format!("MAIL FROM:{mail}"), "250");
    client.expect(&format!("RCPT TO:{rcpt}"), "250");
    client.expect("DATA", "354");
    client.send(&stuffed(message));
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
}

/// What a message looks like where it has come to: our three fields, the Received of the first site,
/// and then all that was sent.
fn assert_same(arrived: &[u8], from: &str, to: &str, sent: &[u8]) {
    let fields = format!("Return-Path: <{from}>\nDelivered-To: {to}\n");
    let rest = arrived
        .strip_prefix(fields.as_bytes())
        .unwrap_or_else(|| panic!("no {fields} in {}", text(&arrived[..arrived.len().min(300)])));
    let sent = text(sent).replace("\r\n", "\n");
    assert!(text(below_received(rest, 2)) == sent, "not the same octets");
}

/// All octets but CR and LF, in lines of any length, with dots at their beginning.
fn eight_bit() -> Vec<u8> {
    let mut dice = Dice::new(5321);
    let mut message = b"From: <ann@a.test>\r\nSubject: 8bit\r\n\r\n".to_vec();
    for _ in 0..300 {
        message.extend([&b""[..], b".", b"..", b"."][dice.below(4)]);
        let line = (0..dice.below(900)).map(|_| dice.below(256) as u8);
        message.extend(line.filter(|octet| *octet != b'\r' && *octet != b'\n'));
        message.extend(b"\r\n");
    }
    message
}

/// A long attachment, octets of all kinds, addresses and a header in UTF-8: there and back.
fn exchange(a: &Site, b: &Site) {
    for (from, to, number) in [(a, b, 1), (b, a, 2)] {
        let (here, there) = (from.name, to.name);
        let parcel = Parcel::new(&from.place);
        let mut client = from.server.client();
        let ann = format!("ann@{here}");
        let user = |name: &str| format!("{name}{number}");
        let address = |name: &str| format!("{}@{there}", user(name));

        let bob = address("bob");
        let plain = parcel.with_crlf();
        send(&mut client, &format!("<{ann}> BODY=8BITMIME"), &format!("<{bob}>"), &plain);
        assert_same(&to.wait_for_mail(&user("bob")), &ann, &bob, &plain);

        let eve = address("eve");
        let octets = eight_bit();
        send(&mut client, &format!("<{ann}>"), &format!("<{eve}>"), &octets);
        let arrived = to.wait_for_mail(&user("eve"));
        let sent: Vec<u8> = octets.iter().copied().filter(|octet| *octet != b'\r').collect();
        assert!(arrived.ends_with(&sent), "not the same octets");

        let (jürgen, jörg) = (format!("jürgen@{here}"), address("jörg"));
        let utf8 = format!("From: <{jürgen}>\r\nTo: <{jörg}>\r\nSubject: grüße\r\n\r\nüber\r\n");
        let mail = format!("<{jürgen}> BODY=8BITMIME SMTPUTF8");
        send(&mut client, &mail, &format!("<{jörg}>"), utf8.as_bytes());
        let arrived = to.wait_for_mail(&user("jörg"));
        assert_same(&arrived, &jürgen, &jörg, utf8.as_bytes());
        assert!(text(&arrived).contains(" with UTF8SMTP id "), "{}", text(&arrived));
    }
    until("both queues are empty", || a.is_idle() && b.is_idle());
}

/// Two addresses with the same port, as MX hosts have.
fn addresses() -> (SocketAddr, SocketAddr) {
    let (a, b) = (own_ip(), own_ip());
    let port = free_port(a);
    ((a, port).into(), (b, port).into())
}

#[test]
fn by_route() {
    if !installed(&[PYTHON]) {
        return;
    }
    let (at_a, at_b) = addresses();
    let a = Site::start("a.test", at_a, &route("b.test", at_b));
    let b = Site::start("b.test", at_b, &route("a.test", at_a));
    exchange(&a, &b);
    a.server.stop();
    b.server.stop();
}

#[test]
fn by_tls() {
    let (at_a, at_b) = addresses();
    let a = Site::with_tls("a.test", at_a, &route("b.test", at_b));
    let b = Site::with_tls("b.test", at_b, &route("a.test", at_a));
    let message = b"Subject: hi\r\n\r\nHello.\r\n";
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (ann, bob) = (format!("ann@{}", from.name), format!("bob@{}", to.name));
        let mut client = from.server.client();
        send(&mut client, &format!("<{ann}>"), &format!("<{bob}>"), message);
        let arrived = to.wait_for_mail("bob");
        assert_same(&arrived, &ann, &bob, message);
        let trace = format!("\n\tfor <{bob}>\n\ttls TLS_AES_256_GCM_SHA384;\n");
        let arrived = text(&arrived);
        assert!(arrived.contains(" with ESMTPS id ") && arrived.contains(&trace), "{arrived}");
        // Both sides say the same of it; and who called has seen who it was.
        let tls = "tls=TLSv1.3:TLS_AES_256_GCM_SHA384:X25519MLKEM768";
        from.server.wait_for(&["relayed ", &format!("to={bob} "), &format!("{tls}:verified ")]);
        to.server.wait_for(&["secured ", &format!("{tls} ")]);
    }
    a.server.stop();
    b.server.stop();
}

#[test]
fn who_was_away_asks_for_its_mail() {
    let (at_a, at_b) = addresses();
    let a = Site::start("a.test", at_a, &format!("retry = [\"1h\"]\n{}", route("b.test", at_b)));
    let message = b"Subject: hi\r\n\r\nHello.\r\n";
    let users = ["bob", "eve", "zoe"];
    let mut client = a.server.client();
    for user in users {
        send(&mut client, "<ann@a.test>", &format!("<{user}@b.test>"), message);
        a.server.wait_for(&["deferred ", &format!("to={user}@b.test ")]);
    }
    let b = Site::start("b.test", at_b, "");
    client.expect("ETRN b.test", "250 2.0.0 ");
    for user in users {
        let arrived = b.wait_for_mail(user);
        assert_same(&arrived, "ann@a.test", &format!("{user}@b.test"), message);
    }
    until("the queue is empty", || a.is_idle());
    a.server.stop();
    b.server.stop();
}

#[test]
fn by_mx() {
    if !installed(&[PYTHON]) {
        return;
    }
    let place = Place::new();
    let (at_a, at_b) = addresses();
    let zone = format!(
        "a.test. MX 10 mx.a.test.\n b.test. MX 10 mx.b.test.\n\
         mx.a.test. A {}\n mx.b.test. A {}\n",
        at_a.ip(),
        at_b.ip()
    );
    let Some((_names, dns)) = Names::Unbound.serve(&place, &zone) else { return };
    let more = format!("port = {}\n[dns]\nservers = [\"{dns}\"]", at_a.port());
    let (a, b) = (Site::start("a.test", at_a, &more), Site::start("b.test", at_b, &more));
    exchange(&a, &b);
}

#[test]
fn a_bounce_comes_back() {
    let place = Place::new();
    let (at_a, at_b) = addresses();
    let Some(refusing) = Sink::start(&place, crate::daemons::own_address(), &["-f", "RCPT"]) else {
        return;
    };
    // A hands everything on to B, which takes it, and learns only then that nobody wants it.
    let a = Site::start("a.test", at_a, &format!("smarthost = \"{at_b}\""));
    let route =
        format!("[relay.route]\n\"a.test\" = \"{at_a}\"\n\"far.test\" = \"{}\"", refusing.address);
    let b = Site::start("b.test", at_b, &route);
    let message = b"Subject: hi\r\nMessage-ID: <1@a.test>\r\n\r\nWhere are you?\r\n";
    let mail = "<ann@a.test> RET=FULL ENVID=QQ314159";
    let rcpt = "<nobody@far.test> ORCPT=rfc822;nobody@far.test";
    send(&mut a.server.client(), mail, rcpt, message);
    let notice = text(&a.wait_for_mail("ann"));
    for part in [
        "Return-Path: <>\nDelivered-To: ann@a.test\n",
        "Reporting-MTA: dns; mx.b.test\n",
        "Original-Envelope-Id: QQ314159\n",
        "Original-Recipient: rfc822; nobody@far.test\n",
        "Final-Recipient: rfc822; nobody@far.test\n",
        "Action: failed\n",
        "Status: 5.3.0\n",
        "\nSubject: hi\nMessage-ID: <1@a.test>\n\nWhere are you?\n",
    ] {
        assert!(notice.contains(part), "no {part:?} in {notice}");
    }
    a.server.wait_for(&["relayed ", "to=nobody@far.test"]);
    b.server.wait_for(&["bounced ", "to=nobody@far.test"]);
    b.server.wait_for(&["relayed ", "to=ann@a.test"]);
    until("both queues are empty", || a.is_idle() && b.is_idle());
    assert_eq!(a.mail("ann").len(), 1);
}
