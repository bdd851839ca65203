//! One session as the server sees it: octets and answers in, actions out (RFC 5321 §4.1.4).
//!
//! The caller feeds octets and does what the [`Action`] says; where that is a [`Question`], it
//! decides and answers with [`Session::allow`], [`Session::accepted`] or [`Session::refuse`] before
//! it feeds more. Order, syntax and protocol limits are decided here, people and policy never.

use super::command::{Body, Command, Mail, VERBS};
use super::data::Decoder;
use super::line::{Line, LineBuffer};
use super::reply::{Reply, quoted};
use crate::mail::address::{ClientName, Domain, ForwardPath, ReversePath};
use crate::mail::envelope::Envelope;

/// What the caller does next; each variant is one act on the outside world.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this, at the latest before waiting for more octets.
    Send(Reply),
    /// Send this and all before it now (RFC 2920 §3.2: some replies must not be held back).
    SendNow(Reply),
    Ask(Question),
    /// Send this and close.
    Close(Reply),
}

/// What the session cannot know by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May this sender begin a transaction?
    Sender(ReversePath),
    /// Does this recipient get mail here?
    Recipient(ForwardPath),
    /// All octets of the message are there: take it? Its transaction is over whatever the answer.
    Message(Envelope),
}

/// What a session is told when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Our name.
    pub hostname: Domain,
    /// The session's id, which refusals carry.
    pub id: String,
    /// Largest message, in octets as sent.
    pub message_size: u64,
    /// Most recipients of one message.
    pub recipients: usize,
    /// 5xx replies before 421.
    pub errors: usize,
}

/// Who the client says it is, and in which language it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    pub name: ClientName,
    /// By EHLO, so that the message comes `with ESMTP` (RFC 5321 §4.4, RFC 3848).
    pub extended: bool,
}

#[derive(Debug)]
enum State {
    Idle,
    /// MAIL was accepted, no RCPT yet; whether one was refused.
    Mail(Envelope, Refused),
    Rcpt(Envelope),
    Data(Envelope, Decoder),
    /// A question is open about this.
    AskedSender(Mail),
    AskedRecipient(Envelope, ForwardPath),
    AskedMessage,
}

/// Whether a RCPT of this transaction was refused.
type Refused = bool;

pub struct Session {
    settings: Settings,
    lines: LineBuffer,
    state: State,
    greeting: Option<Greeting>,
    errors: usize,
}

