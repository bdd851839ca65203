//! What Postfix and Sendmail deliver behind the filters of d--j/go-milter (`tests/milter/cases`): the same
//! filters, played here, and our delivery.

use super::chain::{Message, chain, client, from, to};
use super::milterd::{Does, Milterd, packet, usual};
use crate::support::{Place, files};
use facteur::filters::{FilterChain, FilterOpinion, FilterTls, MessageOpinion};
use facteur::smtp::reply::Reply;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

/// What a filter knows of the message under way.
#[derive(Default)]
struct Heard {
    sender: String,
    recipients: Vec<String>,
    macros: String,
}

/// Changes in the order in which the library of these filters sends them: fields from the end on.
fn changes(folder: &str, sender: &str, recipients: &[String]) -> Vec<&'static [u8]> {
    let has = |name: &str| recipients.iter().any(|to| to == name);
    match (folder, sender) {
        ("header", "add@example.com") => vec![b"hX-ADD1\0Test\0", b"hX-ADD2\0Test\0"],
        ("header", "add-first@example.com") => {
            vec![b"i\0\0\0\x01X-First2\0Test\0", b"i\0\0\0\x01X-First1\0Test\0"]
        }
        ("header", "add-middle@example.com") => {
            vec![b"i\0\0\0\x03X-Middle2\0Test\0", b"i\0\0\0\x03X-Middle1\0Test\0"]
        }
        ("header", "subject@example.com") => vec![b"m\0\0\0\x01Subject\0changed\0"],
        ("header", "del@example.com") => vec![b"m\0\0\0\x01Subject\0\0"],
        ("header", "multi@example.com") => vec![
            b"i\0\0\0\x04X-Before-DATE\0Test\0",
            b"m\0\0\0\x01Subject\0\0",
            b"i\0\0\0\x01X-First2\0Test\0",
            b"i\0\0\0\x01X-First1\0Test\0",
            b"hX-ADD1\0Test\0",
            b"hX-ADD2\0Test\0",
        ],
        ("header", "multiline@example.com") => vec![b"hX-MultiLine\0Line1\n\tLine2\n\tLine3\0"],
        ("header", "change-to@example.com") => {
            vec![b"m\0\0\0\x01To\0<to@example.com>,\r\n <to@example.org>\0"]
        }
        ("body", "add@example.com") => vec![b"bone\r\n", b"btwo\r\n"],
        ("mail-from", "change@example.com") => vec![b"e<another@example.com>\0"],
        ("mail-from", "quarantine@example.com") => vec![b"qtest\0"],
        ("rcpt-to", _) if has("quarantine@example.com") => vec![b"qtest\0"],
        ("rcpt-to", _) if has("add@example.com") => vec![b"+<another@example.com>\0"],
        ("rcpt-to", _) if has("change@example.com") => {
            vec![b"-<change@example.com>\0", b"+<another@example.com>\0"]
        }
        _ => Vec::new(),
    }
}

/// What a filter of these tests says to a packet.
fn answer(folder: &str, heard: &mut Heard, letter: u8, data: &[u8]) -> Does {
    let word = || {
        let word = data.split(|octet| *octet == 0).next().unwrap();
        String::from_utf8_lossy(word).trim_matches(['<', '>']).to_owned()
    };
    let says = |text: &str| Does::Says(packet(text));
    match letter {
        b'D' => heard.macros.push_str(&String::from_utf8_lossy(data)),
        b'M' => *heard = Heard { sender: word(), macros: heard.macros.clone(), ..Heard::default() },
        b'R' => {
            let refused = match (folder, word().as_str()) {
                ("rcpt-to", "reject-one@example.com") => Some(says("r")),
                ("rcpt-to", "discard-one@example.com") => Some(says("d")),
                ("milter", "other-spammer@example.com") => {
                    Some(says("y550 5.7.1 Rejected by example backend\0"))
                }
                _ => None,
            };
            match refused {
                Some(refused) => return refused,
                None => heard.recipients.push(word()),
            }
        }
        _ => {}
    }
    let sender = heard.sender.as_str();
    let has = |name: &str| heard.recipients.iter().any(|to| to == name);
    let named = |name: &str| match (folder, letter) {
        ("mail-from", b'M') => sender == name,
        ("rcpt-to", b'T') => has(name),
        _ => false,
    };
    match letter {
        _ if named("temp-fail@example.com") => says("t"),
        _ if named("reject@example.com") => says("r"),
        _ if named("discard@example.com") => says("d"),
        _ if named("custom@example.com") => says("y555 5.0.0 custom\0"),
        b'M' if folder == "auth" && !heard.macros.contains("{tls_version}\0TLS") => {
            says("y500 No starttls\0")
        }
        b'M' if folder == "auth" && heard.macros.contains("{auth_authen}\0user1@example.com") => {
            says("y502 Ok\0")
        }
        b'M' if folder == "auth" => says("y501 No authentication\0"),
        b'E' if folder == "macro" && !heard.macros.contains("Cj\0mx.test\0") => {
            says("y500 no mta\0")
        }
        b'E' if folder == "milter" && sender == "reject-me@example.com" => {
            says("y550-5.7.1 We do not like you\r\n550 5.7.1 very much, please go away\0")
        }
        b'E' => {
            let changes = changes(folder, sender, &heard.recipients);
            Does::Says(changes.into_iter().flat_map(packet).chain(packet("a")).collect())
        }
        _ => usual(letter),
    }
}

