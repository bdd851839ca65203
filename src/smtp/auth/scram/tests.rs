//! SCRAM against the example of RFC 7677 §3, and against what is no SCRAM.

use super::super::{Exchange, Mechanism, decode};
use super::*;

const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

fn keys() -> Keys {
    let key = |text| decode(text).unwrap().try_into().unwrap();
    Keys {
        salt: decode(b"W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(),
        iterations: 4096,
        stored_key: key(b"WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="),
        server_key: key(b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
    }
}

fn scram(mechanism: Mechanism, offers_plus: bool) -> Exchange {
    let bindings = Bindings { exporter: vec![7; 32], end_point: Vec::new() };
    Exchange::new(mechanism, &bindings, offers_plus)
}

/// What comes of a whole exchange with these two messages.
fn outcome(mechanism: Mechanism, first: &str, last: &str) -> ExchangeStep {
    let mut exchange = scram(mechanism, false);
    match exchange.respond(first.as_bytes()) {
        ExchangeStep::Keys(_) => {}
        other => return other,
    }
    assert!(matches!(exchange.keys(keys(), NONCE), ExchangeStep::Challenge(_)));
    match exchange.respond(last.as_bytes()) {
        ExchangeStep::Challenge(_) => exchange.respond(b""),
        other => other,
    }
}

fn proof(good: bool) -> ExchangeStep {
    ExchangeStep::Proof { user: "user".to_owned(), good }
}

#[test]
fn the_example_of_the_rfc() {
    let mut exchange = scram(Mechanism::ScramSha256, false);
    assert_eq!(exchange.begin(), ExchangeStep::Challenge(Vec::new()));
    assert_eq!(exchange.respond(FIRST.as_bytes()), ExchangeStep::Keys("user".to_owned()));
    let challenge = format!("r=rOprNGfwEbeRWgbNEkqO{NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    assert_eq!(exchange.keys(keys(), NONCE), ExchangeStep::Challenge(challenge.into_bytes()));
    let verdict = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec();
    assert_eq!(exchange.respond(LAST.as_bytes()), ExchangeStep::Challenge(verdict));
    assert_eq!(exchange.respond(b""), proof(true));
    assert!(matches!(exchange.respond(b""), ExchangeStep::Malformed(_)));
}

#[test]
fn a_wrong_proof_nonce_or_binding_proves_nothing() {
    let with = |last: &str| outcome(Mechanism::ScramSha256, FIRST, last);
    assert_eq!(with(LAST), proof(true));
    assert_eq!(with(&LAST.replace("p=dHzb", "p=dHzc")), proof(false));
    assert_eq!(with(&LAST.replace("c=biws", "c=eSws")), proof(false));
    assert_eq!(with(&LAST.replace("k0,", "k1,")), proof(false));
    let (without, _) = LAST.split_once("p=").unwrap();
    for short in ["", "AAAA", "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQAAAA="] {
        assert_eq!(with(&format!("{without}p={short}")), proof(false), "{short}");
    }
    for bad in ["", "c=biws", "p=AAAA", "r=x,c=biws,p=AAAA", &without.replace(",p=", ""), "\u{0}"] {
        assert!(matches!(with(bad), ExchangeStep::Malformed(_)), "{bad}");
    }
}

#[test]
fn first_messages() {
    let with = |first: &str| outcome(Mechanism::ScramSha256, first, LAST);
    let user = |first: &str| match scram(Mechanism::ScramSha256, false).respond(first.as_bytes()) {
        ExchangeStep::Keys(user) => user,
        other => panic!("{first}: {other:?}"),
    };
    assert_eq!(user("n,,n=a=2Cb=3Dc,r=x"), "a,b=c");
    assert_eq!(user("n,a=ann,n=ann,r=x"), "ann");
    assert_eq!(user("y,,n=ann,r=x,ext=1"), "ann");
    for bad in [
        "",
        "n",
        "n,,",
        "n,,n=user",
        "n,,n=,r=x",
        "n,,n=user,r=",
        "n,,n=a=b,r=x",
        "n,,m=x,n=user,r=x",
        "n,,r=x,n=user",
        "x,,n=user,r=x",
        "n,user,n=user,r=x",
        "n,,n=user,r=a b",
        "p=tls-exporter,,n=user,r=x",
        &format!("n,,n=user,r={}", "x".repeat(SCRAM_NONCE_MAX + 1)),
        &format!("n,,n={},r=x", "x".repeat(LOGIN_NAME_MAX + 1)),
    ] {
        assert!(matches!(with(bad), ExchangeStep::Malformed(_)), "{bad}");
    }
}

/// The proof for a message with channel binding, made from the keys' other half.
fn bound(data: &[u8]) -> (String, String) {
    let first = "p=tls-exporter,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let binding = Base64::encode_string(&[b"p=tls-exporter,,", data].concat());
    let nonce = format!("rOprNGfwEbeRWgbNEkqO{NONCE}");
    let without = format!("c={binding},r={nonce}");
    let message = format!(
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,{without}"
    );
    let mut salted = [0; 32];
    let rounds = std::num::NonZeroU32::new(4096).unwrap();
    let algorithm = aws_lc_rs::pbkdf2::PBKDF2_HMAC_SHA256;
    aws_lc_rs::pbkdf2::derive(algorithm, rounds, &keys().salt, b"pencil", &mut salted);
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
    let client_key = sign(&salted, b"Client Key");
    let signature = sign(&keys().stored_key, message.as_bytes());
    let proof = Base64::encode_string(&xor(client_key.as_ref(), signature.as_ref()));
    (first.to_owned(), format!("{without},p={proof}"))
}

#[test]
fn channel_binding() {
    let plus = Mechanism::ScramSha256Plus;
    let (first, last) = bound(&[7; 32]);
    assert_eq!(outcome(plus, &first, &last), proof(true));
    // Of another connection: somebody in between.
    let (first, last) = bound(&[8; 32]);
    assert_eq!(outcome(plus, &first, &last), proof(false));
    for bad in [
        FIRST,
        "y,,n=user,r=x",
        "p=tls-unique,,n=user,r=x",
        // Not known of this connection.
        "p=tls-server-end-point,,n=user,r=x",
    ] {
        assert!(matches!(outcome(plus, bad, LAST), ExchangeStep::Malformed(_)), "{bad}");
    }
    // A client that could bind, and was told that we cannot.
    let told = scram(Mechanism::ScramSha256, true).respond(b"y,,n=user,r=x");
    assert!(matches!(told, ExchangeStep::Malformed(_)));
}
