//! Mail with 8 bits for hosts that take no such.

use super::Net;
use crate::client::stuffed;
use crate::outside::{Input, PYTHON, installed, program, run, script};
use crate::servers::Binary;
use crate::support::{Place, text};

const MESSAGE: &str = "From: J\u{f6}rg <ann@mx.test>\nSubject: gr\u{fc}\u{df}e zur\u{fc}ck\nMIME-Version: 1.0\n\
    Content-Type: multipart/mixed; boundary=\"=x\"\nContent-Transfer-Encoding: 8bit\n\n\
    --=x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\
    Sch\u{f6}ne Gr\u{fc}\u{df}e = \n.dot\n\n--=x\n\
    Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"\u{fc}.bin\"\n\
    Content-Transfer-Encoding: binary\n\n\u{e9}\u{1}\u{7f}\n\n--=x\nContent-Type: text/plain\n\nseven\n--=x\n\
    Content-Type: message/rfc822\n\nSubject: inner\n\ninner \u{e9}\n--=x--\n";

fn send(server: &Binary, to: &str, message: &str) -> String {
    let mut client = server.client();
    client.expect("MAIL FROM:<ann@mx.test> BODY=8BITMIME", "250");
    client.expect(&format!("RCPT TO:<{to}>"), "250");
    client.expect("DATA", "354");
    client.send(&stuffed(message.replace('\n', "\r\n").as_bytes()));
    let reply = client.reply();
    reply.strip_prefix("250 2.0.0 Ok: queued as ").unwrap_or_else(|| panic!("{reply}")).to_owned()
}

#[test]
fn mail_is_converted_for_a_host_without_8bitmime() {
    let (place, net) =
        (Place::new(), Net::new(&["EHLO: 250-x | 250 SIZE 100000", "EHLO: 250-x | 250 8BITMIME"]));
    net.dns.set("seven.test A 127.0.0.2\neight.test A 127.0.0.3");
    let server = Binary::serve(&place, &net.config("", ""));
    let id = send(&server, "x@seven.test", MESSAGE);
    server.wait_for(&["relayed ", "to=x@seven.test"]);
    send(&server, "x@eight.test", MESSAGE);
    server.wait_for(&["relayed ", "to=x@eight.test"]);
    let [seven, eight] = [0, 1].map(|host| net.hosts[host].mail().remove(0));
    let body = |octets: &[u8]| text(octets).replace("\r\n", "\n");
    assert!(body(&eight.octets).ends_with(MESSAGE), "{}", body(&eight.octets));
    assert!(seven.octets.is_ascii(), "{}", text(&seven.octets));
    // What was announced is what came; the octets of a mail here have LF or CR LF line ends.
    let mail = net.hosts[0].seen().commands.into_iter().find(|it| it.starts_with("MAIL")).unwrap();
    let size = body(&seven.octets).replace('\n', "\r\n").len();
    assert_eq!(mail, format!("MAIL FROM:<ann@mx.test> SIZE={size}"));
    let told = || crate::commands::run(&place, &["trace", &id]).1;
    crate::support::until("the story is written", || told().contains("converted to 7 bits"));
    server.stop();
    if !installed(&[PYTHON]) {
        return;
    }
    place.write("eight.eml", body(&eight.octets));
    place.write("seven.eml", body(&seven.octets));
    let mut python = program(&place, PYTHON);
    python.arg(script("same_mail.py")).args([place.at("eight.eml"), place.at("seven.eml")]);
    let read = run(&place, &mut python, Input::Octets(b""));
    assert_eq!(read.trim_end(), "gr\u{fc}\u{df}e zur\u{fc}ck \u{fc}.bin");
}

#[test]
fn what_grows_past_the_room_of_a_host_comes_back() {
    let (place, net) = (Place::new(), Net::new(&["EHLO: 250-x | 250 SIZE 1500"]));
    net.dns.set("small.test A 127.0.0.2");
    let server = Binary::serve(&place, &net.config("", ""));
    send(&server, "x@small.test", &format!("Subject: x\n\n{}\n", "\u{e9}".repeat(400)));
    let line = server.wait_for(&["bounced ", "to=x@small.test"]);
    assert!(line.contains("5.3.4"), "{line}");
    assert_eq!(net.hosts[0].count("MAIL"), 0);
    server.stop();
}
