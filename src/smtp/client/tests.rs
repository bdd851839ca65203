//! The machine against hosts of a few lines, whose octets come in pieces of any size.
//!
//! `S:` the host says (`S+:` all in one piece, `~` ends a line); `C:` the machine has said; `M` it sends the message; `closed`, `silent`: so is
//! the host from here on; `tls`: the handshake is done. `W offered` or `W required`, before all else: the
//! machine wants TLS. `LMTP`: it speaks that. What stands behind `>` is the fate of each recipient, in order.

mod lmtp;
mod refusals;
mod requiretls;

use super::*;
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::envelope::{Recipient, Sender};
use crate::smtp::auth::Credentials;

/// A small message of seven bits.
pub(super) fn outgoing(from: &str, to: &[&str]) -> OutgoingMessage {
    let path = format!("<{from}>");
    let (from, _) = ReversePath::parse(path.as_bytes()).unwrap();
    let sender = Sender::new(from);
    let recipients = to.iter().map(|to| {
        let (path, _) = ForwardPath::parse(format!("<{to}>").as_bytes()).unwrap();
        Recipient { path, notify: None, orcpt: None }
    });
    let envelope = Envelope { sender, recipients: recipients.collect() };
    let content = WireForm { size: 10, is_eight_bit: false, has_eight_bit_header: false };
    OutgoingMessage { envelope, content }
}

struct Play<'a> {
    client: Client,
    outgoing: &'a OutgoingMessage,
    sent: Vec<u8>,
    fates: Vec<Option<Fate>>,
}

impl Play<'_> {
    /// Lets the machine speak, and begin as many transactions as there are.
    fn pump(&mut self) {
        loop {
            match self.client.action() {
                Action::Send(octets) => self.sent.extend(octets),
                Action::Rest => {
                    let left: Vec<usize> =
                        (0..self.fates.len()).filter(|i| self.fates[*i].is_none()).collect();
                    if left.is_empty() || !self.client.begin(self.outgoing, &left) {
                        return;
                    }
                }
                Action::Await(_) | Action::SendMessage | Action::StartTls | Action::Close => return,
            }
            self.note();
        }
    }

    fn note(&mut self) {
        for (index, fate) in self.client.decided() {
            assert!(self.fates[index].replace(fate).is_none(), "{index} was decided twice");
        }
    }

    fn hear(&mut self, text: &str, step: usize) {
        for piece in text.as_bytes().chunks(step) {
            self.client.feed(piece);
            self.note();
            self.pump();
        }
    }

    fn line(&mut self, line: &str, step: usize) {
        match line {
            "LMTP" => return self.client.is_lmtp = true,
            "W offered" => return self.client.secrecy = Secrecy::Offered,
            "L" => {
                let (user, password) = ("ann".to_owned(), "pencil".to_owned());
                let nonce = "rOprNGfwEbeRWgbNEkqO".to_owned();
                return self.client.log_in(Credentials { user, password }, nonce, None);
            }
            "W required" => return self.client.secrecy = Secrecy::Required,
            "F" => return self.client.in_the_clear = Some("was silent".to_owned()),
            _ => self.pump(),
        }
        match line.split_once(": ") {
            Some(("S", text)) => self.hear(&format!("{text}\r\n"), step),
            Some(("S+", text)) => self.hear(&text.replace('~', "\r\n"), 1 << 20),
            Some(("C", text)) => {
                let line = format!("{text}\r\n");
                let sent = String::from_utf8_lossy(&self.sent).into_owned();
                assert!(sent.starts_with(&line), "{text:?}, not {sent:?}");
                self.sent.drain(..line.len());
            }
            _ if line == "M" => {
                assert_eq!(self.client.action(), Action::SendMessage);
                self.client.message_ends();
            }
            _ if line == "tls" => {
                assert_eq!(self.client.action(), Action::StartTls);
                assert!(!self.client.may_quit());
                self.client.secured();
            }
            _ if line == "inside" => assert_eq!(self.client.action(), Action::SendMessage),
            _ if line == "closed" => self.client.lost(Cause::Closed),
            _ if line == "silent" => self.client.lost(Cause::Silent),
            _ if line == "unreadable" => self.client.lost(Cause::Unreadable("EIO".to_owned())),
            _ => panic!("{line:?} in a dialog"),
        }
        self.note();
    }
}

