//! Passwords against hashes that other programs have made.

use super::*;
use base64ct::{Base64, Encoding};
use std::process::{Command, Stdio};

fn stored(field: &str) -> Stored {
    Stored::parse(field).unwrap_or_else(|what| panic!("{field}: {what}"))
}

/// What `doveadm pw` of Dovecot 2.3 made of "pencil"; the keys for SCRAM are those of RFC 7677 §3.
const MADE_BEFORE: [&str; 8] = [
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$kCP+8DcqtVJnjhAoD3899w$TuCpkJuvEqu/J6grorT1hEv+Q73YSX+wffdPmaJjS8A",
    "{BLF-CRYPT}$2y$05$MPFmDsFczJq9nKcpPj1YJe1USqKZ897FGpafhAhhGA/HZmh6Mi/Ae",
    "{SHA512-CRYPT}$6$IZStbECI6.nbhFA4$DREgP5vkKYPcsmxWOPFLTbsqFQDxDWAq2hZriTkHeAnf0jW.TWB5lhmsQFMnuvZqj.L2D5vl.KoRLSZN6Elt21",
    "{CRYPT}$6$IZStbECI6.nbhFA4$DREgP5vkKYPcsmxWOPFLTbsqFQDxDWAq2hZriTkHeAnf0jW.TWB5lhmsQFMnuvZqj.L2D5vl.KoRLSZN6Elt21",
    "{SHA256-CRYPT}$5$P3lLtBUUMiFhKSbc$jNGw8ljKCrRBJnJrVPlGI1RIQw.k5FDYVN/c3VG8zx4",
    "{SCRAM-SHA-256}4096,s7RfMj0iycEOe3CUErQUtQ==,mWwWwJU73BxL3a8OLK9V0Eku/fIzw6vypviA1nMCGdA=,ADXzwsGiwxND9DisqQ+IfNDam57z02LhwE3qgmdr22Q=",
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
    "{PLAIN}pencil",
];

#[test]
fn known_hashes() {
    for field in MADE_BEFORE {
        let stored = stored(field);
        assert_eq!(stored.verify("pencil"), Ok(true), "{field}");
        for wrong in ["pencil ", "Pencil", "", "pencilpencil", &"x".repeat(PASSWORD_MAX + 1)] {
            assert_eq!(stored.verify(wrong), Ok(false), "{field} {wrong:?}");
        }
    }
}

