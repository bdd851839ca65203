use super::*;
use crate::limits::{FILTER_CHUNK_MAX, FILTER_PACKET_MAX, FILTER_REPLY_LINES_MAX};
use proptest::prelude::*;

fn packet(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    packet::write(text[0], &text[1..], &mut out);
    out
}

/// What a filter says to the offer.
fn options(version: u32, actions: u32, steps: u32, rest: &[u8]) -> Vec<u8> {
    let numbers = [version, actions, steps].map(u32::to_be_bytes).concat();
    packet(&[b"O", &numbers[..], rest].concat())
}

fn ready(version: u32, steps: u32) -> MilterClient {
    let mut client = MilterClient::default();
    client.feed(&options(version, 0x1ff, steps, b""));
    assert_eq!(client.answer(), Ok(Some(FilterAnswer::Ready)));
    client
}

/// A client that waits for the answer to a command.
fn asked(command: &FilterCommand<'_>) -> MilterClient {
    let mut client = ready(6, 0x10_0400);
    assert_eq!(client.say(command, &FilterMacros::default(), &mut Vec::new()), Ok(true));
    client
}

fn answers(mut client: MilterClient, octets: &[u8]) -> Result<Vec<FilterAnswer>, BadFilterAnswer> {
    client.feed(octets);
    std::iter::from_fn(|| client.answer().transpose()).collect()
}

fn at_end(text: &[u8]) -> Result<Vec<FilterAnswer>, BadFilterAnswer> {
    answers(asked(&FilterCommand::EndOfMessage), &packet(text))
}

fn said(client: &mut MilterClient, command: &FilterCommand<'_>) -> (bool, Vec<u8>) {
    let mut macros = FilterMacros::default();
    macros.set("i", "ID");
    macros.set("j", "mx.test");
    macros.set("{auth_type}", "");
    let mut out = Vec::new();
    let awaits = client.say(command, &macros, &mut out).unwrap();
    (awaits, out)
}

const MAIL: &str = "<ann@a.test>";