/// One message of a case.
#[derive(Default)]
struct Case {
    starttls: bool,
    login: Option<String>,
    sender: Option<String>,
    /// None is RSET.
    recipients: Vec<Option<String>>,
    header: Option<String>,
    body: Option<String>,
    decision: String,
    reply: Vec<String>,
    expected: Option<Box<Case>>,
}

fn cases(text: &str) -> Vec<Case> {
    let (mut cases, mut lines) = (vec![Case::default()], text.lines());
    while let Some(line) = lines.next() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut block = || -> String {
            let lines = lines.by_ref().take_while(|line| *line != ".");
            lines.map(|line| format!("{line}\n")).collect()
        };
        let whole = cases.last_mut().unwrap();
        let has_decision = !whole.decision.is_empty();
        let expected = whole.expected.get_or_insert_default();
        if line.starts_with('#') {
            if has_decision {
                cases.push(Case::default());
            }
            continue;
        }
        if word.len() > 3 && word.as_bytes()[0].is_ascii_digit() || rest.starts_with("5.") {
            whole.reply.push(line.to_owned());
            continue;
        }
        if has_decision && word.parse::<u16>().is_ok() {
            whole.reply.push(line.to_owned());
            continue;
        }
        if word == "DECISION" {
            whole.decision = rest.to_owned();
            continue;
        }
        let part = if has_decision { &mut **expected } else { whole };
        let rest = rest.trim_end_matches(" *").to_owned();
        match word {
            "STARTTLS" => part.starttls = true,
            "AUTH" => part.login = Some(rest),
            "FROM" => part.sender = Some(rest),
            "TO" => part.recipients.push(Some(rest)),
            "RESET" => part.recipients.push(None),
            "HEADER" => part.header = Some(block()),
            "BODY" => part.body = Some(block()),
            other => panic!("{other}"),
        }
    }
    cases
}

