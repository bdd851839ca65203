//! Logging in, from both sides: whatever is answered, names and passwords are bounded, nobody proves what
//! he does not know, and what our client says our server understands.

use facteur::limits::{LOGIN_NAME_MAX, PASSWORD_MAX};
use facteur::smtp::auth::client::ClientExchange;
use facteur::smtp::auth::{Bindings, Exchange, ExchangeStep, Keys, Mechanism, decode, encode};

const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

/// More would take the time that a fuzzer needs.
const ITERATIONS_MAX: u32 = 5_000;

pub fn run(data: &[u8]) {
    assert_eq!(decode(encode(data).as_bytes()).as_deref(), Some(data));
    if let Some(meant) = decode(data) {
        assert_eq!(encode(&meant).as_bytes(), data, "written in two ways");
    }
    for mechanism in
        [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login]
    {
        serve(mechanism, data);
    }
    for offered in ["SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        ask(offered, data);
    }
    let mut words = data.splitn(2, |&octet| octet == b' ').map(str::from_utf8);
    if let (Some(Ok(user)), Some(Ok(password))) = (words.next(), words.next()) {
        both_sides(user, password);
    }
}

/// Each line is a response.
fn serve(mechanism: Mechanism, data: &[u8]) {
    let bindings = Bindings { exporter: vec![7; 32], end_point: Vec::new() };
    let mut exchange = Exchange::new(mechanism, &bindings, true);
    let mut step = exchange.begin();
    for line in data.split(|&octet| octet == b'\n') {
        if let ExchangeStep::Keys(user) = &step {
            assert!((1..=LOGIN_NAME_MAX).contains(&user.len()), "{user:?}");
            let (stored_key, server_key) = ([3; 32], [4; 32]);
            let keys = Keys { salt: vec![5; 16], iterations: 4096, stored_key, server_key };
            step = exchange.keys(keys, NONCE);
        }
        match &step {
            ExchangeStep::Challenge(_) => step = exchange.respond(line),
            ExchangeStep::Password(found) => {
                assert!((1..=LOGIN_NAME_MAX).contains(&found.user.len()));
                assert!((1..=PASSWORD_MAX).contains(&found.password.len()));
                assert!(!found.user.contains('\0') && !found.password.contains('\0'));
                return;
            }
            ExchangeStep::Proof { good, .. } => {
                return assert!(!good, "a proof without a password");
            }
            ExchangeStep::Keys(_) | ExchangeStep::Malformed(_) => return,
        }
    }
}

/// Each line is a challenge.
fn ask(offered: &str, data: &[u8]) {
    let Some(mut login) = ClientExchange::choose(offered, "user", "pencil", NONCE) else { return };
    assert!(login.command().starts_with("AUTH "));
    for line in data.split(|&octet| octet == b'\n') {
        let challenge = encode(line);
        let text = String::from_utf8_lossy(line);
        let iterations = text.split("i=").skip(1).map(|rest| rest.trim().parse::<u32>());
        if iterations.flatten().any(|iterations| iterations > ITERATIONS_MAX) {
            return;
        }
        match login.answer(&challenge) {
            Ok(answer) => assert!(decode(answer.as_bytes()).is_some(), "{answer:?}"),
            Err(_) => return,
        }
    }
}

fn both_sides(user: &str, password: &str) {
    for (offered, mechanism) in [("PLAIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)] {
        let Some(mut login) = ClientExchange::choose(offered, user, password, NONCE) else {
            return;
        };
        let mut exchange = Exchange::new(mechanism, &Bindings::default(), false);
        let command = login.command();
        let mut step = match command.strip_prefix("AUTH PLAIN ") {
            Some(initial) => exchange.respond(&decode(initial.as_bytes()).expect("base64")),
            None => exchange.begin(),
        };
        while let ExchangeStep::Challenge(challenge) = &step {
            let answer = login.answer(&encode(challenge)).expect("two challenges");
            step = exchange.respond(&decode(answer.as_bytes()).expect("base64"));
        }
        let good = |text: &str, most| (1..=most).contains(&text.len()) && !text.contains('\0');
        match &step {
            ExchangeStep::Password(found) => {
                assert!(found.user == user && found.password == password);
            }
            _ => assert!(!good(user, LOGIN_NAME_MAX) || !good(password, PASSWORD_MAX), "{step:?}"),
        }
    }
}
