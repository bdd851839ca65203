//! Rotations, step by step: a table for each.

use super::*;
use crate::mail::address::Domain;
use proptest::collection::vec;
use proptest::prelude::*;

const HOUR: i64 = 3600;
const DAY: Duration = Duration::from_hours(24);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

/// Keys by words: `a` is RSA, `a/e` is Ed25519, `a!` cannot be read, `a=2` is another key of the same name.
fn present(words: &str) -> PresentKeys {
    let key = |word: &str| {
        let (word, is_bad) = word.strip_suffix('!').map_or((word, false), |word| (word, true));
        let (word, number) = word.split_once('=').unwrap_or((word, "1"));
        let (selector, kind) = match word.strip_suffix("/e") {
            Some(selector) => (selector, KeyKind::Ed25519),
            None => (word, KeyKind::Rsa),
        };
        let digest = (!is_bad).then(|| format!("{word}{number}"));
        PresentKey { selector: name(selector), kind, digest }
    };
    PresentKeys { keys: words.split_ascii_whitespace().map(key).collect(), is_hidden: false }
}

/// A domain whose keys are looked at again and again.
#[derive(Default)]
struct Story {
    shown: ShownKeys,
}

impl Story {
    /// DNS is asked at `seconds`: of each key `+` shown, `-` hidden, `?` unknown. Gives what follows, in words:
    /// `sign a a/e`, `unsigned` or `wait`, then the state of each key.
    fn ask(&mut self, seconds: i64, keys: &str, sights: &str) -> String {
        let present = present(keys);
        let sights: Vec<Sight> = sights
            .chars()
            .map(|sign| match sign {
                '+' => Sight::Shown,
                '-' => Sight::Hidden,
                _ => Sight::Unknown,
            })
            .collect();
        self.shown = note(std::mem::take(&mut self.shown), &present, &sights, at(seconds));
        self.turn(seconds, &present)
    }

    /// Time goes by, and nobody asks.
    fn later(&mut self, seconds: i64, keys: &str) -> String {
        self.turn(seconds, &present(keys))
    }

    fn turn(&mut self, seconds: i64, present: &PresentKeys) -> String {
        let rotation = rotate(present, std::mem::take(&mut self.shown), at(seconds), DAY);
        let word = |selector: &Name, kind| match kind {
            KeyKind::Rsa => selector.to_string(),
            KeyKind::Ed25519 => format!("{selector}/e"),
        };
        let mut words = match &rotation.outlook {
            Outlook::Sign(places) => {
                let keys = places.iter().map(|at| &present.keys[*at]);
                let keys = keys.map(|key| word(&key.selector, key.kind));
                format!("sign {}", keys.collect::<Vec<_>>().join(" "))
            }
            Outlook::Unsigned => "unsigned".to_owned(),
            Outlook::Wait(_) => "wait".to_owned(),
        };
        for place in &rotation.places {
            let sign = if place.is_unpublished { "!" } else { "" };
            let key = word(&place.selector, place.kind);
            words.push_str(&format!(" | {key} {}{sign}", place.state.word()));
        }
        // A second look at the same moment changes nothing.
        let again = rotate(present, rotation.shown.clone(), at(seconds), DAY);
        assert_eq!(again, rotation, "{words}");
        self.shown = rotation.shown;
        words
    }
}

#[test]
fn a_whole_rotation_with_dns_down_in_the_middle() {
    let mut story = Story::default();
    for (hours, keys, sights, expected) in [
        (0, "a", "?", "unsigned | a waiting!"),
        (1, "a", "-", "unsigned | a waiting!"),
        (2, "a", "+", "sign a | a signs"),
        (3, "a", "?", "sign a | a signs"),
        // A second key appears, and is not shown yet.
        (4, "a b", "+-", "sign a | a signs | b waiting!"),
        (5, "a b", "??", "sign a | a signs | b waiting!"),
        (6, "a b", "++", "sign a | a signs | b waiting"),
        // DNS is down when it takes over.
        (7, "a b", "??", "sign b | a retired | b signs"),
        (8, "a b", "-?", "sign b | a retired! | b signs"),
        // DNS has lost all: the last one goes on, and it is told.
        (9, "a b", "--", "sign b | a retired! | b signs!"),
        (10, "a b", "++", "sign b | a retired | b signs"),
        // The record of the old one may go, then its file.
        (7 + 24, "a b", "-+", "sign b | a retired | b signs"),
        (7 + 25, "b", "+", "sign b | b signs"),
    ] {
        assert_eq!(story.ask(hours * HOUR, keys, sights), expected, "hour {hours}");
    }
}