fn words(fate: &Fate) -> String {
    match fate {
        Fate::Relayed(answer) => format!("relayed {answer}"),
        Fate::Deferred(reason) => format!("deferred {reason}"),
        Fate::Failed(reason) => format!("failed {reason}"),
        Fate::NextHost(reason) => format!("next {reason}"),
    }
}

/// Plays a dialog with octets in pieces of `step`; gives the machine as it is then.
fn play_in(outgoing: &OutgoingMessage, dialog: &str, step: usize) -> Client {
    let fates = vec![None; outgoing.envelope.recipients.len()];
    let mut play = Play { client: Client::new("me.test"), outgoing, sent: Vec::new(), fates };
    let lines = dialog.lines().map(str::trim).filter(|line| !line.is_empty());
    let (expected, steps): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('>'));
    steps.iter().for_each(|line| play.line(line, step));
    play.pump();
    assert!(play.sent.is_empty(), "said more: {:?}\n{dialog}", String::from_utf8_lossy(&play.sent));
    let over = play.client.over().cloned();
    let found = play.fates.iter().map(|fate| match fate.as_ref().or(over.as_ref()) {
        Some(fate) => format!("> {}", words(fate)),
        None => "> undecided".to_owned(),
    });
    assert_eq!(found.collect::<Vec<_>>(), expected, "pieces of {step} in\n{dialog}");
    play.client
}

/// The same at every split.
fn play(outgoing: &OutgoingMessage, dialog: &str) {
    for step in (1..40).chain([1 << 20]) {
        play_in(outgoing, dialog, step);
    }
}

/// A outgoing to ann, bob and cat.
fn three() -> OutgoingMessage {
    outgoing("a@b.test", &["ann@d.test", "bob@d.test", "cat@d.test"])
}

fn one() -> OutgoingMessage {
    outgoing("a@b.test", &["ann@d.test"])
}

const HELLO: &str = "S: 220 mx\nC: EHLO me.test\nS: 250 mx\n";
const PIPED: &str = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 PIPELINING\n";

const AUTH: &str = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n";

/// To one recipient, up to this step.
fn up_to(step: Step) -> String {
    let mail = format!("{HELLO}C: MAIL FROM:<a@b.test>\n");
    let rcpt = format!("{mail}S: 250 ok\nC: RCPT TO:<ann@d.test>\n");
    let data = format!("{rcpt}S: 250 ok\nC: DATA\n");
    match step {
        Step::Connect | Step::Greeting => String::new(),
        Step::Ehlo => "S: 220 mx\nC: EHLO me.test\n".to_owned(),
        Step::Helo => "S: 220 mx\nC: EHLO me.test\nS: 500 what\nC: HELO me.test\n".to_owned(),
        Step::StartTls => "W offered\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\n\
                           C: STARTTLS\n"
            .to_owned(),
        Step::Auth => format!("L\n{AUTH}C: AUTH PLAIN AGFubgBwZW5jaWw=\n"),
        Step::Mail | Step::Rset => mail,
        Step::Rcpt => rcpt,
        Step::Data => data,
        Step::Message => format!("{data}S: 354 go\ninside\n"),
        Step::Final => format!("{data}S: 354 go\nM\n"),
    }
}

#[test]
fn one_by_one() {
    play(
        &three(),
        &format!(
            "{HELLO}C: MAIL FROM:<a@b.test>\nS: 250 ok\nC: RCPT TO:<ann@d.test>\nS: 250 ok\n\
             C: RCPT TO:<bob@d.test>\nS: 550 5.1.1 nobody\nC: RCPT TO:<cat@d.test>\nS: 450 grey\n\
             C: DATA\nS: 354 go\nM\nS: 250-2.0.0 one\nS: 250 2.0.0 two\n\
             > relayed 250 2.0.0 one / 2.0.0 two\n> failed said 550 5.1.1 nobody (RCPT)\n\
             > deferred said 450 grey (RCPT)"
        ),
    );
}