/// What a chain made of a case: who refused and at which step, or what is delivered.
#[derive(Debug)]
enum Outcome {
    Refused(Reply, &'static str),
    Discarded,
    Quarantined,
    Delivered { message: String, sender: String, recipients: Vec<String> },
}

fn play(chain: &mut FilterChain, case: &Case) -> Outcome {
    let tls = case.starttls.then(|| FilterTls {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
        bits: 256,
    });
    chain.connect(client());
    chain.helo("client.example.net", tls);
    let given = case.sender.clone().unwrap_or_else(|| "<from@example.com>".to_owned());
    let sender = from(&given);
    let login = case.login.as_deref().map(|user| ("PLAIN", user));
    if let FilterOpinion::Refuse(reply) = chain.mail("ID", &sender, &[], login) {
        return Outcome::Refused(reply, "FROM");
    }
    let mut recipients = Vec::new();
    let all = match &case.recipients[..] {
        [] => vec![Some("<to@example.com>".to_owned())],
        given => given.to_vec(),
    };
    for given in all {
        let Some(given) = given else {
            chain.abort();
            recipients.clear();
            chain.mail("ID", &sender, &[], login);
            continue;
        };
        if chain.rcpt(&to(&given), &[]) == FilterOpinion::GoOn {
            recipients.push(given);
        }
    }
    if let FilterOpinion::Refuse(reply) = chain.data() {
        return Outcome::Refused(reply, "DATA");
    }
    let header = case.header.clone().unwrap_or_else(|| "Subject: test\n".to_owned());
    let body = case.body.clone().unwrap_or_else(|| "body\n".to_owned());
    let message = Message::new(format!("{header}\n{body}"));
    let filtered = chain.message(&message.input("", &[])).unwrap();
    recipients.retain(|given| !filtered.removed.contains(&to(given)));
    recipients.extend(filtered.added.iter().map(|path| format!("<{path}>")));
    match &filtered.opinion {
        MessageOpinion::Refuse(reply) => Outcome::Refused(reply.clone(), "EOM"),
        MessageOpinion::Discard { .. } => Outcome::Discarded,
        MessageOpinion::Take if filtered.quarantine.is_some() => Outcome::Quarantined,
        MessageOpinion::Take => Outcome::Delivered {
            message: message.delivered(&filtered).replace("Received: us", "Received: placeholder"),
            sender: filtered.sender.as_ref().map_or(given, |path| format!("<{path}>")),
            recipients,
        },
    }
}

fn check(name: &str, case: &Case, outcome: Outcome) {
    let expected = case.expected.as_ref().unwrap();
    let (decision, at) = case.decision.split_once('@').unwrap_or((&case.decision, ""));
    match (decision, outcome) {
        ("ACCEPT", Outcome::Delivered { message, sender, recipients }) => {
            if let Some(expected) = &expected.sender {
                assert_eq!(&sender, expected, "{name}");
            }
            if !expected.recipients.is_empty() {
                let expected: Vec<String> = expected.recipients.iter().flatten().cloned().collect();
                // add@ stays where it was.
                assert_eq!(recipients, expected, "{name}");
            }
            let (header, body) = message.split_once("\n\n").unwrap();
            if let Some(expected) = &expected.header {
                assert_eq!(&format!("{header}\n"), expected, "{name}");
            }
            if let Some(expected) = &expected.body {
                assert_eq!(body, expected, "{name}");
            }
        }
        ("DISCARD-OR-QUARANTINE", Outcome::Discarded | Outcome::Quarantined) => {}
        (decision, Outcome::Refused(reply, step)) => {
            assert!(at == "*" || at == step, "{name} at {step}");
            match decision {
                "REJECT" => assert!(reply.is_permanent(), "{name}"),
                "TEMPFAIL" => assert!(reply.code() < 500, "{name}"),
                "CUSTOM" => {
                    let mut wire = Vec::new();
                    reply.write_to(&mut wire);
                    let wire = String::from_utf8(wire).unwrap();
                    // Without an enhanced code, ours is put in.
                    let wire: Vec<String> = wire
                        .lines()
                        .map(|line| {
                            match case.reply[0].contains(" 5.") || case.reply[0].contains("-5.") {
                                true => line.to_owned(),
                                false => line.replace("5.7.1 ", ""),
                            }
                        })
                        .collect();
                    assert_eq!(wire, case.reply, "{name}");
                }
                other => panic!("{name}: {other}"),
            }
        }
        (_, outcome) => panic!("{name}: {outcome:?}"),
    }
}

#[test]
fn all_of_them_hold() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milter/cases");
    let mut count = 0;
    for path in files(&folder) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_none() {
            continue;
        }
        count += 1;
        let folders = ["mail-from", "rcpt-to", "header", "body", "auth", "macro", "milter"];
        let folder = folders.into_iter().find(|folder| name.starts_with(folder)).unwrap();
        let place = Place::new();
        let heard = Mutex::new(Heard::default());
        let filter = Milterd::unix(&place, "filter", move |_, letter, data| {
            answer(folder, &mut heard.lock().unwrap(), letter, data)
        });
        let mut chain = chain(&[filter.config("one")]);
        for case in cases(&fs::read_to_string(&path).unwrap()) {
            check(&name, &case, play(&mut chain, &case));
        }
    }
    assert_eq!(count, 36);
}
