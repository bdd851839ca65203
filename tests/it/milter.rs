//! Filters: what is said to them and what follows, over real sockets; the cases of others, what real filters
//! said, and filters that fail or mean harm.

mod captures;
mod cases;
mod chain;
mod changes;
mod hostile;
mod milterd;
mod pools;

use crate::support::Place;
use chain::{Message, alone, chain, client, envelope, from, to, told, transaction};
use facteur::config::MilterService;
use facteur::filters::{FilterAction, FilterOpinion, FilterTls, MessageOpinion};
use facteur::smtp::reply::Reply;
use milterd::{Does, Milterd, options, packet, usual};

/// A filter that answers one letter in its own way.
fn answering(place: &Place, letter: u8, answer: &str) -> Milterd {
    let answer = packet(answer);
    Milterd::unix(place, "filter", move |_, asked, _| {
        if asked == letter { Does::Says(answer.clone()) } else { usual(asked) }
    })
}

fn refused(code: u16, text: &str) -> FilterOpinion {
    FilterOpinion::Refuse(Reply::plain(code, text))
}

const MESSAGE: &str = "From: ann@example.org\nSubject:no space\nX-Folded: a\n\tb\n\nHello\n";

#[test]
fn a_session_step_by_step() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| usual(letter));
    let mut chain = alone(&filter);
    assert_eq!(chain.connect(client()), FilterOpinion::GoOn);
    let tls = FilterTls {
        version: "TLSv1.3".to_owned(),
        cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
        bits: 256,
    };
    chain.helo("client.example.net", Some(tls));
    let size = ["SIZE=100".to_owned()];
    chain.mail("ID", &from("<>"), &size, Some(("PLAIN", "ann@mx.test")));
    chain.rcpt(&to("<bob@mx.test>"), &[]);
    chain.rcpt(&to("<\"b b\"@mx.test>"), &[]);
    chain.data();
    let message = Message::new(MESSAGE);
    let filtered = message.through(&mut chain);
    assert_eq!(message.delivered(&filtered), format!("Received: us\n{MESSAGE}"));
    assert!(!filtered.is_changed());
    let notes = chain.take_notes();
    assert!(notes.iter().all(|note| note.action == FilterAction::Continue || note.why.is_empty()));
    assert_eq!(notes.len(), 7);
    chain.mail("ID2", &from("<ann@example.org>"), &[], None);
    chain.abort();
    drop(chain);
    let expected: &[(char, &str)] = &[
        ('O', "\0\0\0\x06\0\0\x01\u{ff}\0\x1f\u{ff}\u{ff}"),
        (
            'D',
            concat!(
                "Cj\0mx.test\0{daemon_name}\0mx.test\0v\0facteur\0",
                "{client_addr}\x00192.0.2.1\0{client_port}\x0040000\0",
                "{client_name}\0client.example.net\0{client_ptr}\0client.example.net\0",
                "_\0client.example.net [192.0.2.1]\0"
            ),
        ),
        ('C', "client.example.net\x004\u{9c}@192.0.2.1\0"),
        ('D', "H{tls_version}\0TLSv1.3\0{cipher}\0TLS_AES_256_GCM_SHA384\0{cipher_bits}\x00256\0"),
        ('H', "client.example.net\0"),
        ('D', "Mi\0ID\0{mail_mailer}\0esmtp\0{auth_type}\0PLAIN\0{auth_authen}\0ann@mx.test\0"),
        ('M', "<>\0SIZE=100\0"),
        ('D', "Ri\0ID\0{rcpt_addr}\0bob@mx.test\0{rcpt_host}\0mx.test\0{rcpt_mailer}\0local\0"),
        ('R', "<bob@mx.test>\0"),
        ('D', "Ri\0ID\0{rcpt_addr}\0\"b b\"@mx.test\0{rcpt_host}\0mx.test\0{rcpt_mailer}\0local\0"),
        ('R', "<\"b b\"@mx.test>\0"),
        ('D', "Ti\0ID\0"),
        ('T', ""),
        ('L', "From\0ann@example.org\0"),
        ('L', "Subject\0no space\0"),
        ('L', "X-Folded\0a\n\tb\0"),
        ('D', "Ni\0ID\0"),
        ('N', ""),
        ('B', "Hello\r\n"),
        ('D', "Ei\0ID\0"),
        ('E', ""),
        (
            'D',
            "Mi\0ID2\0{mail_addr}\0ann@example.org\0{mail_host}\0example.org\0{mail_mailer}\0esmtp\0",
        ),
        ('M', "<ann@example.org>\0"),
        ('A', ""),
        ('K', ""),
        ('O', "\0\0\0\x06\0\0\x01\u{ff}\0\x1f\u{ff}\u{ff}"),
    ];
    crate::support::until("all is heard", || filter.heard()[0].len() >= expected.len());
    let heard = filter.heard().remove(0).into_iter().map(|(letter, data)| {
        let data: String = data.into_iter().map(char::from).collect();
        (char::from(letter), data)
    });
    let heard: Vec<_> = heard.collect();
    let expected: Vec<_> = expected.iter().map(|(c, text)| (*c, (*text).to_owned())).collect();
    assert_eq!(heard, expected);
}

