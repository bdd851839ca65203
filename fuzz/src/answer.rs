//! What a next hop says: the same however it is cut, bounded, and fit for a log and a notice.

use facteur::limits::{ANSWER_KEPT, ANSWER_LINE_MAX, ANSWER_MAX};
use facteur::mail::visible::is_hidden;
use facteur::smtp::answer::{Answer, AnswerBuffer, BadAnswer};
use facteur::smtp::client::Offers;

pub fn run(data: &[u8]) {
    let mut whole = None;
    for pieces in super::cuts(data) {
        let found = answers(&pieces);
        assert_eq!(whole.get_or_insert_with(|| found.clone()), &found);
    }
    for answer in whole.into_iter().flatten() {
        match answer {
            Ok(answer) => check(answer),
            Err(flaw) => assert!(!flaw.to_string().contains(is_hidden), "{flaw}"),
        }
    }
}

fn answers(pieces: &[&[u8]]) -> Vec<Result<Answer, BadAnswer>> {
    let (mut buffer, mut found) = (AnswerBuffer::default(), Vec::new());
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (used, answer) = buffer.feed(rest);
            assert!(used > 0);
            rest = &rest[used..];
            found.extend(answer);
            if matches!(found.last(), Some(Err(_))) {
                return found;
            }
        }
    }
    found
}

fn check(answer: Answer) {
    assert!((200..600).contains(&answer.code()) && !answer.lines().is_empty(), "{answer:?}");
    assert!(!answer.lines().iter().any(|line| line.contains(is_hidden)), "{answer:?}");
    // An octet that is no UTF-8 becomes a character of three.
    let octets: usize = answer.lines().iter().map(String::len).sum();
    assert!(octets <= 3 * ANSWER_MAX);
    if let Some(status) = answer.enhanced() {
        assert!(status.starts_with(&(answer.code() / 100).to_string()), "{answer:?}");
    }
    let text = answer.text().replace('\n', "\r\n") + "\r\n";
    if text.len() <= ANSWER_MAX && text.lines().all(|line| line.len() + 2 <= ANSWER_LINE_MAX) {
        assert_eq!(Answer::parse(text.as_bytes()).as_ref(), Ok(&answer));
    }
    let _ = Offers::of(&answer);
    let short = answer.shortened();
    let octets: usize = short.lines().iter().map(String::len).sum();
    assert!(octets <= ANSWER_KEPT + "...".len(), "{octets} octets are kept");
}