#[test]
fn all_at_once() {
    let sent = "C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nC: RCPT TO:<bob@d.test>\n\
                C: RCPT TO:<cat@d.test>\nC: DATA\n";
    for rest in [
        // The replies may come in one go, or later than 354 could.
        "S: 250 ok\nS: 251 ok\nS: 550 no\nS: 252 ok\nS: 354 go\nM\nS: 250 yes\n\
         > relayed 250 yes\n> failed said 550 no (RCPT)\n> relayed 250 yes",
        // RFC 2920 §3.1: nobody is there, and the host wants a message all the same.
        "S: 250 ok\nS: 550 a\nS: 450 b\nS: 550 c\nS: 354 go\nC: .\nS: 250 thanks\n\
         > failed said 550 a (RCPT)\n> deferred said 450 b (RCPT)\n> failed said 550 c (RCPT)",
        "S: 250 ok\nS: 550 a\nS: 450 b\nS: 550 c\nS: 554 none\n\
         > failed said 550 a (RCPT)\n> deferred said 450 b (RCPT)\n> failed said 550 c (RCPT)",
        "S: 553 no\nS: 503 a\nS: 503 b\nS: 503 c\nS: 503 d\n\
         > failed said 553 no (MAIL)\n> failed said 553 no (MAIL)\n> failed said 553 no (MAIL)",
        "S: 450 no\nS: 250 a\nS: 250 b\nS: 503 c\nS: 354 go\nC: .\nS: 554 empty\n\
         > next said 450 no (MAIL)\n> next said 450 no (MAIL)\n> next said 450 no (MAIL)",
        "S: 250 ok\nS: 250 a\nS: 550 b\nclosed\n\
         > next closed the connection (RCPT)\n> failed said 550 b (RCPT)\n\
         > next closed the connection (RCPT)",
    ] {
        play(&three(), &format!("{PIPED}{sent}{rest}"));
    }
}

#[test]
fn what_each_refusal_means() {
    use Step::{Data, Ehlo, Final, Greeting, Helo, Mail, Message, Rcpt};
    for (step, reply, fate) in [
        (Greeting, "421 busy", "next said 421 busy (greeting)"),
        (Greeting, "450 busy", "next said 450 busy (greeting)"),
        (Greeting, "554 never", "next said 554 never (greeting)"),
        (Greeting, "521 7504", "next said 521 7504 (greeting)"),
        (Ehlo, "521 7504", "next said 521 7504 (EHLO)"),
        (Greeting, "354 what", "next said 354 what (greeting)"),
        (Ehlo, "450 later", "next said 450 later (EHLO)"),
        (Ehlo, "354 what", "next said 354 what (EHLO)"),
        (Helo, "450 later", "next said 450 later (HELO)"),
        (Helo, "502 never", "next said 502 never (HELO)"),
        (Mail, "452 4.3.1 full", "next said 452 4.3.1 full (MAIL)"),
        (Mail, "421 bye", "next said 421 bye (MAIL)"),
        (Mail, "599 odd", "failed said 599 odd (MAIL)"),
        (Mail, "354 what", "next said 354 what (MAIL)"),
        (Rcpt, "450 grey", "deferred said 450 grey (RCPT)"),
        (Rcpt, "452 4.5.3 too many", "deferred said 452 4.5.3 too many (RCPT)"),
        (Rcpt, "552 full", "failed said 552 full (RCPT)"),
        (Rcpt, "421 bye", "next said 421 bye (RCPT)"),
        (Rcpt, "354 what", "next said 354 what (RCPT)"),
        (Data, "451 later", "deferred said 451 later (DATA)"),
        (Data, "554 never", "failed said 554 never (DATA)"),
        (Data, "250 what", "next said 250 what (DATA)"),
        (Data, "421 bye", "next said 421 bye (DATA)"),
        (Message, "552 too much", "failed said 552 too much (inside the message)"),
        (Message, "452 full", "next said 452 full (inside the message)"),
        (Message, "250 what", "next said 250 what (inside the message)"),
        (Final, "451 later", "deferred said 451 later (end of the message)"),
        (Final, "421 bye", "deferred said 421 bye (end of the message)"),
        (Final, "477 odd", "deferred said 477 odd (end of the message)"),
        (Final, "554 spam", "failed said 554 spam (end of the message)"),
        (Final, "354 what", "deferred said 354 what (end of the message)"),
        (Final, "299 odd", "relayed 299 odd"),
    ] {
        let dialog = format!("{}S: {reply}\n> {fate}", up_to(step));
        (1..30).for_each(|pieces| drop(play_in(&one(), &dialog, pieces)));
    }
}

