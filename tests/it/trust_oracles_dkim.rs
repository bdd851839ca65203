//! Signatures of dkimpy verify here, ours there, and a changed message is judged the same; where dkimpy is
//! installed.

use crate::outside::{PYTHON, has_modules};
use crate::support::{Dice, text};
use crate::trust_dkim::{ed25519, ed25519_seed, rsa_pems, signed_at};
use crate::trust_mail::{Mail, NOW};
use crate::trust_zone::Zone;
use facteur::mail::proof::dkim::DkimResult;
use facteur::mail::proof::dkim::sign::SigningKey;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Messages, each signed by both.
const MESSAGES: usize = 400;

fn pick<'a>(dice: &mut Dice, of: &[&'a str]) -> &'a str {
    of[dice.below(of.len())]
}

fn words(dice: &mut Dice, most: usize) -> String {
    let words = ["a", "Bc", "d.", "\u{e4}", "=?q?", "x@y.test", ";", "--"];
    let spaces = [" ", " ", " ", "  ", "\t", " \t "];
    (0..dice.below(most))
        .map(|_| format!("{}{}", pick(dice, &words), pick(dice, &spaces)))
        .collect()
}

/// A message of characters up to U+00FF, each an octet.
fn message(dice: &mut Dice) -> String {
    let mut message = format!("From: {}<ann@a.test>\n", words(dice, 3));
    for _ in 0..dice.below(8) {
        let name = pick(dice, &["To", "Subject", "subject", "Cc", "X-Y", "List-Id", "Received"]);
        let fold = pick(dice, &["", "", "\n ", "\n\t", "\n  z\n \t"]);
        message +=
            &format!("{name}:{}{fold}{}\n", words(dice, 4), pick(dice, &["", "end", "end "]));
    }
    // A folded line of white space alone is none.
    let lines = message.lines().filter(|line| !line.trim().is_empty());
    let mut message: String = lines.map(|line| format!("{line}\n")).collect();
    message.push('\n');
    for _ in 0..dice.below(8) {
        message += &words(dice, 6);
        message += pick(dice, &["\n", "\n", "\n\n", "\n\n\n", " \n"]);
    }
    message
}

/// What somebody on the way did: nothing, little that counts, or more.
fn changed(dice: &mut Dice, message: &str) -> String {
    let at = dice.below(message.len());
    let at = (at..message.len()).find(|&at| message.is_char_boundary(at)).unwrap_or(0);
    let (before, after) = message.split_at(at);
    match dice.below(8) {
        0 => message.replacen(" ", "  ", 1),
        1 => format!("{message}\n\n"),
        2 => format!("{message}more\n"),
        3 => message.replacen("Subject:", "SUBJECT:  ", 1),
        4 => format!("Subject: first\n{message}"),
        5 if after.starts_with(|one: char| one.is_ascii_alphabetic()) => {
            let (one, rest) = after.split_at(1);
            let other =
                if one == one.to_lowercase() { one.to_uppercase() } else { one.to_lowercase() };
            format!("{before}{other}{rest}")
        }
        6 if after.starts_with(' ') => format!("{before} {after}"),
        _ => message.to_owned(),
    }
}

fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|one| u8::try_from(u32::from(one)).unwrap()).collect()
}

fn characters(octets: &[u8]) -> String {
    octets.iter().map(|&octet| char::from(octet)).collect()
}

/// What dkimpy says of works, each signed or verified.
pub fn ask(keys: &Value, works: &[Value]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/dkim_oracle.py");
    let mut command = Command::new(PYTHON);
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let input = json!({"keys": keys, "works": works}).to_string();
    // It says nothing before it has read all.
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said.len(), works.len());
    said
}

#[test]
fn dkimpy() {
    if !has_modules("dkim, nacl.signing") {
        return;
    }
    let mut dice = Dice::new(6376);
    let [_, pkcs1] = rsa_pems();
    let keys = [SigningKey::from_pem(&pkcs1).unwrap(), ed25519()];
    let names = ["rsa", "ed25519"];
    let (mut records, mut zone) = (json!({}), Zone::default());
    for (name, key) in names.iter().zip(&keys) {
        let owner = format!("{name}._domainkey.a.test");
        let record = key.record().unwrap();
        zone.add(&owner, "TXT", &json!(record));
        records[owner] = json!(record);
    }
    let messages: Vec<String> = (0..MESSAGES).map(|_| message(&mut dice)).collect();
    let works: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(at, message)| {
            let key = [characters(&pkcs1), ed25519_seed()][at % 2].clone();
            let forms =
                [pick(&mut dice, &["simple", "relaxed"]), pick(&mut dice, &["simple", "relaxed"])];
            json!({
                "sign": message, "key": key, "type": names[at % 2], "forms": forms,
                "length": dice.below(4) == 0,
            })
        })
        .collect();
    let theirs = ask(&records, &works);
    // Theirs, ours, and both changed.
    let mut all: Vec<String> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let theirs = format!("{}{message}", theirs[at].as_str().unwrap());
        let ours = signed_at(&Mail::of_lf(octets(message)), &keys[at % 2], names[at % 2]);
        let ours = characters(ours.text());
        let both = [changed(&mut dice, &theirs), changed(&mut dice, &ours)];
        for signed in [theirs, ours] {
            let found = Mail::of_lf(octets(&signed)).verified(&mut zone, &[], NOW);
            assert_eq!(found[0].result, DkimResult::Pass, "{signed}\n{found:?}");
            all.push(signed);
        }
        all.extend(both);
    }
    let works: Vec<Value> = all.iter().map(|message| json!({"verify": message})).collect();
    let (mut held, mut others) = (0, Vec::new());
    for (message, said) in all.iter().zip(ask(&records, &works)) {
        let found = Mail::of_lf(octets(message)).verified(&mut zone, &[], NOW);
        let holds = found.first().is_some_and(|one| one.result == DkimResult::Pass);
        held += usize::from(holds);
        if said != json!(holds) {
            others.push(format!("dkimpy says {said} of\n{message}\n{found:?}"));
        }
    }
    assert!(others.is_empty(), "{} differ:\n{}", others.len(), others.join("\n"));
    assert!(all.len() > held && held > all.len() / 2, "{held} of {}", all.len());
}
