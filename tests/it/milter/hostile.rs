//! Filters that fail, are late, or mean harm: mail goes on without them or is put off, and the note says why.

use super::MESSAGE;
use super::chain::{Message, chain, envelope, filters, told};
use super::milterd::{Does, LONG, Milterd, options, packet, usual};
use crate::support::Place;
use facteur::config::{Milter, MilterService};
use facteur::filters::{FilterChain, FilterOpinion, MessageOpinion};
use facteur::smtp::reply::Reply;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Short, for what never comes.
const SHORT: Duration = Duration::from_millis(30);

fn late() -> Reply {
    Reply::new(451, "4.7.1", "a filter does not answer, try later")
}

/// What becomes of a session and a message: the first refusal, if any.
fn outcome(chain: &mut FilterChain) -> Result<(), Reply> {
    if let Err(FilterOpinion::Refuse(reply)) = envelope(chain) {
        return Err(reply);
    }
    match chain.message(&Message::new(MESSAGE).input("", &[])).unwrap().opinion {
        MessageOpinion::Take => Ok(()),
        MessageOpinion::Refuse(reply) => Err(reply),
        MessageOpinion::Discard { filter } => panic!("thrown away by {filter}"),
    }
}

/// The same filter where mail is put off, and where it goes on without it.
fn both_ways(config: &Milter) -> Vec<String> {
    let mut all = Vec::new();
    for is_passed in [false, true] {
        let mut config = config.clone();
        config.is_passed = is_passed;
        let mut chain = chain(&[config]);
        let expected = if is_passed { Ok(()) } else { Err(late()) };
        assert_eq!(outcome(&mut chain), expected);
        all.push(told(&mut chain).into_iter().next().unwrap());
    }
    assert_eq!(all[0], all[1]);
    all
}

/// A filter that says these octets to one letter, and then does what is given.
fn odd(place: &Place, letter: u8, octets: Vec<u8>, does: fn(Vec<u8>) -> Does) -> Milter {
    let filter = Milterd::unix(place, "filter", move |_, asked, _| match asked == letter {
        true => does(octets.clone()),
        false => usual(asked),
    });
    filter.config("one")
}

#[test]
fn nonsense_at_each_step() {
    for (letter, step) in [
        (b'O', "connect"),
        (b'C', "connect"),
        (b'H', "helo"),
        (b'M', "mail"),
        (b'R', "rcpt"),
        (b'T', "data"),
        (b'L', "end of message"),
        (b'N', "end of message"),
        (b'B', "end of message"),
        (b'E', "end of message"),
    ] {
        for (octets, what) in [
            (vec![0xff; 4], "a packet of 4294967295 octets"),
            (vec![0; 4], "a packet of no octets"),
            (packet("Z"), "an unknown answer 'Z'"),
            (packet("y200 fine\0"), "a reply whose code is no 4xx or 5xx"),
            (packet("hX"), "an answer without its end"),
        ] {
            let place = Place::new();
            let config = odd(&place, letter, octets, Does::Says);
            let what = match letter {
                b'O' if !what.starts_with("a packet") => {
                    let letter = &what[what.len() - 2..what.len() - 1];
                    let letter = if what.contains("unknown") { letter } else { "" };
                    format!("the answer '{letter}")
                }
                _ => what.to_owned(),
            };
            let told = both_ways(&config).remove(0);
            let expected = format!("one {step}: failed (it sent {what}");
            assert!(told.starts_with(&expected), "{told} {expected}");
        }
        let place = Place::new();
        let told = both_ways(&odd(&place, letter, Vec::new(), Does::Closes)).remove(0);
        assert_eq!(told, format!("one {step}: failed (it closed the connection)"));
    }
}

#[test]
fn changes_before_the_end_of_the_message() {
    for change in ["hX\x001\0", "+<a@b.test>\0", "bbody", "qbad\0", "s"] {
        let place = Place::new();
        let told = both_ways(&odd(&place, b'M', packet(change), Does::Says)).remove(0);
        let letter = &change[..1];
        assert_eq!(told, format!("one mail: failed (it sent the answer '{letter}' to mail)"));
    }
}

#[test]
fn who_shuts_down_has_failed() {
    for (answer, what) in [("4", "that it shuts down"), ("f", "that the connection should fail")] {
        let place = Place::new();
        let told = both_ways(&odd(&place, b'R', packet(answer), Does::Says)).remove(0);
        assert_eq!(told, format!("one rcpt: failed (it answered {what})"));
    }
}

#[test]
fn silence_at_each_octet() {
    let answers = [
        (b'O', options(6, 0x1ff, 0)),
        (b'M', packet("y450 4.7.1 no\0")),
        (b'E', [packet("hX\x001\0"), packet("p"), packet("a")].concat()),
    ];
    for (letter, answer) in answers {
        for cut in 0..answer.len() {
            let place = Place::new();
            let mut config = odd(&place, letter, answer[..cut].to_vec(), Does::Hangs);
            config.timeout.command = if letter == b'E' { LONG } else { SHORT };
            config.timeout.message = SHORT;
            config.is_passed = true;
            let mut chain = chain(&[config]);
            assert_eq!(outcome(&mut chain), Ok(()));
            let told = told(&mut chain);
            assert!(told[0].ends_with("failed (no answer in time)"), "{told:?}");
        }
    }
}