#[test]
fn closing_silence_and_nonsense_at_every_step() {
    use Step::{Data, Ehlo, Final, Greeting, Helo, Mail, Message, Rcpt};
    for step in [Greeting, Ehlo, Helo, Mail, Rcpt, Data, Message, Final] {
        let fate = if step == Final { "deferred" } else { "next" };
        for (what, cause) in [
            ("closed", "closed the connection"),
            ("silent", "was silent too long"),
            ("S: 250-a\nclosed", "closed the connection"),
            ("S: nonsense", "is no sound mail server, it sent \"nonsense\" is no reply"),
            ("S: 199 x", "is no sound mail server, it sent \"199 x\" is no reply"),
            (
                "S: 250-a\nS: 550 b",
                "is no sound mail server, it sent a reply whose lines have \
              different codes",
            ),
        ] {
            if step == Message && what.starts_with("S: 250") {
                continue; // early, as below
            }
            let dialog = format!("{}{what}\n> {fate} {cause} ({step})", up_to(step));
            play_in(&one(), &dialog, 1000);
        }
    }
    let unreadable = "unreadable\n> deferred was not told all: EIO (inside the message)";
    play(&one(), &(up_to(Message) + unreadable));
}

#[test]
fn octets_before_their_time() {
    for (dialog, fate) in [
        ("S+: 220 mx~250 mx~", "said 250 mx (EHLO)"),
        ("S+: 220 mx~2", "is no sound mail server, it sent octets before their time (EHLO)"),
        (&(up_to(Step::Mail) + "S+: 250 a~250 b~"), "said 250 b (RCPT)"),
        (&(up_to(Step::Data) + "S+: 354 go~250 ok~"), "said 250 ok (inside the message)"),
    ] {
        let client = play_in(&one(), &format!("{dialog}\n> next {fate}"), 1000);
        assert!(!client.may_quit());
    }
    // After the last reply it changes nothing for this message, but ends the connection.
    let dialog = up_to(Step::Final) + "S+: 250 yes~421 bye~\n> relayed 250 yes";
    let client = play_in(&one(), &dialog, 1000);
    assert_eq!(client.over().map(words).as_deref(), Some("next said 421 bye (MAIL)"));
}

#[test]
fn helo_offers_nothing() {
    let mail = "C: MAIL FROM:<a@b.test>\nS: 250 ok\nC: RCPT TO:<ann@d.test>\nS: 250 ok\n\
                C: DATA\nS: 354 go\nM\nS: 250 yes\n> relayed 250 yes";
    play(&one(), &format!("{}S: 250-mx\nS: 250 PIPELINING\n{mail}", up_to(Step::Helo)));
    let mut eight = one();
    eight.content.is_eight_bit = true;
    let lack = "> failed takes no 8-bit text (8BITMIME), which this has (EHLO)";
    play(&eight, &format!("{}S: 250 mx\n{lack}", up_to(Step::Helo)));
}