#[test]
fn a_key_takes_over_an_hour_after_it_was_first_shown() {
    let mut story = Story::default();
    story.ask(0, "a", "+");
    story.ask(100, "a b", "++");
    for (second, expected) in [
        (100 + HOUR - 1, "sign a | a signs | b waiting"),
        (100 + HOUR, "sign b | a retired | b signs"),
    ] {
        assert_eq!(story.later(second, "a b"), expected);
    }
    // Not while DNS does not show it: the zone was put back.
    let mut story = Story::default();
    story.ask(0, "a", "+");
    story.ask(1, "a b", "++");
    assert_eq!(story.ask(2, "a b", "+-"), "sign a | a signs | b waiting!");
    assert_eq!(story.later(2 * HOUR, "a b"), "sign a | a signs | b waiting!");
    assert_eq!(story.ask(3 * HOUR, "a b", "++"), "sign b | a retired | b signs");
}

#[test]
fn the_moments_that_are_told() {
    let mut story = Story::default();
    story.ask(0, "a", "+");
    story.ask(100, "a b", "++");
    let until = |rotation: &Rotation, at: usize| rotation.places[at].until;
    let before = rotate(&present("a b"), story.shown.clone(), at(200), DAY);
    assert_eq!((before.next, until(&before, 1)), (Some(at(100 + HOUR)), Some(at(100 + HOUR))));
    let after = rotate(&present("a b"), story.shown, at(2 * HOUR), DAY);
    assert_eq!((after.next, until(&after, 0)), (None, Some(at(26 * HOUR))));
    assert_eq!(until(&after, 1), None);
    // The file of a retired key may go before its record.
    let gone = rotate(&present("b"), after.shown.clone(), at(3 * HOUR), DAY);
    assert_eq!((gone.places.len(), gone.places[0].is_usable), (2, false));
    assert_eq!(rotate(&present("b"), after.shown, at(26 * HOUR), DAY).places.len(), 1);
}

#[test]
fn the_greatest_of_several_signs_and_each_type_on_its_own() {
    let mut story = Story::default();
    for (second, keys, sights, expected) in [
        (0, "a b c", "++-", "sign b | a retired | b signs | c waiting!"),
        (1, "a b c x/e", "++--", "sign b | a retired | b signs | c waiting! | x/e waiting!"),
        (2, "a b c x/e", "++-+", "sign b x/e | a retired | b signs | c waiting! | x/e signs"),
        // A smaller one that comes later never takes over.
        (9_000, "a aa b x/e", "++++", "sign b x/e | a retired | aa retired | b signs | x/e signs"),
    ] {
        assert_eq!(story.ask(second, keys, sights), expected, "{second}");
    }
}

#[test]
fn mail_waits_for_a_key_that_cannot_be_read() {
    for (keys, expected) in [
        ("a!", "wait | a signs"),
        ("", "wait | a signs"),
        ("b", "wait | a signs | b waiting!"),
        ("a=2", "wait | a waiting!"),
        // Nothing of its type is there any more, and the other type signs.
        ("a", "sign a | a signs"),
    ] {
        let mut story = Story::default();
        story.ask(0, "a", "+");
        assert_eq!(story.later(1, keys), expected, "{keys}");
        // Where DNS is lost as well, too.
        assert_eq!(
            story.ask(2, keys, "--").split(' ').next(),
            expected.split(' ').next(),
            "{keys}"
        );
    }
    let both = || {
        let mut story = Story::default();
        story.ask(0, "a x/e", "++");
        story
    };
    assert!(both().later(1, "a x/e!").starts_with("wait | "));
    assert!(both().later(1, "a! x/e").starts_with("wait | "));
    assert!(both().later(1, "a").starts_with("sign a | "));
    assert!(both().later(1, "x/e").starts_with("sign x/e | "));
    let mut hidden = both();
    let nothing = PresentKeys { keys: Vec::new(), is_hidden: true };
    assert!(hidden.turn(1, &nothing).starts_with("wait | "));
    // It is back.
    assert!(hidden.later(2, "a x/e").starts_with("sign a x/e | "));
}

#[test]
fn another_key_that_dns_shows_takes_the_place_of_one_that_is_gone_at_once() {
    for (keys, sights, expected) in [
        ("b", "+", "sign b | a retired | b signs"),
        ("a! b", "?+", "sign b | a retired | b signs"),
        ("a=2", "+", "sign a | a signs"),
        ("b", "?", "wait | a signs | b waiting!"),
    ] {
        let mut story = Story::default();
        story.ask(0, "a", "+");
        assert_eq!(story.ask(1, keys, sights), expected, "{keys}");
    }
    // And an older one, while DNS shows it.
    let mut story = Story::default();
    story.ask(0, "a", "+");
    story.ask(1, "a b", "++");
    story.later(2 * HOUR, "a b");
    assert_eq!(story.ask(3 * HOUR, "a b!", "+?"), "sign a | a signs | b retired");
    assert_eq!(story.ask(4 * HOUR, "a b", "++"), "sign b | a retired | b signs");
    assert_eq!(story.ask(5 * HOUR, "a", "-"), "wait | a retired! | b signs");
}

