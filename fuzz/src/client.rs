//! A next hop that says anything at all: we send commands that are in order and bounded, the message to
//! nobody who was not accepted, and in the end each recipient has one fate.

use facteur::limits::COMMAND_LINE_MAX;
use facteur::mail::address::{ForwardPath, ReversePath};
use facteur::mail::envelope::{BodyType, Envelope, Notify, Recipient, Ret, Sender};
use facteur::mail::survey::WireForm;
use facteur::smtp::client::{Action, Cause, Client, Fate, OutgoingMessage, Secrecy};
use facteur::smtp::command::{Command, Context};

const RECIPIENTS: usize = 3;

pub fn run(data: &[u8]) {
    for secrecy in [Secrecy::Never, Secrecy::Offered, Secrecy::Required] {
        let mut play = Play::new(secrecy);
        // Octet by octet: whoever says something before its time is heard too late to be waited for.
        for octet in data {
            play.pump();
            play.client.feed(std::slice::from_ref(octet));
        }
        play.pump();
        play.client.lost(Cause::Closed);
        play.note();
        let undecided = play.fates.iter().any(Option::is_none);
        assert!(!undecided || play.client.over().is_some(), "{:?}", play.fates);
        assert_eq!(play.client.action(), Action::Close);
    }
}

struct Play {
    client: Client,
    letter: OutgoingMessage,
    fates: Vec<Option<Fate>>,
    /// Messages whose last octets went.
    sent: usize,
    /// Commands since the last message.
    said: Vec<Command>,
}

impl Play {
    fn new(secrecy: Secrecy) -> Play {
        let client = Client::new("me.test").wanting(secrecy);
        let fates = vec![None; RECIPIENTS];
        Play { client, letter: letter(), fates, sent: 0, said: Vec::new() }
    }

    /// Does what is to be done until the host is waited for.
    fn pump(&mut self) {
        loop {
            self.note();
            match self.client.action() {
                Action::Send(octets) => self.said(&octets),
                Action::SendMessage => {
                    let rcpt = |said: &Command| matches!(said, Command::Rcpt(_));
                    assert!(self.said.iter().any(rcpt), "a message for nobody");
                    self.client.message_ends();
                    self.sent += 1;
                    self.said.clear();
                }
                Action::StartTls => {
                    assert!(!self.client.may_quit());
                    self.client.secured();
                }
                Action::Rest => {
                    let open = |index: &usize| self.fates[*index].is_none();
                    let left: Vec<usize> = (0..RECIPIENTS).filter(open).collect();
                    if left.is_empty() || !self.client.begin(&self.letter, &left) {
                        return self.note();
                    }
                }
                Action::Await(_) | Action::Close => return,
            }
        }
    }

    /// What we say is what our own server takes, but `.` alone, which is an empty message.
    fn said(&mut self, octets: &[u8]) {
        let text = str::from_utf8(octets).unwrap();
        for line in text.split_inclusive('\n') {
            assert!(line.ends_with("\r\n") && line.len() <= COMMAND_LINE_MAX, "{line:?}");
            let context = Context { smtputf8: true, auth: true, tls: true, home: None };
            match line.trim_end() {
                "." => {}
                line => match Command::parse(line.as_bytes(), &context) {
                    Ok(Command::Rset | Command::Mail(_)) => self.said.clear(),
                    Ok(command) => self.said.push(command),
                    Err(reply) => panic!("{line:?}: {reply}"),
                },
            }
        }
    }

    fn note(&mut self) {
        for (index, fate) in self.client.decided() {
            assert!(
                !matches!(fate, Fate::Relayed(_)) || self.sent > 0,
                "relayed without a message"
            );
            assert!(self.fates[index].replace(fate).is_none(), "{index} was decided twice");
        }
    }
}

/// With all that a host may not be able to do.
fn letter() -> OutgoingMessage {
    let path = |text: &str| ForwardPath::parse(text.as_bytes()).unwrap().0;
    let (from, _) = ReversePath::parse(b"<ann@mx.test>").unwrap();
    let sender = Sender {
        body: BodyType::EightBitMime,
        ret: Some(Ret::Headers),
        envid: Some("QQ+2B1".to_owned()),
        ..Sender::new(from)
    };
    let notify = Some(Notify { success: true, failure: true, delay: false });
    let orcpt = Some("utf-8;\u{e9}va@far.test".to_owned());
    let recipients = vec![
        Recipient { path: path("<eve@far.test>"), notify, orcpt },
        Recipient { path: path("<\u{e9}va@far.test>"), notify: None, orcpt: None },
        Recipient { path: path("<\"e ve\"@far.test>"), notify: None, orcpt: None },
    ];
    let content = WireForm { size: 1000, is_eight_bit: false, has_eight_bit_header: false };
    OutgoingMessage { envelope: Envelope { sender, recipients }, content }
}
