//! However the network cuts the octets, replies and mail are the same; and wherever a client goes
//! away, only what was answered with 250 is there.

use crate::room::{Room, masked};
use crate::support::{Dice, text};
use std::path::PathBuf;

/// Several messages with dots, pipelining and errors. All its octets are in use.
const SESSION: &[u8] = b"EHLO client.test\r\n\
    NONSENSE\r\nMAIL FROM:<bad\r\nRCPT TO:<ann@mx.test>\r\n\
    MAIL FROM:<a@client.test> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<ann@mx.test>\r\n\
    RCPT TO:<bob@mx.test>\r\nRCPT TO:<x@elsewhere.test>\r\nDATA\r\n\
    Return-Path: <old@x>\r\nSubject: one\r\n\r\n..\r\n...\r\n. a\r\n.. b\r\n\r\n..\r\nend\r\n.\r\n\
    MAIL FROM:<>\r\nDATA\r\nRCPT TO:<ann+tag@mx.test>\r\nDATA\r\n.\r\n\
    RSET\r\nmail from:<\"q \\\" d\"@client.test>\r\nrcpt to:<postmaster>\r\ndata\r\n\
    \0\xff\x1b \r\n.\r\n\
    MAIL FROM:<a@client.test>\r\nRCPT TO:<ann@mx.test>\r\nDATA\r\nbare\n.\nhere\r\n.\r\n\
    HELO client.test\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<Bob@mx.test>\r\nDATA\r\n\
    MAIL FROM:<smuggled@x>\r\nQUIT\r\n.\r\nNOOP\r\nQUIT\r\nleft over\r\n";

/// What a session of these pieces gave: replies and files, without ids and dates.
type Result = (String, Vec<(PathBuf, String)>);

fn play(pieces: &[&[u8]]) -> Result {
    let room = Room::new("");
    let told = room.talk(pieces);
    (masked(&told), room.files())
}

fn whole() -> Result {
    play(&[SESSION])
}

#[test]
fn the_session_is_what_it_is_meant_to_be() {
    let (told, files) = whole();
    let codes: Vec<&str> = told.lines().filter(|l| &l[3..4] == " ").map(|l| &l[..3]).collect();
    let expected = "220 250 500 501 503 250 250 250 550 354 250 250 503 250 354 250 \
                    250 250 250 354 250 250 250 354 550 250 250 250 354 250 250 221";
    assert_eq!(codes.join(" "), expected, "{told}");
    let mut users: Vec<&str> =
        files.iter().map(|(dir, _)| dir.to_str().unwrap().rsplit('/').nth(1).unwrap()).collect();
    users.dedup();
    assert_eq!((files.len(), users), (5, vec!["ann", "bob", "postmaster"]), "{files:?}");
    let one = "DATE\nSubject: one\n\n.\n..\n a\n. b\n\n.\nend\n";
    assert_eq!(files.iter().filter(|(_, mail)| mail.ends_with(one)).count(), 2, "{files:?}");
}

#[test]
fn two_pieces_cut_anywhere() {
    let expected = whole();
    for cut in 1..SESSION.len() {
        let (one, other) = SESSION.split_at(cut);
        let found = play(&[one, other]);
        assert_eq!(found, expected, "cut at {cut}, after {:?}", text(&one[cut.min(20)..]));
    }
}

#[test]
fn any_number_of_pieces() {
    let expected = whole();
    assert_eq!(play(&SESSION.chunks(1).collect::<Vec<_>>()), expected, "octet by octet");
    let mut dice = Dice::new(1);
    for round in 0..500 {
        let largest = [3, 10, 100, 400][dice.below(4)];
        let (mut pieces, mut rest) = (Vec::new(), SESSION);
        while !rest.is_empty() {
            let (piece, left) = rest.split_at((1 + dice.below(largest)).min(rest.len()));
            pieces.push(piece);
            rest = left;
        }
        assert_eq!(play(&pieces), expected, "round {round}");
    }
}

#[test]
fn a_large_message_in_any_pieces() {
    let line = b"..a dot, and some text that is long enough to be cut somewhere in the middle\r\n";
    let body: Vec<u8> = line.iter().copied().cycle().take(line.len() * 2000).collect();
    let start = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<ann@mx.test>\r\nDATA\r\n\r\n";
    let session = [&start[..], &body, b".\r\nNOOP\r\n"].concat();
    let expected = play(&[&session]);
    assert!(expected.1[0].1.len() > 100_000, "{}", expected.0);
    let mut dice = Dice::new(2);
    for size in [1, 7, 1023, 1024, 1025, 32_767, 32_768, 65_537] {
        let (first, rest) = session.split_at(dice.below(1000));
        let mut pieces = vec![first];
        pieces.extend(rest.chunks(size));
        assert!(play(&pieces) == expected, "pieces of {size}");
    }
}

#[test]
fn a_client_that_goes_away_leaves_only_what_was_answered() {
    let (_, all) = whole();
    for end in 0..=SESSION.len() {
        let room = Room::new("");
        let told = room.talk(&[&SESSION[..end]]);
        let files = room.files();
        // The first message has two recipients, all others one.
        let answered = told.lines().filter(|line| line.starts_with("250 2.0.0 Ok: queued")).count();
        let expected = answered + usize::from(answered > 0);
        assert_eq!(files.len(), expected, "closed after {end} octets: {told}");
        assert!(files.iter().all(|file| all.contains(file)), "after {end} octets: {files:?}");
    }
}