#[test]
fn verdicts_at_each_step() {
    for (letter, answer, expected) in [
        (b'C', "r", refused_plain(550, "5.7.1")),
        (b'H', "y550 5.7.1 go away", refused(550, "5.7.1 go away")),
        (b'M', "y421 closing", refused(421, "4.7.1 closing")),
        (b'R', "t", refused_plain(451, "4.7.1")),
        (b'T', "y450-4.2.1 one\r\n450 4.2.1 two", {
            FilterOpinion::Refuse(Reply::plain(450, "4.2.1 one").line("4.2.1 two"))
        }),
    ] {
        let place = Place::new();
        let answer = if answer.len() > 1 { format!("{answer}\0") } else { answer.to_owned() };
        let filter = answering(&place, letter, &answer);
        let mut chain = alone(&filter);
        assert_eq!(envelope(&mut chain), Err(expected), "{answer}");
        assert_eq!(told(&mut chain).len(), 1);
    }
    for (letter, stage) in
        [(b'L', "header"), (b'N', "end of header"), (b'B', "body"), (b'E', "end of message")]
    {
        let place = Place::new();
        let filter = answering(&place, letter, "y554 5.7.1 virus\0");
        let mut chain = alone(&filter);
        envelope(&mut chain).unwrap();
        let filtered = chain.message(&Message::new(MESSAGE).input("", &[])).unwrap();
        let reply = Reply::plain(554, "5.7.1 virus");
        assert_eq!(filtered.opinion, MessageOpinion::Refuse(reply), "{stage}");
        assert_eq!(told(&mut chain), [format!("one {stage}: reject (554 5.7.1 virus)")]);
        // The session goes on.
        transaction(&mut chain).unwrap();
    }
}

fn refused_plain(code: u16, enhanced: &'static str) -> FilterOpinion {
    let text = if code == 550 { "refused by a filter" } else { "put off by a filter, try later" };
    FilterOpinion::Refuse(Reply::new(code, enhanced, text))
}

#[test]
fn who_is_refused_at_first_stays_refused() {
    let place = Place::new();
    let filter = answering(&place, b'C', "y550 5.7.1 no\0");
    let mut chain = alone(&filter);
    let no = refused(550, "5.7.1 no");
    assert_eq!(chain.connect(client()), no);
    assert_eq!(chain.helo("x", None), no);
    assert_eq!(chain.mail("ID", &from("<>"), &[], None), no);
    assert_eq!(filter.letters(0), "OC");
}

#[test]
fn what_is_accepted_is_not_asked_about_again() {
    for (letter, heard) in
        [(b'H', "OCH"), (b'M', "OCHMM"), (b'R', "OCHMRMR"), (b'L', "OCHMRTLMRTL")]
    {
        let place = Place::new();
        let filter = answering(&place, letter, "a");
        let mut chain = alone(&filter);
        envelope(&mut chain).unwrap();
        let message = Message::new(MESSAGE);
        message.through(&mut chain);
        transaction(&mut chain).unwrap();
        message.through(&mut chain);
        assert_eq!(filter.letters(0), heard);
    }
}

#[test]
fn a_message_is_thrown_away_from_mail_on() {
    for letter in [b'M', b'R', b'T', b'L', b'N', b'B', b'E'] {
        let place = Place::new();
        let (first, second) =
            (Place::new(), Milterd::unix(&place, "2", |_, letter, _| usual(letter)));
        let filter = answering(&first, letter, "d");
        let mut chain = chain(&[filter.config("one"), second.config("two")]);
        envelope(&mut chain).unwrap();
        let message = Message::new(MESSAGE);
        let filtered = chain.message(&message.input("", &[])).unwrap();
        let discard = MessageOpinion::Discard { filter: "one".to_owned() };
        assert_eq!(filtered.opinion, discard);
        let told = told(&mut chain);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(": discard ("), "{told:?}");
        assert!(!second.letters(0).contains('E'));
        drop(chain);
    }
    for letter in [b'C', b'H'] {
        let place = Place::new();
        let filter = answering(&place, letter, "d");
        let mut chain = alone(&filter);
        envelope(&mut chain).unwrap();
        assert_eq!(told(&mut chain).len(), 1);
        Message::new(MESSAGE).through(&mut chain);
        assert!(told(&mut chain).is_empty());
    }
}

#[test]
fn refused_recipients_only_for_those_who_ask() {
    for (steps, heard) in [(0x800, "OCHMRR"), (0, "OCHMR")] {
        let place = Place::new();
        let filter = Milterd::unix(&place, "filter", move |_, letter, _| match letter {
            b'O' => Does::Says(options(6, 0, steps)),
            b'R' => Does::Says(packet("y550 5.7.1 no\0")),
            _ => usual(letter),
        });
        let mut chain = alone(&filter);
        chain.connect(client());
        chain.helo("x", None);
        chain.mail("ID", &from("<>"), &[], None);
        chain.refused_rcpt(&to("<x@mx.test>"), &Reply::new(550, "5.1.1", "no such user"));
        assert_ne!(chain.rcpt(&to("<bob@mx.test>"), &[]), FilterOpinion::GoOn);
        assert_eq!(filter.letters(0), heard);
        let macros =
            b"Ri\0ID\0{rcpt_addr}\0no such user\0{rcpt_host}\x005.1.1\0{rcpt_mailer}\0error\0";
        let has = filter.heard()[0].contains(&(b'D', macros.to_vec()));
        assert_eq!(has, steps != 0);
    }
}

#[test]
fn only_its_services_see_a_filter() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| usual(letter));
    let mut config = filter.config("one");
    config.services = vec![MilterService::Submission, MilterService::Sendmail];
    let filters = chain::filters(&[config]);
    let open = |service| filters.open(service).is_some();
    assert_eq!(MilterService::ALL.map(open), [false, true, false, true]);
    assert!(chain::filters(&[]).open(MilterService::Smtp).is_none());
}

#[test]
fn by_tcp_as_well() {
    let filter = Milterd::tcp(|_, letter, _| usual(letter));
    let mut chain = alone(&filter);
    envelope(&mut chain).unwrap();
    Message::new(MESSAGE).through(&mut chain);
    assert_eq!(filter.letters(0), "OCHMRTLLLNBE");
}