/// RFC 7677 §3: user "user", password "pencil".
#[test]
fn keys_of_the_rfc() {
    let salt = Base64::decode_vec("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = stored("{PLAIN}pencil").scram_keys(&salt, 4096).unwrap();
    let text = keys.text();
    assert_eq!(stored(&format!("{{SCRAM-SHA-256}}{text}")).verify("pencil"), Ok(true));
    assert_eq!(
        text,
        "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,\
         wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    );
}

#[test]
fn what_is_made_verifies() {
    for scheme in Scheme::ALL {
        let field = make(scheme, "p\u{e4}ss word").unwrap();
        assert!(field.starts_with(&format!("{{{scheme}}}")), "{field}");
        let stored = stored(&field);
        assert_eq!(stored.scheme(), scheme);
        assert_eq!(stored.verify("p\u{e4}ss word"), Ok(true), "{field}");
        assert_eq!(stored.verify("pass word"), Ok(false), "{field}");
        let again = make(scheme, "p\u{e4}ss word").unwrap();
        assert_eq!(again == field, scheme == Scheme::Plain, "the salt is no new one");
        assert_eq!(format!("{stored:?}"), format!("{{{scheme}}}"));
    }
}

#[test]
fn what_nobody_can_use_is_not_made() {
    let long = "x".repeat(PASSWORD_MAX + 1);
    for (scheme, password, why) in [
        (Scheme::Argon2id, "", BadPassword::Empty),
        (Scheme::Argon2id, &long, BadPassword::Long(PASSWORD_MAX)),
        (Scheme::Argon2id, "a\nb", BadPassword::Character),
        (Scheme::BlfCrypt, &long[..73], BadPassword::Long(72)),
        (Scheme::Plain, "a:b", BadPassword::Character),
        (Scheme::Plain, "a ", BadPassword::Character),
    ] {
        assert_eq!(make(scheme, password), Err(why), "{scheme} {password:?}");
    }
}

#[test]
fn what_costs_too_much_or_is_damaged_is_refused() {
    let argon = |cost: &str| {
        format!(
            "{{ARGON2ID}}$argon2id$v=19${cost}$X6CwH0GqyHsgIyZaMV/LTw$AIroFqcfCC86UJHcx43gk6d5B5H8RwhGByRmtoocP1E"
        )
    };
    let keys = "W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,\
                wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let bcrypt = "xnznMlG0g74DWo2jnA873euYysIQhp/vSTrW.rqJWTPDziUkIJWoy";
    assert!(Stored::parse(&argon("m=65536,t=3,p=1")).is_ok());
    assert!(Stored::parse(&format!("{{BLF-CRYPT}}$2y$05${bcrypt}")).is_ok());
    for (field, what) in [
        (argon("m=4194304,t=3,p=1"), "more than 1 GiB"),
        (argon("m=4294967296,t=3,p=1"), "damaged"),
        (argon("m=1048576,t=4000000,p=1"), "too long"),
        (argon("m=65536,t=3,p=1000"), "too long"),
        (argon("m=65536,t=0,p=1"), "no sense"),
        (argon("m=1,t=1,p=1"), "no sense"),
        (argon("t=3,m=65536,p=1"), "damaged"),
        (argon("m=65536,t=3,p=1,x=1"), "damaged"),
        ("{ARGON2ID}$argon2i$v=19$m=65536,t=3,p=1$X6Cw$AIro".to_owned(), "damaged"),
        (format!("{{BLF-CRYPT}}$2y$31${bcrypt}"), "above 15"),
        (format!("{{BLF-CRYPT}}$2x$05${bcrypt}"), "$2x$"),
        ("{BLF-CRYPT}$2y$05$short".to_owned(), "damaged"),
        (format!("{{SHA512-CRYPT}}$6$rounds=999999999$salt${}", "x".repeat(86)), "1,000,000"),
        (format!("{{SHA512-CRYPT}}$6$rounds=1$salt${}", "x".repeat(86)), "fewer"),
        (format!("{{SHA512-CRYPT}}$6$salt${}", "x".repeat(85)), "damaged"),
        (format!("{{SHA512-CRYPT}}$5$salt${}", "x".repeat(86)), "damaged"),
        (format!("{{SHA256-CRYPT}}$5$salt${}", "x".repeat(86)), "damaged"),
        (format!("{{SCRAM-SHA-256}}4000000000,{keys}"), "more than"),
        (format!("{{SCRAM-SHA-256}}1,{keys}"), "fewer"),
        (format!("{{SCRAM-SHA-256}}4096,{keys},x"), "damaged"),
        ("{SCRAM-SHA-256}4096,,,".to_owned(), "damaged"),
        ("{PLAIN}".to_owned(), "empty"),
        ("{MD5-CRYPT}$1$x$y".to_owned(), "{MD5-CRYPT} is no scheme"),
        ("{CRYPT}$1$x$y".to_owned(), "not read here"),
        ("secret".to_owned(), "expected {SCHEME}"),
        ("{PLAIN secret".to_owned(), "expected {SCHEME}"),
    ] {
        let found = Stored::parse(&field).unwrap_err();
        assert!(found.contains(what) && !found.contains("secret"), "{field}: {found}");
    }
}

#[test]
fn crypt_tells_its_own_scheme() {
    for (field, scheme) in [
        ("$2y$05$xnznMlG0g74DWo2jnA873euYysIQhp/vSTrW.rqJWTPDziUkIJWoy", Scheme::BlfCrypt),
        ("{crypt}$2y$05$xnznMlG0g74DWo2jnA873euYysIQhp/vSTrW.rqJWTPDziUkIJWoy", Scheme::BlfCrypt),
        ("{CLEARTEXT}x", Scheme::Plain),
        ("{plain}x", Scheme::Plain),
    ] {
        assert_eq!(stored(field).scheme(), scheme, "{field}");
    }
}

/// `doveadm pw` and this must agree, in both directions.
#[test]
fn doveadm_agrees() {
    let doveadm = |arguments: &[&str]| {
        let mut command = Command::new("doveadm");
        command.args(["-c", "/dev/null", "pw"]).args(arguments).stdin(Stdio::null()).output()
    };
    if !doveadm(&["-l"]).is_ok_and(|output| output.status.success()) {
        let must = std::env::var_os("FACTEUR_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!must, "skipped: doveadm is not installed");
        return eprintln!("skipped: doveadm is not installed");
    }
    for scheme in Scheme::ALL {
        let made = doveadm(&["-s", scheme.name(), "-p", "p\u{e4}ss w\u{f6}rd"]).unwrap();
        let made = String::from_utf8(made.stdout).unwrap();
        let theirs = stored(made.trim());
        assert_eq!((theirs.scheme(), theirs.verify("p\u{e4}ss w\u{f6}rd")), (scheme, Ok(true)));
        assert_eq!(theirs.verify("p\u{e4}ss w\u{f6}re"), Ok(false), "{made}");
        let ours = make(scheme, "p\u{e4}ss w\u{f6}rd").unwrap();
        let test = |password| doveadm(&["-t", &ours, "-p", password]).unwrap().status.success();
        assert!(test("p\u{e4}ss w\u{f6}rd") && !test("p\u{e4}ss"), "{ours}");
    }
}