impl Session {
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            lines: LineBuffer::default(),
            state: State::Idle,
            greeting: None,
            errors: 0,
        }
    }

    /// What the server says first (RFC 5321 §4.3.1).
    pub fn banner(&self) -> Reply {
        Reply::plain(220, format!("{} ESMTP facteur", self.settings.hostname))
    }

    /// Takes octets up to the next action; gives how many it took. Octets of a message, with LF line
    /// ends, are appended to `body`; they count only when [`Question::Message`] comes after them.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, Option<Action>) {
        if matches!(self.state, State::Data(..)) {
            return self.feed_data(input, body);
        }
        let (used, line) = self.lines.feed(input);
        let action = match line {
            Line::Partial => return (used, None),
            Line::TooLong => self.send(Reply::new(500, "5.5.2", "line too long")),
            Line::Complete => match Command::parse(self.lines.text()) {
                Ok(command) => self.command(command),
                Err(reply) => self.send(reply),
            },
        };
        (used, Some(action))
    }

    /// Yes to [`Question::Sender`] or [`Question::Recipient`].
    pub fn allow(&mut self) -> Action {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::AskedSender(mail) => {
                let envelope = Envelope { from: mail.from, recipients: Vec::new() };
                self.state = State::Mail(envelope, false);
                self.send(Reply::new(250, "2.1.0", "sender ok"))
            }
            State::AskedRecipient(mut envelope, path) => {
                envelope.recipients.push(path);
                self.state = State::Rcpt(envelope);
                self.send(Reply::new(250, "2.1.5", "recipient ok"))
            }
            other => self.unasked(other),
        }
    }

    /// The message was taken, under this id: it is on disk and synced.
    pub fn accepted(&mut self, id: &str) -> Action {
        self.state = State::Idle;
        self.send(Reply::new(250, "2.0.0", format!("Ok: queued as {id}")))
    }

    /// No to any question, with the reply that says why.
    pub fn refuse(&mut self, reply: Reply) -> Action {
        self.state = match std::mem::replace(&mut self.state, State::Idle) {
            State::AskedSender(_) | State::AskedMessage => State::Idle,
            State::AskedRecipient(envelope, _) if envelope.recipients.is_empty() => {
                State::Mail(envelope, true)
            }
            State::AskedRecipient(envelope, _) => State::Rcpt(envelope),
            other => return self.unasked(other),
        };
        let reply = reply.about(&self.settings.id);
        self.send(reply)
    }

    /// Whether MAIL was accepted and its message has not ended.
    pub fn in_transaction(&self) -> bool {
        !matches!(self.state, State::Idle)
    }

    /// Whether the next octets belong to a message.
    pub fn in_data(&self) -> bool {
        matches!(self.state, State::Data(..))
    }

    /// Whether a command line has begun and not ended.
    pub fn in_line(&self) -> bool {
        !self.in_data() && self.lines.is_partial()
    }

    /// The last command, as much of it as was kept: what a reply is about.
    pub fn command_text(&self) -> &[u8] {
        self.lines.text()
    }

    pub fn greeting(&self) -> Option<&Greeting> {
        self.greeting.as_ref()
    }

    /// The order rules of RFC 5321 §4.1.4.
    fn command(&mut self, command: Command) -> Action {
        let state = std::mem::replace(&mut self.state, State::Idle);
        match (state, command) {
            (_, Command::Quit) => Action::Close(Reply::new(221, "2.0.0", self.farewell())),
            (_, Command::Ehlo(name)) => self.greet(name, true),
            (_, Command::Helo(name)) => self.greet(name, false),
            (_, Command::Rset) => self.send(Reply::new(250, "2.0.0", "Ok")),
            (state, Command::Noop) => self.stay(state, Reply::new(250, "2.0.0", "Ok")),
            (state, Command::Help) => self.stay(state, help()),
            (state, Command::Vrfy(_)) => self.stay(state, unverified()),
            (state, Command::Expn(_)) => {
                let reply = Reply::new(550, "5.7.1", "lists are not told to strangers");
                let reply = reply.about(&self.settings.id);
                self.stay(state, reply)
            }
            (State::Idle, Command::Mail(mail)) => self.mail(mail),
            (State::Idle, Command::Rcpt(_) | Command::Data) => self.order("send MAIL first"),
            (state @ (State::Mail(..) | State::Rcpt(_)), Command::Mail(_)) => {
                self.state = state;
                self.order("already in a transaction")
            }
            (State::Mail(envelope, _) | State::Rcpt(envelope), Command::Rcpt(path)) => {
                self.recipient(envelope, path)
            }
            (State::Mail(envelope, refused), Command::Data) => {
                self.state = State::Mail(envelope, refused);
                match refused {
                    true => self.send(Reply::new(554, "5.5.1", "no valid recipients")),
                    false => self.order("send RCPT first"),
                }
            }
            (State::Rcpt(envelope), Command::Data) => {
                self.state = State::Data(envelope, Decoder::default());
                Action::SendNow(Reply::plain(354, "send the message, end with <CRLF>.<CRLF>"))
            }
            // No command is read inside a message or while a question is open.
            (
                state @ (State::Data(..)
                | State::AskedSender(_)
                | State::AskedRecipient(..)
                | State::AskedMessage),
                Command::Mail(_) | Command::Rcpt(_) | Command::Data,
            ) => self.unasked(state),
        }
    }

    fn greet(&mut self, name: ClientName, extended: bool) -> Action {
        let hello = format!("{} greets {}", self.settings.hostname, name.as_str());
        self.greeting = Some(Greeting { name, extended });
        let reply = Reply::plain(250, hello);
        Action::SendNow(match extended {
            false => reply,
            true => reply
                .line("PIPELINING")
                .line(format!("SIZE {}", self.settings.message_size))
                .line("8BITMIME")
                .line("ENHANCEDSTATUSCODES")
                .line("HELP"),
        })
    }

    fn mail(&mut self, mail: Mail) -> Action {
        if self.greeting.is_none() {
            return self.order("send EHLO or HELO first");
        }
        if mail.size.is_some_and(|size| size > self.settings.message_size) {
            let reply = self.too_large();
            return self.send(reply);
        }
        // Both bodies are taken as they are: the store is 8-bit clean.
        let (Body::SevenBit | Body::EightBitMime) = mail.body;
        let question = Question::Sender(mail.from.clone());
        self.state = State::AskedSender(mail);
        Action::Ask(question)
    }

    fn recipient(&mut self, envelope: Envelope, path: ForwardPath) -> Action {
        if envelope.recipients.len() >= self.settings.recipients {
            self.state = State::Rcpt(envelope);
            let text = "too many recipients, send this message and come again";
            let reply = Reply::new(452, "4.5.3", text).about(&self.settings.id);
            return self.send(reply);
        }
        let question = Question::Recipient(path.clone());
        self.state = State::AskedRecipient(envelope, path);
        Action::Ask(question)
    }

    fn feed_data(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, Option<Action>) {
        let State::Data(_, decoder) = &mut self.state else { return (0, None) };
        let (used, end) = decoder.feed(input, body);
        let (size, bare) = (decoder.wire_size(), decoder.has_bare());
        let limit = self.settings.message_size;
        if size > limit || bare {
            body.clear(); // it will be refused; reading on only finds its end
        }
        if size > limit.saturating_mul(2) {
            let reply = Reply::new(421, "4.3.4", "message far too large, closing");
            return (used, Some(Action::Close(reply.about(&self.settings.id))));
        }
        if !end {
            return (used, None);
        }
        let State::Data(envelope, _) = std::mem::replace(&mut self.state, State::Idle) else {
            return (used, None);
        };
        let action = if size > limit {
            let reply = self.too_large();
            self.send(reply)
        } else if bare {
            let text =
                "a CR or LF stands alone in the message; lines end in CR LF (RFC 5321 2.3.8)";
            let reply = Reply::new(550, "5.6.0", text).about(&self.settings.id);
            self.send(reply)
        } else {
            self.state = State::AskedMessage;
            Action::Ask(Question::Message(envelope))
        };
        (used, Some(action))
    }

    /// Counts errors: one past the limit ends the session.
    fn send(&mut self, reply: Reply) -> Action {
        self.errors += usize::from(reply.is_permanent());
        match self.errors > self.settings.errors {
            false => Action::Send(reply),
            true => {
                let reply = Reply::new(421, "4.7.0", "too many errors, closing");
                Action::Close(reply.about(&self.settings.id))
            }
        }
    }

    /// A command that changes nothing, and whose reply a pipelining client waits for.
    fn stay(&mut self, state: State, reply: Reply) -> Action {
        self.state = state;
        match self.send(reply) {
            Action::Send(reply) => Action::SendNow(reply),
            action => action,
        }
    }

    fn order(&mut self, text: &str) -> Action {
        self.send(Reply::new(503, "5.5.1", text))
    }

    fn too_large(&self) -> Reply {
        let text = format!("message is larger than {} octets", self.settings.message_size);
        Reply::new(552, "5.3.4", text).about(&self.settings.id)
    }

    fn farewell(&self) -> String {
        format!("{} closing", self.settings.hostname)
    }

    /// The caller broke the contract of this type; the session ends rather than guess.
    fn unasked(&mut self, state: State) -> Action {
        debug_assert!(false, "no question was open in {state:?}");
        Action::Close(Reply::new(421, "4.3.0", self.farewell()))
    }
}

fn unverified() -> Reply {
    Reply::new(252, "2.0.0", "send mail and see: addresses are not told to strangers")
}

fn help() -> Reply {
    Reply::new(214, "2.0.0", format!("commands: {VERBS}")).line("facteur, RFC 5321")
}

/// The command as a log or a trace tells it.
pub fn shown(command: &[u8]) -> String {
    quoted(command)
}
