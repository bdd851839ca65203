//! What real filters said (`tests/milter/captures`): played to us, who have to say in the place of the server
//! what it said, and to understand what they answered.

use super::chain::{Message, chain, from, to, told};
use super::milterd::{Does, Milterd, Packets};
use crate::support::{Place, files};
use facteur::filters::{FilterChain, FilterClient, FilterOpinion, MessageOpinion};
use facteur::smtp::reply::Reply;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// One packet of the server, its macros before it, and what the filter said then.
struct Turn {
    macros: Vec<u8>,
    packet: (u8, Vec<u8>),
    answers: Vec<u8>,
}

fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match (octet, octet == b'\\') {
            (octet, false) => octet,
            _ => match rest.next().unwrap() {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other,
            },
        });
    }
    octets
}

fn turns(capture: &str) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut macros = Vec::new();
    for line in capture.lines().filter(|line| !line.starts_with('#')) {
        let (who, rest) = line.split_once(": ").unwrap();
        let (letter, data) = (rest.as_bytes()[0], octets(&rest[2..]));
        match (who, letter) {
            ("M", b'D') => macros = data,
            ("M", _) => {
                let macros = std::mem::take(&mut macros);
                turns.push(Turn { macros, packet: (letter, data), answers: Vec::new() });
            }
            _ => {
                let packet = super::packet([&[letter], &data[..]].concat());
                turns.last_mut().unwrap().answers.extend(packet);
            }
        }
    }
    turns
}

fn words(data: &[u8]) -> Vec<String> {
    let text: String = data.iter().map(|octet| char::from(*octet)).collect();
    text.split('\0').map(str::to_owned).collect()
}

/// Does what the client of a capture did, up to DATA.
fn envelope(chain: &mut FilterChain, turns: &[Turn]) {
    let one = |letter: u8| turns.iter().find(|turn| turn.packet.0 == letter).unwrap();
    let connect = &one(b'C').packet.1;
    let name = words(connect).remove(0);
    let rest = &connect[name.len() + 2..];
    let port = u16::from_be_bytes([rest[0], rest[1]]);
    let address: IpAddr = words(&rest[2..])[0].parse().unwrap();
    let client = FilterClient { name: Some(name), address: Some((address, port)), listener: None };
    assert_eq!(chain.connect(client), FilterOpinion::GoOn);
    assert_eq!(chain.helo("client.example.net", None), FilterOpinion::GoOn);
    let mail = one(b'M');
    let login = words(&mail.macros).contains(&"{auth_type}".to_owned());
    let login = login.then_some(("PLAIN", "ann@example.org"));
    let sender = from(&words(&mail.packet.1)[0]);
    assert_eq!(chain.mail("Q1TEST", &sender, &[], login), FilterOpinion::GoOn);
    let recipient = to(&words(&one(b'R').packet.1)[0]);
    assert_eq!(chain.rcpt(&recipient, &[]), FilterOpinion::GoOn);
    assert_eq!(chain.data(), FilterOpinion::GoOn);
}

/// The message of a capture.
fn message(turns: &[Turn]) -> String {
    let mut message = String::new();
    let keeps_space = turns[0].answers[14] & 0x10 != 0;
    for turn in turns.iter().filter(|turn| turn.packet.0 == b'L') {
        let field = words(&turn.packet.1);
        let space = if keeps_space || field[1] == "no space" { "" } else { " " };
        message.push_str(&format!("{}:{space}{}\n", field[0], field[1]));
    }
    message.push('\n');
    let body = turns.iter().find(|turn| turn.packet.0 == b'B');
    let body = body.map_or("Hello\n".to_owned(), |turn| {
        String::from_utf8(turn.packet.1.clone()).unwrap().replace("\r\n", "\n")
    });
    message + &body
}

