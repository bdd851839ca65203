//! The other dialect: a reply for each recipient after the message (RFC 2033).

use super::*;

const LHLO: &str = "LMTP\nS: 220 mx\nC: LHLO me.test\nS: 250-mx\nS: 250 PIPELINING\n";

/// Three recipients, of whom bob is refused; DATA comes once each has its reply.
const TWO: &str = "C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nC: RCPT TO:<bob@d.test>\n\
    C: RCPT TO:<cat@d.test>\nS: 250 ok\nS: 250 ok\nS: 550 no\nS: 250 ok\nC: DATA\nS: 354 go\n";

#[test]
fn each_recipient_that_was_accepted_has_a_reply() {
    let bob = "> failed said 550 no (RCPT)\n";
    for (rest, ann, cat) in [
        ("M\nS: 250 one\nS: 250 two", "relayed 250 one", "relayed 250 two"),
        (
            "M\nS: 550 5.7.1 one\nS: 450 4.2.2 two",
            "failed said 550 5.7.1 one (end of the message)",
            "deferred said 450 4.2.2 two (end of the message)",
        ),
        ("M\nS: 250-one\nS: 250 1\nS: 250 two", "relayed 250 one / 1", "relayed 250 two"),
        // Too few.
        (
            "M\nS: 250 one\nclosed",
            "relayed 250 one",
            "deferred closed the connection (end of the message)",
        ),
        (
            "M\nS: 250 one\nsilent",
            "relayed 250 one",
            "deferred was silent too long (end of the message)",
        ),
        (
            "M\nS: 250 one\nS: 421 bye",
            "relayed 250 one",
            "deferred said 421 bye (end of the message)",
        ),
        (
            "M\nS: 421 bye",
            "deferred said 421 bye (end of the message)",
            "deferred said 421 bye (end of the message)",
        ),
        (
            "M\nS: 250 one\nS: what",
            "relayed 250 one",
            "deferred is no sound mail server, it sent \"what\" is no reply (end of the message)",
        ),
        ("S: 450 later", "deferred said 450 later (DATA)", "deferred said 450 later (DATA)"),
    ] {
        let two =
            if rest.starts_with('S') { TWO.replace("S: 354 go\n", "") } else { TWO.to_owned() };
        play(&three(), &format!("{LHLO}{two}{rest}\n> {ann}\n{bob}> {cat}"));
    }
}

#[test]
fn a_reply_too_many_ends_the_connection_and_decides_nothing() {
    let dialog = format!(
        "{LHLO}{TWO}M\nS: 250 one\nS: 250 two\nS: 550 three\n> relayed 250 one\n\
         > failed said 550 no (RCPT)\n> relayed 250 two"
    );
    for step in [1, 7, 1 << 20] {
        let client = play_in(&three(), &dialog, step);
        assert!(client.over().is_some());
    }
}

#[test]
fn who_is_refused_gets_no_message_and_no_data() {
    play(
        &one(),
        &format!(
            "{LHLO}C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nS: 250 ok\nS: 550 5.1.1 no\n\
             > failed said 550 5.1.1 no (RCPT)"
        ),
    );
}

#[test]
fn a_server_that_knows_no_lhlo_is_not_asked_for_smtp() {
    play(&one(), "LMTP\nS: 220 mx\nC: LHLO me.test\nS: 500 what\n> next said 500 what (EHLO)");
}

/// A reply inside the message says about which recipient only where there is one.
#[test]
fn a_refusal_inside_the_message() {
    let fate = "> next said 552 big (inside the message)\n";
    let dialog =
        format!("{LHLO}{TWO}inside\nS: 552 big\n{fate}> failed said 550 no (RCPT)\n{fate}");
    play(&three(), &dialog);
    let mail = "C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nS: 250 ok\nS: 250 ok\nC: DATA\nS: 354 go\n";
    let fate = "> failed said 552 big (inside the message)";
    play(&one(), &format!("{LHLO}{mail}inside\nS: 552 big\n{fate}"));
}

/// What is kept is asked RSET alone: a late reply stands in the place of none that counts.
#[test]
fn a_further_transaction_begins_with_a_reset_of_its_own() {
    let mut client = Client::by_lmtp("me.test");
    let mut said = Vec::new();
    let replies = ["220 mx", "250-mx\r\n250 PIPELINING", "250 ok\r\n250 ok", "354 go"];
    let one = one();
    let mut speak = |client: &mut Client, replies: &[&str]| {
        let mut replies = replies.iter();
        loop {
            match client.action() {
                Action::Send(octets) => said.push(String::from_utf8_lossy(&octets).into_owned()),
                Action::Await(_) => match replies.next() {
                    Some(reply) => client.feed(format!("{reply}\r\n").as_bytes()),
                    None => break,
                },
                Action::Rest if client.decided().is_empty() && replies.len() > 0 => {
                    assert!(client.begin(&one, &[0]));
                }
                Action::SendMessage => {
                    client.message_ends();
                    client.feed(b"250 yes\r\n");
                }
                _ => break,
            }
        }
    };
    speak(&mut client, &replies);
    assert!(client.begin(&one, &[0]));
    speak(&mut client, &["250 reset", "250 ok\r\n250 ok"]);
    let sent: Vec<&str> = said.iter().map(String::as_str).collect();
    let transaction = "MAIL FROM:<a@b.test>\r\nRCPT TO:<ann@d.test>\r\n";
    assert_eq!(
        sent,
        ["LHLO me.test\r\n", transaction, "DATA\r\n", "RSET\r\n", transaction, "DATA\r\n"]
    );
}