#[test]
fn nothing_is_sent_that_the_host_cannot_take() {
    let hello = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250-PIPELINING\nS: 250 SIZE 9\n";
    let room = "failed takes messages of up to 9 octets, this one has 10 (EHLO)";
    let client = play_in(&one(), &format!("{hello}> {room}"), 1000);
    assert!(client.may_quit() && client.over().is_none());
    // Only those whose address needs it.
    let utf8 = "failed takes no internationalized mail (SMTPUTF8), as this is (EHLO)";
    let outgoing = outgoing("a@b.test", &["\u{e9}@d.test", "ann@d.test"]);
    let sent = "C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nC: DATA\n";
    let rest = format!("S: 250 a\nS: 250 b\nS: 354 c\nM\nS: 250 d\n> {utf8}\n> relayed 250 d");
    play(&outgoing, &format!("{PIPED}{sent}{rest}"));
    let outgoing = super::tests::outgoing("a@b.test", &["\u{e9}@d.test"]);
    play(&outgoing, &format!("{PIPED}> {utf8}"));
}

#[test]
fn too_many_recipients_come_in_further_transactions() {
    let again =
        "C: MAIL FROM:<a@b.test>\nC: RCPT TO:<bob@d.test>\nC: RCPT TO:<cat@d.test>\nC: DATA\n";
    for many in ["452 4.5.3 many", "452 many", "552 many", "552 5.5.3 many", "451 4.5.3 many"] {
        play(
            &three(),
            &format!(
                "{PIPED}C: MAIL FROM:<a@b.test>\nC: RCPT TO:<ann@d.test>\nC: RCPT TO:<bob@d.test>\n\
                 C: RCPT TO:<cat@d.test>\nC: DATA\nS: 250 a\nS: 250 b\nS: {many}\nS: {many}\n\
                 S: 354 c\nM\nS: 250 one\n{again}S: 250 a\nS: 250 b\nS: 550 no\nS: 354 d\nM\n\
                 S: 250 two\n> relayed 250 one\n> relayed 250 two\n> failed said 550 no (RCPT)"
            ),
        );
        // One by one: the rest is not asked in vain. A first one that is too many is not asked again.
        let mail = "C: MAIL FROM:<a@b.test>\nS: 250 a\n";
        let kind = if many.starts_with('4') { "deferred" } else { "failed" };
        play(
            &three(),
            &format!(
                "{HELLO}{mail}C: RCPT TO:<ann@d.test>\nS: 250 b\nC: RCPT TO:<bob@d.test>\n\
                 S: {many}\nC: DATA\nS: 354 c\nM\nS: 250 one\n{mail}C: RCPT TO:<bob@d.test>\n\
                 S: {many}\nC: RCPT TO:<cat@d.test>\nS: 450 x\n\
                 > relayed 250 one\n> {kind} said {many} (RCPT)\n> deferred said 450 x (RCPT)"
            ),
        );
    }
    for other in ["452 4.2.2 full", "552 5.2.2 full"] {
        let kind = if other.starts_with('4') { "deferred" } else { "failed" };
        let outgoing = outgoing("a@b.test", &["ann@d.test", "bob@d.test"]);
        play(
            &outgoing,
            &format!(
                "{HELLO}C: MAIL FROM:<a@b.test>\nS: 250 a\nC: RCPT TO:<ann@d.test>\nS: 250 b\n\
                 C: RCPT TO:<bob@d.test>\nS: {other}\nC: DATA\nS: 354 c\nM\nS: 250 one\n\
                 > relayed 250 one\n> {kind} said {other} (RCPT)"
            ),
        );
    }
}