#[test]
fn octets_that_drip_do_not_prolong_the_wait() {
    let place = Place::new();
    let socket = place.at("drip");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    // One octet of a long answer every now and then, for as long as it is taken.
    let (stop, stopped) = mpsc::channel::<()>();
    let dripping = thread::spawn(move || {
        use std::io::Write;
        let mut streams = Vec::new();
        listener.set_nonblocking(true).unwrap();
        loop {
            streams.extend(listener.accept().map(|(stream, _)| (stream, 0)));
            for (stream, sent) in &mut streams {
                let octet: u8 = if *sent < 3 { [0, 1, 0][*sent] } else { b'x' };
                *sent += usize::from(stream.write_all(&[octet]).is_ok());
            }
            match stopped.recv_timeout(Duration::from_millis(2)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                _ => return,
            }
        }
    });
    let quiet = Milterd::unix(&place, "quiet", |_, letter, _| usual(letter));
    let mut config = quiet.config("one");
    config.socket = facteur::config::MilterSocket::Unix(socket);
    config.timeout.command = SHORT;
    let begun = Instant::now();
    let mut chain = chain(&[config]);
    assert_eq!(outcome(&mut chain), Err(late()));
    assert!(begun.elapsed() < LONG);
    assert_eq!(told(&mut chain)[0], "one connect: failed (no answer in time)");
    stop.send(()).unwrap();
    dripping.join().unwrap();
}

#[test]
fn progress_prolongs_the_wait() {
    // More words than a wait is long, each of which renews it.
    let place = Place::new();
    let socket = place.at("slow");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let slow = thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let (_alive, never) = mpsc::channel::<()>();
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let mut packet = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut packet).unwrap();
            let answer = match packet[0] {
                b'D' | b'A' | b'K' | b'Q' => continue,
                b'O' => options(6, 0x1ff, 0),
                b'E' => {
                    for _ in 0..12 {
                        let _ = never.recv_timeout(Duration::from_millis(50));
                        stream.write_all(&super::packet("p")).unwrap();
                    }
                    super::packet("c")
                }
                _ => super::packet("c"),
            };
            stream.write_all(&answer).unwrap();
        }
    });
    let quiet = Milterd::unix(&place, "quiet", |_, letter, _| usual(letter));
    let mut config = quiet.config("one");
    config.socket = facteur::config::MilterSocket::Unix(socket);
    config.timeout.message = Duration::from_millis(500);
    let mut chain = chain(&[config]);
    assert_eq!(outcome(&mut chain), Ok(()));
    drop(chain);
    drop(place);
    drop(slow);
}

#[test]
fn answers_octet_by_octet_are_answers() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| match usual(letter) {
        Does::Says(octets) if letter == b'E' => Does::Drips([packet("hX\x001\0"), octets].concat()),
        Does::Says(octets) => Does::Drips(octets),
        does => does,
    });
    let mut chain = chain(&[filter.config("one")]);
    assert_eq!(outcome(&mut chain), Ok(()));
    assert_eq!(told(&mut chain), ["one end of message: changed (1 change of fields)"]);
}

#[test]
fn a_filter_that_is_not_there() {
    let place = Place::new();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| usual(letter));
    let mut config = filter.config("one");
    config.socket = facteur::config::MilterSocket::Unix(place.at("nobody"));
    let told = both_ways(&config).remove(0);
    assert!(told.starts_with("one connect: failed (cannot connect: No such file"), "{told}");
}

#[test]
fn a_filter_that_does_not_accept_is_not_waited_for_long() {
    let place = Place::new();
    let socket = place.at("full");
    let listener =
        socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    listener.bind(&socket2::SockAddr::unix(&socket).unwrap()).unwrap();
    listener.listen(0).unwrap();
    let _first = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let filter = Milterd::unix(&place, "filter", |_, letter, _| usual(letter));
    let mut config = filter.config("one");
    config.socket = facteur::config::MilterSocket::Unix(socket);
    config.timeout.connect = SHORT;
    config.timeout.command = SHORT;
    both_ways(&config);
}

#[test]
fn changes_without_end_are_cut() {
    let place = Place::new();
    let many = packet("hX\x001\0").repeat(10_001);
    let told = both_ways(&odd(&place, b'E', many, Does::Says)).remove(0);
    let what = "it asked for more changes than a message may have";
    assert_eq!(told, format!("one end of message: failed ({what})"));
    let place = Place::new();
    let long = packet(format!("hX\0{}\0", "x".repeat(1000))).repeat(1_050);
    let told = both_ways(&odd(&place, b'E', long, Does::Says)).remove(0);
    assert_eq!(told, format!("one end of message: failed ({what})"));
}

#[test]
fn who_hangs_holds_nobody_else() {
    let place = Place::new();
    let (go_on, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let filter = Milterd::unix(&place, "filter", move |index, letter, _| {
        if letter == b'M' && index == 0 {
            gate.lock().unwrap().recv().unwrap();
        }
        usual(letter)
    });
    let filters = filters(&[filter.config("one")]);
    let mut first = filters.open(MilterService::Smtp).unwrap();
    first.connect(super::client());
    thread::scope(|scope| {
        let held = scope.spawn(move || first.mail("ID", &super::from("<>"), &[], None));
        crate::support::until("it hangs", || filter.letters(0).ends_with('M'));
        for _ in 0..20 {
            let mut other = filters.open(MilterService::Smtp).unwrap();
            assert_eq!(outcome(&mut other), Ok(()));
        }
        assert!(!held.is_finished());
        go_on.send(()).unwrap();
        assert_eq!(held.join().unwrap(), FilterOpinion::GoOn);
    });
}
