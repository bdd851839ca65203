//! What sessions share of a filter: connections that are kept, one more try, and its rest.

use super::MESSAGE;
use super::chain::{Message, client, envelope, filters, filters_at, from, to, told, transaction};
use super::milterd::{Does, Milterd, options, packet, usual};
use crate::support::{Place, until};
use facteur::config::MilterService;
use facteur::filters::{FilterClock, FilterOpinion};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_connection_goes_on_with_the_next_client_where_the_filter_knows_how() {
    for (version, connections, first) in
        [(6, 1, "OCHMRTLLLNBEKOCHMRTLLLNBEKO"), (4, 2, "OCHMRTLLLNBEQ")]
    {
        let place = Place::new();
        let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
            b'O' => Does::Says(options(version, 0x3f, 0)),
            _ => usual(letter),
        });
        let filters = filters(&[filter.config("one")]);
        for _ in 0..2 {
            let mut chain = filters.open(MilterService::Smtp).unwrap();
            envelope(&mut chain).unwrap();
            Message::new(MESSAGE).through(&mut chain);
        }
        assert_eq!(filter.heard().len(), connections);
        until("all is heard", || filter.letters(0).starts_with(first));
    }
}

#[test]
fn a_kept_connection_that_has_ended_is_no_failure() {
    let place = Place::new();
    // It closes instead of going on, or at the first word of the next client.
    for letter in [b'K', b'C'] {
        let path = format!("filter{letter}");
        let count = AtomicUsize::new(0);
        let filter = Milterd::unix(&place, &path, move |index, asked, _| match asked == letter {
            true if letter == b'K' => Does::Closes(Vec::new()),
            true if index == 0 && count.fetch_add(1, Ordering::Relaxed) == 1 => {
                Does::Closes(Vec::new())
            }
            _ => usual(asked),
        });
        let filters = filters(&[filter.config("one")]);
        for _ in 0..3 {
            let mut chain = filters.open(MilterService::Smtp).unwrap();
            envelope(&mut chain).unwrap();
            Message::new(MESSAGE).through(&mut chain);
            assert_eq!(told(&mut chain), Vec::<String>::new());
        }
        assert!(filter.heard().len() >= 2);
    }
}

#[test]
fn one_more_try_hears_all_that_was_said() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |index, letter, _| match letter {
        b'B' if index == 0 => Does::Closes(Vec::new()),
        b'E' => Does::Says([packet("hX\x001\0"), packet("a")].concat()),
        _ => usual(letter),
    });
    let filters = filters(&[filter.config("one")]);
    let mut chain = filters.open(MilterService::Smtp).unwrap();
    envelope(&mut chain).unwrap();
    chain.rcpt(&to("<carol@mx.test>"), &[]);
    let message = Message::new(MESSAGE);
    let filtered = message.through(&mut chain);
    assert!(message.delivered(&filtered).contains("\nX: 1\n\n"));
    assert_eq!(told(&mut chain).len(), 1);
    assert_eq!(filter.letters(0), "OCHMRTRLLLNB");
    assert_eq!(filter.letters(1), "OCHMRRTLLLNBE");
}

/// A clock that a test moves.
fn clock() -> (FilterClock, Arc<Mutex<Instant>>) {
    let now = Arc::new(Mutex::new(Instant::now()));
    let shared = now.clone();
    (Arc::new(move || *shared.lock().unwrap()), now)
}

#[test]
fn who_fails_twice_rests_for_all_sessions() {
    let place = Place::new();
    let is_well = Arc::new(AtomicUsize::new(0));
    let well = is_well.clone();
    let filter = Milterd::unix(&place, "filter", move |_, letter, _| {
        let is_well = well.load(Ordering::Relaxed) == 1;
        if letter == b'M' && !is_well { Does::Closes(Vec::new()) } else { usual(letter) }
    });
    let (clock, now) = clock();
    let filters = filters_at(&[filter.config("one")], clock);
    let open = || filters.open(MilterService::Smtp).unwrap();
    let is_silent = || filters.silent().eq([("one", true)]);
    let mut first = open();
    assert!(!is_silent());
    assert!(envelope(&mut first).is_err());
    assert!(is_silent());
    assert_eq!(told(&mut first), ["one mail: failed (it closed the connection)"]);
    assert_eq!(filter.heard().len(), 2);
    // No word to it any more, in this session or another.
    assert!(transaction(&mut first).is_err());
    let mut second = open();
    assert_eq!(second.connect(client()), FilterOpinion::GoOn);
    assert_ne!(second.mail("ID", &from("<>"), &[], None), FilterOpinion::GoOn);
    let resting = "failed (it failed a moment ago and is left alone)";
    assert_eq!(told(&mut first), [format!("one mail: {resting}")]);
    assert_eq!(
        told(&mut second),
        [format!("one connect: {resting}"), format!("one mail: {resting}")]
    );
    assert_eq!(filter.heard().len(), 2);
    is_well.store(1, Ordering::Relaxed);
    *now.lock().unwrap() += Duration::from_secs(29);
    assert!(transaction(&mut second).is_err());
    *now.lock().unwrap() += Duration::from_secs(1);
    assert!(is_silent(), "nobody has asked it");
    // The same session asks it again, by a connection to which all is said.
    transaction(&mut second).unwrap();
    Message::new(MESSAGE).through(&mut second);
    assert!(!is_silent());
    assert_eq!(filter.letters(2), "OCMRTLLLNBE");
}

#[test]
fn without_on_failure_defer_a_session_goes_on() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| match letter {
        b'R' => Does::Closes(Vec::new()),
        _ => usual(letter),
    });
    let other = Milterd::unix(&place, "other", |_, letter, _| usual(letter));
    let mut config = filter.config("one");
    config.is_passed = true;
    let filters = filters(&[config, other.config("two")]);
    let mut chain = filters.open(MilterService::Smtp).unwrap();
    envelope(&mut chain).unwrap();
    Message::new(MESSAGE).through(&mut chain);
    assert_eq!(told(&mut chain), ["one rcpt: failed (it closed the connection)"]);
    assert_eq!(other.letters(0), "OCHMRTLLLNBE");
}

/// Sendmail's library, as Debian has it, says nothing any more behind that word.
#[test]
fn a_filter_that_is_silent_behind_a_client_is_connected_to_anew() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| match letter {
        b'K' => Does::Hangs(Vec::new()),
        _ => usual(letter),
    });
    let filters = filters(&[filter.config("one")]);
    for _ in 0..3 {
        let mut chain = filters.open(MilterService::Smtp).unwrap();
        envelope(&mut chain).unwrap();
        Message::new(MESSAGE).through(&mut chain);
        assert_eq!(told(&mut chain), Vec::<String>::new());
    }
    assert_eq!(filter.heard().len(), 3);
    until("all is heard", || filter.letters(2).ends_with('Q'));
    assert!(filter.letters(0).ends_with('K') && filter.letters(1).ends_with('Q'));
}