#[test]
fn a_transaction_without_an_end_is_reset() {
    let hello = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 LIMITS RCPTMAX=2 MAILMAX=1\n";
    let mail = "C: MAIL FROM:<a@b.test>\nS: 250 a\n";
    let refused = format!(
        "{hello}{mail}C: RCPT TO:<ann@d.test>\nS: 550 x\nC: RCPT TO:<bob@d.test>\nS: 550 y\nC: RSET\n"
    );
    let fates = "> failed said 550 x (RCPT)\n> failed said 550 y (RCPT)\n";
    let rest = "C: RCPT TO:<cat@d.test>\nS: 250 b\nC: DATA\nS: 354 c\nM\nS: 250 d\n";
    play(&three(), &format!("{refused}S: 250 reset\n{mail}{rest}{fates}> relayed 250 d"));
    // A host that does not forget would take the next MAIL for a nested one, and refuse it for good.
    play(&three(), &format!("{refused}S: 502 what\n{fates}> next said 502 what (RSET)"));
    // MAILMAX: no further message on this connection.
    let client = play_in(
        &three(),
        &format!(
            "{hello}{mail}C: RCPT TO:<ann@d.test>\nS: 250 x\nC: RCPT TO:<bob@d.test>\nS: 250 y\n\
             C: DATA\nS: 354 go\nM\nS: 250 z\n> relayed 250 z\n> relayed 250 z\n\
             > next takes no more mail on this connection (MAIL)"
        ),
        1000,
    );
    assert!(client.may_quit() && client.carried == 1);
}

#[test]
fn groups_are_bounded() {
    let to: Vec<String> = (0..250).map(|n| format!("{n:060}@{}.test", "d".repeat(60))).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let outgoing = outgoing("a@b.test", &to);
    let mut client = Client::new("me.test");
    client.feed(b"220 mx\r\n");
    let Action::Send(_) = client.action() else { panic!("no EHLO") };
    client.feed(b"250-mx\r\n250 PIPELINING\r\n");
    let mut left: Vec<usize> = (0..250).collect();
    let mut transactions = Vec::new();
    while !left.is_empty() {
        assert!(client.begin(&outgoing, &left));
        loop {
            match client.action() {
                Action::Send(octets) => {
                    assert!(octets.len() <= PIPELINE_OCTETS && octets.len() > 500);
                    for line in octets.split_inclusive(|octet| *octet == b'\n') {
                        let data = line.starts_with(b"DATA");
                        client.feed(if data { b"354 go\r\n" } else { b"250 ok\r\n" });
                    }
                }
                Action::SendMessage => client.message_ends(),
                Action::Await(_) => client.feed(b"250 ok\r\n"),
                Action::Rest | Action::StartTls | Action::Close => break,
            }
        }
        let decided = client.decided();
        transactions.push(decided.len());
        left.retain(|index| !decided.iter().any(|(other, _)| other == index));
    }
    assert_eq!(transactions, [100, 100, 50]);
}

#[test]
fn tls_where_it_is_offered() {
    let hello = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250-SIZE 1\nS: 250 STARTTLS\n";
    let rest = "S: 250 ok\nC: RCPT TO:<ann@d.test>\nS: 250 ok\nC: DATA\nS: 354 go\nM\nS: 250 ok\n\
                > relayed 250 ok";
    // What was offered in the clear is forgotten, SIZE with it.
    let secured = "C: STARTTLS\nS: 220 go\ntls\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\n\
                   C: MAIL FROM:<a@b.test>\n";
    for wish in ["W offered", "W required"] {
        play(&one(), &format!("{wish}\n{hello}{secured}{rest}"));
    }
    let clear = "S: 220 mx\nC: EHLO me.test\nS: 250 mx\nC: MAIL FROM:<a@b.test>\n";
    play(&one(), &format!("W offered\n{clear}{rest}"));
    // Nobody wants it on the second try.
    let tried = "S: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\nC: MAIL FROM:<a@b.test>\n";
    play(&one(), &format!("{tried}{rest}"));
}