#[test]
fn the_offer() {
    assert_eq!(offer(), b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
}

#[test]
fn commands_with_their_macros() {
    let words = [MAIL.to_owned(), "SIZE=1\0".to_owned()];
    let address = Some(("192.0.2.1".parse().unwrap(), 40000));
    let six = Some(("2001:db8::1".parse().unwrap(), 1));
    for (command, macros, expected) in [
        (
            FilterCommand::Connect { name: "a.test", address },
            &b"Cj\0mx.test\0"[..],
            &b"Ca.test\x004\x9c@192.0.2.1\0"[..],
        ),
        (
            FilterCommand::Connect { name: "a.test", address: six },
            b"Cj\0mx.test\0",
            b"Ca.test\x006\0\x012001:db8::1\0",
        ),
        (
            FilterCommand::Connect { name: "localhost", address: None },
            b"Cj\0mx.test\0",
            b"Clocalhost\0U",
        ),
        (FilterCommand::Helo(b"a\0b"), b"", b"Hab\0"),
        (FilterCommand::Mail(&words), b"Mi\0ID\0", b"M<ann@a.test>\0SIZE=1\0"),
        (FilterCommand::Rcpt(&words[..1]), b"Ri\0ID\0", b"R<ann@a.test>\0"),
        (FilterCommand::Data, b"Ti\0ID\0", b"T"),
        (FilterCommand::Header { name: b"A", value: b" b\n\tc" }, b"", b"LA\0 b\n\tc\0"),
        (FilterCommand::EndOfHeader, b"Ni\0ID\0", b"N"),
        (FilterCommand::Body(b"x\0y"), b"", b"Bx\0y"),
        (FilterCommand::EndOfMessage, b"Ei\0ID\0", b"E"),
    ] {
        let mut whole = Vec::new();
        if !macros.is_empty() {
            whole.extend(packet(&[b"D", macros].concat()));
        }
        whole.extend(packet(expected));
        assert_eq!(said(&mut ready(6, 0), &command), (true, whole), "{command:?}");
    }
}

/// Sendmail's library closes the connection where a packet has more octets.
#[test]
fn a_long_field_is_cut() {
    let value = [b'x'; 1 << 20];
    let (_, out) = said(&mut ready(6, 0), &FilterCommand::Header { name: b"A", value: &value });
    assert_eq!(out.len(), 4 + 1 + FILTER_CHUNK_MAX);
    assert!(out.starts_with(b"\0\x01\0\0LA\0xx") && out.ends_with(b"x\0"));
}

#[test]
fn what_a_filter_does_not_want_is_not_said_or_not_waited_for() {
    let words = [MAIL.to_owned()];
    let commands = [
        (FilterCommand::Connect { name: "", address: None }, 0x1, 0x1000),
        (FilterCommand::Helo(b"x"), 0x2, 0x2000),
        (FilterCommand::Mail(&words), 0x4, 0x4000),
        (FilterCommand::Rcpt(&words), 0x8, 0x8000),
        (FilterCommand::Body(b"x"), 0x10, 0x8_0000),
        (FilterCommand::Header { name: b"A", value: b"" }, 0x20, 0x80),
        (FilterCommand::EndOfHeader, 0x40, 0x4_0000),
        (FilterCommand::Data, 0x200, 0x1_0000),
    ];
    for (command, not_said, not_answered) in commands {
        assert_eq!(said(&mut ready(6, not_said), &command), (false, Vec::new()));
        let (awaits, out) = said(&mut ready(6, not_answered), &command);
        assert!(!awaits && !out.is_empty(), "{command:?}");
        // An old version knows neither: a bit there means nothing.
        let old = said(&mut ready(2, not_answered), &command);
        assert_eq!(old.0, command != FilterCommand::Data, "{command:?}");
        let (awaits, _) = said(&mut ready(6, !(not_said | not_answered)), &command);
        assert!(awaits, "{command:?}");
    }
    assert!(
        said(&mut ready(3, 0x80), &FilterCommand::Header { name: b"A", value: b"" }).1.len() > 4
    );
    assert!(!said(&mut ready(3, 0x80), &FilterCommand::Header { name: b"A", value: b"" }).0);
    assert!(said(&mut ready(4, 0), &FilterCommand::Data).0);
    assert!(said(&mut ready(6, u32::MAX), &FilterCommand::EndOfMessage).0);
}

#[test]
fn versions_and_what_each_lacks() {
    for version in 2..=6 {
        let client = ready(version, 0x10_0c00);
        let options = client.options().unwrap();
        assert_eq!(options.version(), version);
        let new = version == 6;
        assert_eq!((options.keeps_space(), options.wants_refused()), (new, new));
        let mut client = client;
        assert_eq!(client.quit_for_next(&mut Vec::new()), new);
    }
    for (octets, bad) in [
        (options(1, 0, 0, b""), BadFilterAnswer::Version(1)),
        (options(7, 0, 0, b""), BadFilterAnswer::Version(7)),
        (options(6, 0x200, 0, b""), BadFilterAnswer::Actions(0x200)),
        (options(6, 0, 0, b"\0"), BadFilterAnswer::Short),
        (options(6, 0, 0, b"\0\0\0\0i"), BadFilterAnswer::Short),
        (packet(b"O\0\0\0\x06"), BadFilterAnswer::Short),
        (packet(b"c"), BadFilterAnswer::NoNegotiation(b'c')),
    ] {
        assert_eq!(answers(MilterClient::default(), &octets), Err(bad));
    }
}

#[test]
fn a_filter_names_the_macros_it_wants() {
    let mut client = MilterClient::default();
    let wishes = b"\0\0\0\0i {auth_type},j,made_up j\0\0\0\0\x01\0\0\0\0\x63i\0\0\0\0\x05j i\0";
    client.feed(&options(6, 0x100, 0, wishes));
    assert_eq!(client.answer(), Ok(Some(FilterAnswer::Ready)));
    let connect = FilterCommand::Connect { name: "", address: None };
    let begin = packet(b"DCi\0ID\0j\0mx.test\0");
    assert!(said(&mut client, &connect).1.starts_with(&begin));
    client.feed(&packet(b"c"));
    client.answer().unwrap();
    // An empty list: none. A list that we know nothing of is no list.
    assert_eq!(said(&mut client, &FilterCommand::Helo(b"x")).1, packet(b"Hx\0"));
    client.feed(&packet(b"c"));
    client.answer().unwrap();
    let end = [packet(b"DEj\0mx.test\0i\0ID\0"), packet(b"E")].concat();
    assert_eq!(said(&mut client, &FilterCommand::EndOfMessage).1, end);
}

#[test]
fn answers_are_read() {
    use FilterChange::*;
    let bytes = <[u8]>::to_vec;
    let (name, value) = (bytes(b"X"), bytes(b" y\n\tz"));
    for (text, expected) in [
        (&b"hX\0 y\n\tz\0"[..], AddField { name: name.clone(), value: value.clone() }),
        (b"i\0\0\0\x02X\0 y\n\tz\0", InsertField { at: 2, name: name.clone(), value }),
        (b"m\0\0\x01\0X\0\0", ChangeField { at: 256, name, value: bytes(b"") }),
        (b"e<a@b>\0", Sender { path: bytes(b"<a@b>"), has_parameters: false }),
        (b"e<a@b>\0SIZE=1\0", Sender { path: bytes(b"<a@b>"), has_parameters: true }),
        (b"+<a@b>\0", AddRecipient { path: bytes(b"<a@b>"), has_parameters: false }),
        (b"2<a@b>\0NOTIFY=NEVER\0", AddRecipient { path: bytes(b"<a@b>"), has_parameters: true }),
        (b"-<a@b>\0", RemoveRecipient(bytes(b"<a@b>"))),
        (b"b", Body(bytes(b""))),
        (b"ba\0b", Body(bytes(b"a\0b"))),
        (b"qvirus\0", Quarantine(bytes(b"virus"))),
    ] {
        assert_eq!(at_end(text), Ok(vec![FilterAnswer::Change(expected)]));
        let elsewhere = answers(asked(&FilterCommand::Data), &packet(text));
        let stage = FilterStage::Data;
        assert_eq!(elsewhere, Err(BadFilterAnswer::Stage { letter: text[0], stage }));
    }
    for (letter, verdict) in [
        (b'c', FilterVerdict::Continue),
        (b'a', FilterVerdict::Accept),
        (b'r', FilterVerdict::Reject),
        (b't', FilterVerdict::Tempfail),
        (b'd', FilterVerdict::Discard),
        (b'f', FilterVerdict::ConnectionFailure),
        (b'4', FilterVerdict::Shutdown),
    ] {
        let progress = [packet(b"p"), packet(b"p"), packet(&[letter])].concat();
        let heard = answers(asked(&FilterCommand::Helo(b"x")), &progress).unwrap();
        assert_eq!(heard[2..], [FilterAnswer::Verdict(verdict)]);
        assert_eq!(at_end(&[letter, b'x']), Err(BadFilterAnswer::Rest(letter)));
    }
}

#[test]
fn no_more_of_a_body() {
    let body = FilterCommand::Body(b"x");
    let mut client = asked(&body);
    client.feed(&packet(b"s"));
    assert_eq!(client.answer(), Ok(Some(FilterAnswer::Skip)));
    assert_eq!(said(&mut client, &body), (false, Vec::new()));
    assert!(said(&mut client, &FilterCommand::EndOfMessage).0);
    client.feed(&packet(b"a"));
    client.answer().unwrap();
    // The next message has a body again.
    assert!(said(&mut client, &FilterCommand::EndOfHeader).0);
    client.feed(&packet(b"c"));
    client.answer().unwrap();
    assert!(said(&mut client, &body).0);
    let bad = |client| answers(client, &packet(b"s")).unwrap_err().to_string();
    assert_eq!(bad(asked(&FilterCommand::EndOfMessage)), "the answer 's' to end of message");
    let mut plain = ready(6, 0);
    said(&mut plain, &body);
    assert_eq!(bad(plain), "the answer 's' to body");
}

#[test]
fn what_is_no_answer() {
    for (octets, bad) in [
        (&b"\0\0\0\0"[..], "a packet of no octets"),
        (b"\xff\xff\xff\xff", "a packet of 4294967295 octets"),
        (b"\0\x10\0\x01", "a packet of 1048577 octets"),
        (b"\0\0\0\x01\n", "an unknown answer '\\n'"),
        (b"\0\0\0\x01O", "an unknown answer 'O'"),
        (b"\0\0\0\x02hX", "an answer without its end"),
        (b"\0\0\0\x03hX\0", "an answer without its end"),
        (b"\0\0\0\x04hX\0y", "an answer without its end"),
        (b"\0\0\0\x06hX\0y\0z", "octets behind the answer 'h'"),
        (b"\0\0\0\x04m\0\0\0", "an answer without its end"),
        (b"\0\0\0\x05e<>\0x", "an answer without its end"),
        (b"\0\0\0\x02-x", "an answer without its end"),
        (b"\0\0\0\x05y550 ", "an answer without its end"),
        (b"\0\0\0\x06y250 \0", "a reply whose code is no 4xx or 5xx"),
        (b"\0\0\0\x06y55x \0", "a reply whose code is no 4xx or 5xx"),
        (b"\0\0\0\x06y5501\0", "a reply whose code is no 4xx or 5xx"),
        (b"\0\0\0\x02y\0", "a reply whose code is no 4xx or 5xx"),
        (b"\0\0\0\x01c\0\0\0\x01c", "an answer that nobody asked for"),
    ] {
        let client = asked(&FilterCommand::EndOfMessage);
        assert_eq!(answers(client, octets).unwrap_err().to_string(), bad);
    }
    let mut early = ready(6, 0);
    early.feed(&packet(b"c"));
    let said = early.say(&FilterCommand::Data, &FilterMacros::default(), &mut Vec::new());
    assert_eq!(said, Err(BadFilterAnswer::Unasked));
    assert!(!early.quit_for_next(&mut Vec::new()));
    let mut unready = MilterClient::default();
    let said = unready.say(&FilterCommand::Data, &FilterMacros::default(), &mut Vec::new());
    assert_eq!(said, Err(BadFilterAnswer::NotReady));
}

#[test]
fn replies() {
    let wire = |text: &[u8]| {
        let text = [b"y", text, b"\0"].concat();
        let Ok(answers) = at_end(&text) else { panic!("{}", text.escape_ascii()) };
        let [FilterAnswer::Verdict(FilterVerdict::Reply(reply))] = &answers[..] else { panic!() };
        let mut out = Vec::new();
        reply.to_reply().write_to(&mut out);
        String::from_utf8(out).unwrap()
    };
    for (text, expected) in [
        (&b"554 5.7.1 Gtube pattern"[..], "554 5.7.1 Gtube pattern\r\n"),
        (b"550-5.7.1 We\r\n550 5.7.1 you", "550-5.7.1 We\r\n550 5.7.1 you\r\n"),
        (b"550-5.2.3 We\r\n550 you\r\nbare", "550-5.2.3 We\r\n550-5.2.3 you\r\n550 5.2.3 bare\r\n"),
        (b"450 wait\n\x1b[2J\x07", "450-4.7.1 wait\r\n450 4.7.1 \\x1b[2J\\x07\r\n"),
        (b"550 4.7.1 odd", "550 5.7.1 4.7.1 odd\r\n"),
        (b"421", "421 4.7.1\r\n"),
        (b"550 100%% %s", "550 5.7.1 100% %s\r\n"),
        (b"550 caf\xc3\xa9 \xff", "550 5.7.1 caf\u{e9} \\xff\r\n"),
        (b"550 5.7.1 a\r\n250 ok", "550-5.7.1 a\r\n550 5.7.1 250 ok\r\n"),
        (b"550 5.7.1.2 x", "550 5.7.1 5.7.1.2 x\r\n"),
    ] {
        assert_eq!(wire(text), expected);
    }
    let many = "550 5.7.1 x\r\n".repeat(FILTER_REPLY_LINES_MAX + 5);
    assert_eq!(wire(many.as_bytes()).lines().count(), FILTER_REPLY_LINES_MAX);
    let long = [b"550 ", &vec![b'x'; FILTER_PACKET_MAX / 2][..]].concat();
    assert!(wire(&long).len() <= 512);
}

#[test]
fn bodies_go_with_crlf_and_come_with_lf() {
    let body = "a\nbc\n".repeat(30_000);
    let mut chunks = BodyChunks::default();
    let mut sent = Vec::new();
    for piece in body.as_bytes().chunks(999) {
        chunks.feed(piece);
        while let Some(chunk) = chunks.next(false) {
            assert_eq!(chunk.len(), 65_535);
            sent.push(chunk);
        }
    }
    sent.extend(chunks.next(true));
    assert_eq!(chunks.next(true), None);
    let sent = sent.concat();
    assert_eq!(String::from_utf8(sent.clone()).unwrap(), body.replace('\n', "\r\n"));
    for size in [1, 2, 7, 1000] {
        let mut lines = BodyLines::default();
        let back: Vec<u8> = sent.chunks(size).flat_map(|piece| lines.feed(piece)).collect();
        assert_eq!((back, lines.end()), (body.clone().into_bytes(), &b""[..]));
    }
    let mut lines = BodyLines::default();
    assert_eq!(lines.feed(b"a\r"), b"a");
    assert_eq!(lines.feed(b"b\r"), b"b");
    assert_eq!(lines.end(), b"\n");
}

proptest! {
    /// The same answers in whatever pieces they come; no octets make it panic.
    #[test]
    fn any_octets_in_any_pieces(
        octets in prop::collection::vec(any::<u8>(), 0..60),
        letters in prop::collection::vec((prop::sample::select(b"+-abcdehimpqrsty24fOx".to_vec()),
            prop::collection::vec(prop::sample::select(b"\0\0\x01ab5 0\r\n<>@".to_vec()), 0..12)), 0..6),
        size in 1usize..9,
    ) {
        let packets = letters.iter().flat_map(|(letter, data)| packet(&[&[*letter], &data[..]].concat()));
        let octets: Vec<u8> = packets.chain(octets).collect();
        for command in [FilterCommand::EndOfMessage, FilterCommand::Body(b""), FilterCommand::Data] {
            let whole = answers(asked(&command), &octets);
            let mut client = asked(&command);
            let mut found = Ok(Vec::new());
            'all: for piece in octets.chunks(size) {
                client.feed(piece);
                loop {
                    match client.answer() {
                        Ok(None) => break,
                        Ok(Some(answer)) => found.as_mut().unwrap().push(answer),
                        Err(bad) => {
                            found = Err(bad);
                            break 'all;
                        }
                    }
                }
            }
            prop_assert_eq!(&whole, &found);
        }
        let negotiated = answers(MilterClient::default(), &octets);
        prop_assert!(negotiated.is_err() || negotiated == Ok(Vec::new()) || octets[4] == b'O');
    }
}
