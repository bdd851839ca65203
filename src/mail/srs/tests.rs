//! SRS there and back, by way of the parser that takes a bounce's RCPT.

use super::*;
use crate::mail::address::ForwardPath;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const TODAY: u64 = 20_481;

fn keys(secrets: &[u8]) -> SrsKeys {
    let secrets: Vec<SrsSecret> = secrets.iter().map(|octet| [*octet; SRS_KEY_OCTETS]).collect();
    SrsKeys::new(&secrets[0], &secrets[1..])
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn sender(text: &str) -> ReversePath {
    ReversePath::parse(format!("<{text}>").as_bytes()).unwrap().0
}

fn rewrite(keys: &SrsKeys, from: &str, alias: &str, today: u64) -> Result<String, Unchanged> {
    let alias = domain(alias);
    keys.rewrite(&sender(from), &alias, |d| *d == alias, today).map(|made| made.to_string())
}

/// As a bounce comes: by RCPT.
fn restore(keys: &SrsKeys, to: &str, today: u64) -> Result<String, NoWayBack> {
    let (ForwardPath::Mailbox(to), []) = ForwardPath::parse(format!("<{to}>").as_bytes()).unwrap()
    else {
        panic!("{to}")
    };
    keys.restore(&to, today).map(|mailbox| mailbox.to_string())
}

#[test]
fn the_form_stays_what_it_is() {
    // Addresses of yesterday's server are still under way when today's is started.
    let made = rewrite(&keys(&[1]), "ann@far.test", "mx.test", TODAY).unwrap();
    assert_eq!(made, "SRS0=fl5ohwt5=ab=far.test=ann@mx.test");
    let made = rewrite(&keys(&[1]), "SRS0=abcd=XY=one.test=ann@far.test", "mx.test", TODAY);
    assert_eq!(made.unwrap(), "SRS1=ugnhqnux=far.test==abcd=XY=one.test=ann@mx.test");
}

#[test]
fn odd_local_parts_come_back() {
    let keys = keys(&[1]);
    for from in [
        "a=b@far.test",
        "=@far.test",
        "a+b-c@far.test",
        "bounces+SRS=ab12=cd@far.test",
        "\"ann smith\"@far.test",
        "\"a\\\"b\\\\c@d\"@far.test",
        "\"\"@far.test",
        "\u{e9}va@far.test",
        "\"\u{e9} va\"@xn--bcher-kva.test",
        "Ann.Smith@far.test",
        "srs0@far.test",
        "SRS0@far.test",
        // What only looks like SRS is wrapped whole.
        "srs0-fan@far.test",
        "srs0=a=b=c@far.test",
        "srs0===x=c@far.test",
        "SRS1=a=b@far.test",
        "srs1=a=b!ad==b=c=d=e@far.test",
        "SRS1=a=one.test=b=c=d=e@far.test",
    ] {
        let made = rewrite(&keys, from, "mx.test", TODAY).unwrap();
        assert_eq!(restore(&keys, &made, TODAY).as_deref(), Ok(from), "{made}");
        let plain = made.trim_start_matches('"');
        assert!(plain.starts_with("SRS0="), "{made}");
    }
}

#[test]
fn some_senders_stay_as_they_are() {
    let keys = keys(&[1]);
    let mx = domain("mx.test");
    let null = keys.rewrite(&ReversePath::Null, &mx, |_| false, TODAY);
    assert_eq!(null, Err(Unchanged::Null));
    for (from, why) in [
        ("ann@mx.test", Unchanged::Ours),
        ("SRS0=x=y=far.test=ann@mx.test", Unchanged::Ours),
        ("ann@[192.0.2.1]", Unchanged::Literal),
        ("ann@[IPv6:2001:db8::1]", Unchanged::Literal),
    ] {
        assert_eq!(rewrite(&keys, from, "mx.test", TODAY), Err(why), "{from}");
    }
}

#[test]
fn what_is_made_is_never_longer_than_a_path() {
    let keys = keys(&[1]);
    let mut longest = 0;
    for n in 1..240 {
        let from = format!("{}@far.test", "a".repeat(n));
        match rewrite(&keys, &from, "mx.test", TODAY) {
            Ok(made) => {
                longest = made.len() + 2;
                assert_eq!(restore(&keys, &made, TODAY), Ok(from));
            }
            Err(why) => assert_eq!((why, longest), (Unchanged::TooLong, PATH_MAX)),
        }
    }
    assert_eq!(longest, PATH_MAX);
}

#[test]
fn hosts_in_a_chain() {
    let (one, two, three) = (keys(&[1]), keys(&[2]), keys(&[3]));
    let first = rewrite(&one, "Ann@far.test", "one.test", TODAY).unwrap();
    let second = rewrite(&two, &first, "two.test", TODAY).unwrap();
    let third = rewrite(&three, &second, "three.test", TODAY).unwrap();
    assert!(second.starts_with("SRS1=") && third.starts_with("SRS1="), "{second} {third}");
    assert_eq!(second.len() + "three".len() - "two".len(), third.len(), "grows no more");
    // The last host leads to the first, not by way of the second.
    assert_eq!(restore(&three, &third, TODAY).as_deref(), Ok(&*first));
    assert_eq!(restore(&two, &second, TODAY).as_deref(), Ok(&*first));
    assert_eq!(restore(&one, &first, TODAY).as_deref(), Ok("Ann@far.test"));
    // Nobody takes an address of another.
    assert_eq!(restore(&two, &first, TODAY), Err(NoWayBack::Forged));
    assert_eq!(restore(&two, &third, TODAY), Err(NoWayBack::Forged));
}

#[test]
fn addresses_of_other_programs() {
    let keys = keys(&[1]);
    for (from, back) in [
        ("SRS0+abcd=XY=one.test=ann@far.test", "SRS0+abcd=XY=one.test=ann@far.test"),
        ("SRS0-abcd=XY=one.test=a=b@far.test", "SRS0-abcd=XY=one.test=a=b@far.test"),
        ("srs0=abcd=xy=one.test=ann@far.test", "SRS0=abcd=xy=one.test=ann@far.test"),
        ("SRS1=efgh=one.test==abcd=XY=x.test=ann@far.test", "SRS0=abcd=XY=x.test=ann@one.test"),
        ("SRS1+efgh=one.test=+abcd=XY=x.test=ann@far.test", "SRS0+abcd=XY=x.test=ann@one.test"),
    ] {
        let made = rewrite(&keys, from, "mx.test", TODAY).unwrap();
        assert!(made.starts_with("SRS1="), "{made}");
        assert_eq!(restore(&keys, &made, TODAY).as_deref(), Ok(back), "{made}");
    }
}

#[test]
fn days() {
    let keys = keys(&[1]);
    let made = rewrite(&keys, "ann@far.test", "mx.test", TODAY).unwrap();
    for age in 0..=SRS_VALID_DAYS {
        assert_eq!(restore(&keys, &made, TODAY + age).as_deref(), Ok("ann@far.test"), "{age}");
    }
    for (today, why) in [
        (TODAY + SRS_VALID_DAYS + 1, NoWayBack::Old),
        (TODAY + 511, NoWayBack::Old),
        (TODAY - 1, NoWayBack::Future),
        (TODAY - 500, NoWayBack::Future),
        // The stamp is the same again, the day is not.
        (TODAY + 1024, NoWayBack::Forged),
        (TODAY + 1024 + 3, NoWayBack::Forged),
        (0, NoWayBack::Forged),
    ] {
        assert_eq!(restore(&keys, &made, today), Err(why), "{today}");
    }
    let early = rewrite(&keys, "ann@far.test", "mx.test", 3).unwrap();
    assert!(restore(&keys, &early, 3).is_ok());
    // Before the first day there is none.
    let late = rewrite(&keys, "ann@far.test", "mx.test", 1023).unwrap();
    assert_eq!(restore(&keys, &late, 3), Err(NoWayBack::Malformed));
    assert!(restore(&keys, &late, u64::MAX).is_err());
    assert!(restore(&keys, &late, i64::MAX as u64).is_err());
}

#[test]
fn older_secrets_verify_and_do_not_sign() {
    let before = rewrite(&keys(&[1]), "ann@far.test", "mx.test", TODAY).unwrap();
    let rolled = keys(&[2, 1]);
    assert!(restore(&rolled, &before, TODAY).is_ok());
    let after = rewrite(&rolled, "ann@far.test", "mx.test", TODAY).unwrap();
    assert_ne!(before, after);
    assert_eq!(restore(&keys(&[1]), &after, TODAY), Err(NoWayBack::Forged));
    assert_eq!(restore(&keys(&[2]), &before, TODAY), Err(NoWayBack::Forged));
    assert_eq!(format!("{rolled:?}"), "Keys(2)");
}

#[test]
fn what_is_no_srs_and_what_is_no_good_srs() {
    use NoWayBack::*;
    for (to, why) in [
        ("ann@mx.test", NotSrs),
        ("srs@mx.test", NotSrs),
        ("srs0@mx.test", NotSrs),
        ("srs0-fan@mx.test", NotSrs),
        ("SRS0+hhhhhhhh=ab=far.test=ann@mx.test", NotSrs),
        ("SRS2=hhhhhhhh=ab=far.test=ann@mx.test", NotSrs),
        ("\u{e9}rs0=a@mx.test", NotSrs),
        ("SRS0=a=b=c=d@[192.0.2.1]", NotSrs),
        ("SRS0=@mx.test", Malformed),
        ("SRS0=a=b=c@mx.test", Malformed),
        ("SRS0=a=abc=far.test=ann@mx.test", Malformed),
        ("SRS0=a=a1=far.test=ann@mx.test", Malformed),
        ("SRS0=a=ab=f!ar=ann@mx.test", Malformed),
        ("SRS1=a@mx.test", Malformed),
        ("SRS1=a=far.test@mx.test", Malformed),
        ("SRS1=a=f!r==x@mx.test", Malformed),
        ("SRS0==ab=far.test=ann@mx.test", Forged),
        ("SRS0=aaaaaaaa=ab=far.test=ann@mx.test", Forged),
        ("SRS1=aaaaaaaa=far.test==x@mx.test", Forged),
    ] {
        // The stamp `ab` is the first of days.
        assert_eq!(restore(&keys(&[1]), to, 1), Err(why), "{to}");
    }
}

#[test]
fn any_case_of_letters_is_the_same_address() {
    let keys = keys(&[1]);
    let first = rewrite(&keys, "Ann@far.test", "mx.test", TODAY).unwrap();
    let later = rewrite(&keys, "SRS0=Abcd=XY=one.test=ann@far.test", "mx.test", TODAY).unwrap();
    for made in [first, later] {
        for folded in [made.to_lowercase(), made.to_uppercase()] {
            let back = restore(&keys, &folded, TODAY).unwrap();
            let whole = restore(&keys, &made, TODAY).unwrap();
            assert!(back.eq_ignore_ascii_case(&whole), "{folded}: {back}");
        }
    }
}

/// Every address that differs from `made` in one character: another, one less, one more.
fn neighbours(made: &str) -> Vec<String> {
    let with = "aZ07=+-.@\"\\ \u{e9}";
    let mut all = Vec::new();
    for (at, old) in made.char_indices() {
        let (before, after) = (&made[..at], &made[at + old.len_utf8()..]);
        all.push(format!("{before}{after}"));
        for new in with.chars() {
            all.push(format!("{before}{new}{old}{after}"));
            if !new.eq_ignore_ascii_case(&old) {
                all.push(format!("{before}{new}{after}"));
            }
        }
        let next = char::from_u32(u32::from(old) + 1).unwrap();
        all.push(format!("{before}{next}{after}"));
    }
    all
}

#[test]
fn every_change_is_refused() {
    let keys = keys(&[1]);
    for from in ["Ann.b@far.test", "SRS0=abcd=XY=one.test=ann@far.test", "\"a b\"@far.test"] {
        let made = rewrite(&keys, from, "mx.test", TODAY).unwrap();
        let right = ForwardPath::parse(format!("<{made}>").as_bytes()).unwrap().0;
        let (mut tried, mut parsed) = (0, 0);
        for changed in neighbours(&made) {
            tried += 1;
            let Ok((path, [])) = ForwardPath::parse(format!("<{changed}>").as_bytes()) else {
                continue; // no address at all
            };
            let ForwardPath::Mailbox(to) = &path else { panic!("{changed}") };
            // Quoting is not part of what an address means.
            if path != right {
                parsed += 1;
                assert!(keys.restore(to, TODAY).is_err(), "{changed}");
            }
        }
        assert!(parsed > 300 && tried > parsed, "{parsed} of {tried}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_senders_come_back(
        local in prop_oneof![
            "[a-z0-9.+=_-]{1,40}",
            "[ -~]{0,40}",
            "\\PC{1,12}",
            "(SRS|srs)[01][=+-][ -<>-~]{0,30}",
            "(SRS|srs)[01][=+-][a-z]{0,9}=[a-z]{0,9}=[!-<>-~]{0,9}",
            "SRS0[=+-][a-z]{4}=[A-Z]{2}=[a-z]{1,9}=[!-~]{0,20}",
        ],
        host in "[a-z0-9]{1,9}(\\.[a-z0-9]{1,9}){0,3}",
        day in 0u64..100_000,
        age in 0u64..=SRS_VALID_DAYS,
    ) {
        let keys = keys(&[7]);
        let from = Mailbox {
            local: LocalPart::made_of(local),
            host: Host::Domain(Domain::parse(&host).unwrap()),
        };
        // Only a sender that the parser takes is one.
        let path = format!("<{from}>");
        prop_assume!(!from.local.as_str().chars().any(char::is_control));
        let parsed = ReversePath::parse(path.as_bytes());
        prop_assert_eq!(parsed, Ok((ReversePath::Mailbox(from.clone()), &b""[..])));
        let made = keys
            .rewrite(&ReversePath::Mailbox(from.clone()), &domain("mx.test"), |_| false, day)
            .unwrap();
        let rcpt = format!("<{made}>");
        let (ForwardPath::Mailbox(to), []) = ForwardPath::parse(rcpt.as_bytes()).unwrap() else {
            panic!("{rcpt}")
        };
        prop_assert_eq!(keys.restore(&to, day + age), Ok(from));
    }
}