#[test]
fn a_host_without_tls_gets_no_password() {
    let lacks = "> next offers no TLS, and a password goes over TLS only (STARTTLS)";
    for dialog in [
        "S: 220 mx\nC: EHLO me.test\nS: 250 mx\n",
        "S: 220 mx\nC: EHLO me.test\nS: 500 what\nC: HELO me.test\nS: 250 mx\n",
    ] {
        play(&one(), &format!("W required\n{dialog}{lacks}"));
    }
    let client = play_in(&one(), &format!("W required\n{HELLO}{lacks}"), 1);
    assert!(client.may_quit() && client.over().map(Fate::status) == Some("4.7.4"));
}

#[test]
fn words_before_the_handshake_are_not_believed() {
    let hello = "W offered\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\n";
    for (host, fate) in [
        ("S: 454 4.7.0 later", "said 454 4.7.0 later"),
        ("S: 502 5.5.1 what", "said 502 5.5.1 what"),
        ("S: 354 go", "said 354 go"),
        ("S: 421 bye", "said 421 bye"),
        ("closed", "closed the connection"),
        ("silent", "was silent too long"),
        ("S: 220 go\nclosed", "closed the connection"),
        ("S+: 220 go~250-mx~250 SIZE 1~", "said 250 mx / SIZE 1"),
        ("S+: 220 go~250-m", "is no sound mail server, it sent octets before their time"),
    ] {
        let client = play_in(&one(), &format!("{hello}{host}\n> next {fate} (STARTTLS)"), 1 << 20);
        assert_eq!(
            client.may_quit(),
            fate.starts_with("said 4") && !fate.contains("421") || fate.starts_with("said 5"),
            "{host}"
        );
    }
}

#[test]
fn whoever_is_to_log_in_does_or_sends_nothing() {
    let rest = "C: MAIL FROM:<a@b.test>\nS: 250 a\nC: RCPT TO:<ann@d.test>\nS: 250 b\nC: DATA\n\
                S: 354 c\nM\nS: 250 d\n> relayed 250 d";
    let auth = up_to(Step::Auth);
    play(&one(), &format!("{auth}S: 235 2.7.0 welcome\n{rest}"));
    let hello = "L\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\n";
    let login = format!("{hello}S: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: YW5u\n");
    play(&one(), &format!("{login}S: 334 UGFzc3dvcmQ6\nC: cGVuY2ls\nS: 235 ok\n{rest}"));
    // Behind TLS only, whatever was offered before it.
    let tls = "W required\nS: 220 mx\nC: EHLO me.test\nS: 250-mx\nS: 250-AUTH LOGIN\n\
               S: 250 STARTTLS\nC: STARTTLS\nS: 220 go\ntls\nL\nC: EHLO me.test\nS: 250-mx\n\
               S: 250 AUTH PLAIN\nC: AUTH PLAIN AGFubgBwZW5jaWw=\nS: 235 ok\n";
    play(&one(), &format!("{tls}{rest}"));
    // Nothing of it is final: the mail is good.
    for (refusal, what) in [
        ("535 5.7.8 wrong", "said 535 5.7.8 wrong (AUTH)"),
        ("454 4.7.0 busy", "said 454 4.7.0 busy (AUTH)"),
        ("504 5.5.4 what", "said 504 5.5.4 what (AUTH)"),
        ("334 UGFzc3dvcmQ6", "could not show that it knows the password (AUTH)"),
    ] {
        play(&one(), &format!("{auth}S: {refusal}\n> next {what}"));
    }
    let lack = "offers no login that we know (SCRAM-SHA-256, PLAIN, LOGIN) (AUTH)";
    for offers in ["S: 250 AUTH CRAM-MD5\n", "S: 250 SIZE\n"] {
        play(&one(), &format!("{hello}{offers}> next {lack}"));
    }
    let scram = format!(
        "{hello}S: 250 AUTH PLAIN SCRAM-SHA-256\n\
         C: AUTH SCRAM-SHA-256 biwsbj1hbm4scj1yT3ByTkdmd0ViZVJXZ2JORWtxTw==\n"
    );
    // A host that welcomes us without a proof of its own.
    let proof = "could not show that it knows the password (AUTH)";
    play(&one(), &format!("{scram}S: 235 ok\n> next {proof}"));
}