/// Plays a capture: the message, what became of it, and what we said.
fn play(name: &str) -> (String, Result<String, Reply>, Vec<String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milter/captures");
    let capture = fs::read_to_string(folder.join(name)).unwrap();
    let all = turns(&capture);
    let answers: Vec<Vec<u8>> = all.iter().map(|turn| turn.answers.clone()).collect();
    let place = Place::new();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let filter = Milterd::unix(&place, "filter", move |_, letter, _| {
        if letter == b'D' {
            return Does::Says(Vec::new());
        }
        let at = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Does::Says(answers.get(at).cloned().unwrap_or_default())
    });
    let mut chain = chain(&[filter.config("one")]);
    envelope(&mut chain, &all);
    let octets = message(&all);
    let message = Message::new(&octets);
    let filtered = chain.message(&message.input("", &[])).unwrap();
    let result = match &filtered.opinion {
        MessageOpinion::Take => Ok(message.delivered(&filtered)),
        MessageOpinion::Refuse(reply) => Err(reply.clone()),
        MessageOpinion::Discard { .. } => panic!("{name} is thrown away"),
    };
    compare(name, &all, &filter.heard()[0]);
    (octets, result, told(&mut chain))
}

/// Our packets are those of the capture; our macros are at least those.
fn compare(name: &str, turns: &[Turn], heard: &Packets) {
    let mut macros = Vec::new();
    let mut turns = turns.iter();
    for (letter, data) in heard {
        if *letter == b'D' {
            macros.clone_from(data);
            continue;
        }
        let turn = turns.next().unwrap();
        let said =
            |packet: &(u8, Vec<u8>)| format!("{}{}", packet.0 as char, packet.1.escape_ascii());
        assert_eq!(said(&(*letter, data.clone())), said(&turn.packet), "{name}");
        let ours = words(std::mem::take(&mut macros).get(1..).unwrap_or_default());
        // Those of a command that the filter did not want stand before the next one.
        let is_its = turn.macros.first() == Some(letter);
        let theirs = if is_its { words(&turn.macros[1..]) } else { Vec::new() };
        for pair in theirs.chunks_exact(2) {
            assert!(ours.chunks_exact(2).any(|ours| ours == pair), "{name}: {pair:?} in {ours:?}");
        }
    }
    let rest: Vec<u8> = turns.map(|turn| turn.packet.0).collect();
    assert_eq!(rest, b"Q", "{name}");
}

#[test]
fn all_of_them_replay() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milter/captures");
    let names: Vec<String> = files(&folder)
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.len(), 9);
    for name in names {
        let (message, result, told) = play(&name);
        let received = format!("Received: us\n{message}");
        let expected = match name.as_str() {
            "clamav-milter-down.txt" => {
                Err(Reply::new(451, "4.7.1", "put off by a filter, try later"))
            }
            "rspamd-gtube.txt" => Err(Reply::plain(554, "5.7.1 Gtube pattern")),
            "opendkim-forged-results.txt" => Ok(format!(
                "Authentication-Results: mx.test; dkim=none; dkim-atps=neutral\nReceived: us\n\
                 Authentication-Results: other.test; dkim=pass\n{}",
                &message[message.find("From:").unwrap()..]
            )),
            "opendkim-sign.txt" => {
                let signed = result.as_ref().unwrap();
                let (signature, rest) = signed.split_at(signed.find("Received:").unwrap());
                assert!(signature.starts_with("DKIM-Signature: v=1; a=rsa-sha256;"));
                assert!(signature.contains(" s=r;\n\tt=") && signature.ends_with("XZg==\n"));
                assert_eq!(rest, received);
                Ok(signed.clone())
            }
            "opendkim-verify.txt" => {
                let found = "Authentication-Results: mx.test;\n\tdkim=fail reason=\"key not found";
                assert!(result.as_ref().unwrap().starts_with(found));
                assert!(
                    result.as_ref().unwrap().ends_with(&format!("dkim-atps=neutral\n{received}"))
                );
                result.clone()
            }
            "opendmarc.txt" => Ok(format!(
                "Authentication-Results: mx.test; dmarc=none (p=none dis=none) \
                 header.from=example.org\n{received}"
            )),
            "rspamd-ham.txt" => Ok(format!(
                "Received: us\nAuthentication-Results: mx.test;\n\tdkim=none\n{}",
                message.replace("\n\n", "\nX-Spamd-Bar: +\nX-Spam-Level: *\n\n")
            )),
            "rspamd-authenticated.txt" | "spamass-milter.txt" => Ok(received),
            other => panic!("{other}"),
        };
        assert_eq!(result, expected, "{name}");
        let is_told = !matches!(name.as_str(), "rspamd-authenticated.txt" | "spamass-milter.txt");
        assert_eq!(told.len(), usize::from(is_told), "{name}: {told:?}");
    }
}