#[test]
fn what_was_lost_is_asked_again_and_nothing_leaves_meanwhile() {
    let lost = || Story { shown: ShownKeys { is_lost: true, ..ShownKeys::default() } };
    for (keys, sights, expected) in [
        ("a x/e", "??", "wait | a waiting! | x/e waiting!"),
        ("a x/e", "-?", "wait | a waiting! | x/e waiting!"),
        ("a x/e", "+?", "sign a | a signs | x/e waiting!"),
        ("a x/e", "--", "unsigned | a waiting! | x/e waiting!"),
        ("a x/e", "-+", "sign x/e | a waiting! | x/e signs"),
        ("a!", "?", "wait | a waiting"),
    ] {
        let mut story = lost();
        assert_eq!(story.ask(0, keys, sights), expected, "{keys} {sights}");
    }
}

#[test]
fn clocks_that_were_wrong() {
    let mut story = Story::default();
    story.ask(0, "a", "+");
    // The clock was a year ahead.
    story.ask(365 * 24 * HOUR, "a b", "++");
    assert_eq!(story.ask(10, "a b", "++"), "sign a | a signs | b waiting");
    assert_eq!(story.later(10 + HOUR, "a b"), "sign b | a retired | b signs");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut story = Story::default();
    for index in 0..2 * SHOWN_KEYS_MAX as i64 {
        let key = format!("k{index:05}");
        story.ask(2 * HOUR * index, &key, "+");
        assert!(story.shown.keys.len() <= SHOWN_KEYS_MAX);
    }
    assert_eq!(story.shown.keys.len(), SHOWN_KEYS_MAX);
    assert!(story.shown.keys.iter().any(|key| key.signs.is_some() && key.retired.is_none()));
}

proptest! {
    /// Whatever happens to files, DNS and clock: once a key was shown nothing leaves unsigned, and nothing is signed by a
    /// key that was never shown, nor by two of a type.
    #[test]
    fn no_order_of_events_leaves_mail_unsigned(
        events in vec((vec((0..4usize, 0..2usize, 0..4usize, 0..3usize), 0..6), -HOUR..3 * HOUR, 0..20u8), 1..30)
    ) {
        let (mut shown, mut time) = (ShownKeys::default(), 0);
        let mut ever: Vec<String> = Vec::new();
        for (files, passes, hidden) in events {
            time += passes;
            let mut present = PresentKeys { keys: Vec::new(), is_hidden: hidden == 0 };
            let mut sights = Vec::new();
            for (selector, kind, digest, sight) in files {
                let (selector, kind) = (name(["a", "b", "c", "d"][selector]), KeyKind::ALL[kind]);
                if present.keys.iter().any(|key| key.selector == selector && key.kind == kind) {
                    continue;
                }
                // The last of the digests is that of a file that cannot be read.
                let digest = (digest < 3).then(|| format!("{selector}{kind}{digest}"));
                let sight = [Sight::Shown, Sight::Hidden, Sight::Unknown][sight];
                if sight == Sight::Shown {
                    ever.extend(digest.clone());
                }
                present.keys.push(PresentKey { selector, kind, digest });
                sights.push(sight);
            }
            shown = note(shown, &present, &sights, at(time));
            let rotation = rotate(&present, shown, at(time), DAY);
            match &rotation.outlook {
                Outlook::Sign(places) => {
                    let keys: Vec<&PresentKey> = places.iter().map(|at| &present.keys[*at]).collect();
                    prop_assert!(!keys.is_empty() && keys.len() <= 2);
                    prop_assert!(keys.len() < 2 || keys[0].kind != keys[1].kind);
                    let was_shown = |key: &&PresentKey| ever.contains(key.digest.as_ref().unwrap());
                    prop_assert!(keys.iter().all(was_shown));
                }
                Outlook::Unsigned => prop_assert!(ever.is_empty()),
                Outlook::Wait(_) => prop_assert!(!ever.is_empty()),
            }
            // What is remembered is read as it was written.
            let domain = Domain::parse("mx.test").unwrap();
            let mut written = rotation.shown.clone();
            written.keys.iter_mut().for_each(|key| key.digest = "ab".repeat(32));
            prop_assert_eq!(ShownKeys::parse(written.text(&domain).as_bytes(), &domain), Ok(written));
            shown = rotation.shown;
        }
    }
}
