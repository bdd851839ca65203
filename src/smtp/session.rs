//! One session as the server sees it: octets and answers in, actions out (RFC 5321 §4.1.4).
//!
//! The caller feeds octets and does what the [`Reaction`] says; where that is a [`Question`], it
//! decides and answers with [`Session::allow`], [`Session::accepted`] or [`Session::refuse`] before
//! it feeds more. Order, syntax and protocol limits are decided here, people and policy never.

mod auth;
mod chunk;
mod foreign;
mod patience;

use super::auth::{Bindings, Credentials, Exchange, Mechanism};
use super::chunk::Chunks;
use super::command::{Command, Context, EtrnNode, NameArgument, help};
use super::dot_stuffing::Decoder;
use super::line::{LineBuffer, LineProgress};
use super::reply::Reply;
use crate::limits::{AUTH_LINE_MAX, COMMAND_LINE_MAX};
use crate::mail::address::{ClientName, Domain, ForwardPath};
use crate::mail::envelope::{Envelope, Recipient, Sender};
use chunk::{Chunk, ChunkOf};
use foreign::{is_http, is_tls};
use patience::Patience;

/// What the caller does next; each variant is one act on the outside world.
#[derive(Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Send this, at the latest before waiting for more octets.
    Send(Reply),
    /// Send this and all before it now (RFC 2920 §3.2: some replies must not be held back).
    SendNow(Reply),
    Ask(Question),
    /// Say nothing; octets of a message follow.
    Listen,
    /// Send this and all before it now, then go on by TLS and call [`Session::secured`]; or, where
    /// octets are there already, do what [`Session::injected`] says.
    StartTls(Reply),
    /// Send this and close.
    Close(Reply),
}

/// What the session cannot know by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Question {
    /// May this client go on under this name (EHLO, HELO)? Asked where there are filters.
    Greeting(ClientName),
    /// May this sender begin a transaction?
    Sender(Sender),
    /// Does this recipient get mail here?
    Recipient(ForwardPath),
    /// May the message come (DATA)? Asked where there are filters; no ends the transaction.
    Data,
    /// Take the message, whose octets have all come? Its transaction is over with either answer.
    Message(Envelope),
    /// AUTH: is this the password of this user?
    Password(Credentials),
    /// AUTH by SCRAM: which keys are stored for this user? Answered by [`Session::keys`].
    Keys(String),
    /// AUTH by SCRAM is over: whether the client knows this user's password.
    Proof { user: String, good: bool },
    /// Who is this (VRFY)?
    Verify(NameArgument),
    /// Who is on this list (EXPN)?
    Expand(NameArgument),
    /// Start sending the mail that waits for this node (ETRN)?
    Start(EtrnNode),
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
    /// STARTTLS is offered.
    pub tls: bool,
    /// Mechanisms that are offered once TLS has begun; SCRAM-SHA-256 brings SCRAM-SHA-256-PLUS along. Empty
    /// where there is no AUTH.
    pub auth: Vec<Mechanism>,
    /// Wrong passwords before 421.
    pub auth_failures: usize,
    /// There are filters: they are asked about greetings and DATA as well.
    pub is_filtered: bool,
}

/// The client's name for itself, and whether it said EHLO or HELO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub name: ClientName,
    /// It said EHLO, so that the message comes `with ESMTP` (RFC 5321 §4.4, RFC 3848).
    pub extended: bool,
}

#[derive(Debug)]
enum SessionState {
    Idle,
    /// MAIL was accepted, but no RCPT yet.
    Mail(Envelope, AnyRefused),
    Rcpt(Envelope),
    Data(Envelope, Decoder),
    /// Inside a chunk of BDAT.
    Chunk(Chunk),
    /// After a chunk that was not the last.
    Between(Envelope, Chunks),
    /// A question about a greeting is open; true for EHLO.
    AskedGreeting(ClientName, bool),
    /// A question about the sender is open.
    AskedSender(Sender),
    AskedRecipient(Envelope, Recipient),
    AskedData(Envelope),
    AskedMessage,
    /// A question of VRFY, EXPN or ETRN is open; this state comes back with its answer.
    AskedName(Box<SessionState>),
    /// Inside AUTH: the next line is the client's answer.
    Auth(Box<Exchange>),
    AskedAuth(Box<Exchange>),
}

/// Whether a RCPT of this transaction was refused.
type AnyRefused = bool;

/// The state of one connection. Bounded: one line, and the envelope with `recipients` at most.
pub struct Session {
    settings: Settings,
    lines: LineBuffer,
    state: SessionState,
    greeting: Option<Hello>,
    /// TLS has begun.
    is_secured: bool,
    bindings: Bindings,
    is_authenticated: bool,
    patience: Patience,
    /// AUTH was the last command that could be read, so a line that cannot be may be a password.
    after_auth: bool,
    /// The mechanism of the AUTH exchange that the last line belongs to; none for a command.
    exchange: Option<Mechanism>,
    /// The domain of addresses without one; none where such addresses are refused.
    home: Option<Domain>,
    /// Where users can log in, in words, for a client that tries AUTH where there is none.
    logins: String,
    /// The greeting was a refusal: this client may only go.
    is_denied: bool,
}

impl Session {
    pub fn new(settings: Settings) -> Session {
        Session {
            settings,
            lines: LineBuffer::default(),
            state: SessionState::Idle,
            greeting: None,
            is_secured: false,
            bindings: Bindings::default(),
            is_authenticated: false,
            patience: Patience::default(),
            after_auth: false,
            exchange: None,
            home: None,
            logins: String::new(),
            is_denied: false,
        }
    }

    /// Says this in place of the banner; whatever the client says then, it may only go (RFC 5321 §3.1).
    pub fn deny(&mut self, reply: Reply) -> Reaction {
        self.is_denied = true;
        self.refusal(reply)
    }

    /// From now on the client's addresses without a domain are at this one.
    pub fn complete_at(&mut self, home: Domain) {
        self.home = Some(home);
    }

    /// Says where users log in when it is not here: "port 587 (submission)"; empty where nowhere.
    pub fn log_in_at(&mut self, logins: String) {
        self.logins = logins;
    }

    /// What the server says first (RFC 5321 §4.3.1).
    pub fn banner(&self) -> Reply {
        Reply::plain(220, format!("{} ESMTP facteur", self.settings.hostname))
    }

    /// What to say instead of the banner to a client that did not wait for it (RFC 5321 §4.3.1): it
    /// speaks to a list of hosts, not to us.
    pub fn early(&self) -> Reply {
        Reply::new(421, "4.7.0", "you spoke before the greeting, closing").about(&self.settings.id)
    }

    /// Whether the line so far ends in a bare LF: perhaps the client takes that for the line's end and waits
    /// for a reply (RFC 5321 §2.3.8 wants CR LF).
    pub fn ends_in_bare_lf(&self) -> bool {
        self.lines.ends_in_bare_lf()
    }

    /// Nothing came behind that LF for a while: the line ends here and is refused, never run.
    pub fn bare_lf(&mut self) -> Reaction {
        self.lines.end();
        // Inside AUTH the line was an answer, and the next one may be its rest.
        if let SessionState::Auth(_) = self.state {
            self.state = SessionState::Idle;
            self.after_auth = true;
        }
        self.send_now(Reply::new(500, "5.5.2", "lines end in CR LF"))
    }

    /// Takes octets up to the next action; gives how many it took. Octets of a message, with LF line
    /// ends, are appended to `body`; they count only when [`Question::Message`] comes after them.
    pub fn feed(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, Option<Reaction>) {
        match self.state {
            SessionState::Data(..) => return self.feed_data(input, body),
            SessionState::Chunk(_) => return self.feed_chunk(input, body),
            _ => {}
        }
        if !self.lines.is_partial() && is_tls(input) {
            return (
                input.len(),
                Some(self.close_on_attack("this port speaks SMTP in the clear first")),
            );
        }
        if let SessionState::Auth(exchange) = &self.state {
            self.exchange = Some(exchange.mechanism());
            let (used, line) = self.lines.feed(input, AUTH_LINE_MAX);
            return (used, self.answered(&line));
        }
        self.exchange = None;
        let (used, line) = self.lines.feed(input, COMMAND_LINE_MAX);
        // Also before the line is whole: a URL may make it too long.
        if is_http(self.lines.text()) {
            return (used, Some(self.close_on_attack("this is SMTP, not HTTP")));
        }
        let action = match line {
            LineProgress::Partial => return (used, None),
            LineProgress::TooLong => self.send(Reply::new(500, "5.5.2", "line too long")),
            LineProgress::Complete => {
                let context = Context {
                    smtputf8: self.is_smtputf8(),
                    auth: !self.settings.auth.is_empty(),
                    tls: self.is_secured,
                    home: self.home.as_ref(),
                };
                let parsed = Command::parse(self.lines.text(), &context);
                let is_auth = self.command_text().get(..5).is_some_and(|verb| {
                    verb.eq_ignore_ascii_case(b"AUTH ") // its mechanism follows
                });
                self.after_auth = is_auth || parsed.is_err() && self.after_auth;
                match parsed {
                    Ok(command) => match self.patience.command(&command, &self.settings) {
                        Ok(()) => self.command(command),
                        Err(last) => Reaction::Close(last),
                    },
                    Err(reply) => self.send(reply),
                }
            }
        };
        (used, Some(self.prompt(action)))
    }

    /// Only replies to MAIL, RCPT, RSET and BDAT may wait for the replies to the commands behind them; all
    /// others, and those to unknown commands, go out at once (RFC 2920 §3.2).
    fn prompt(&self, action: Reaction) -> Reaction {
        const MAY_WAIT: [&[u8]; 4] = [b"MAIL", b"RCPT", b"RSET", b"BDAT"];
        let verb = self.lines.text().get(..4).unwrap_or_default();
        match action {
            Reaction::Send(reply) if !MAY_WAIT.iter().any(|may| may.eq_ignore_ascii_case(verb)) => {
                Reaction::SendNow(reply)
            }
            action => action,
        }
    }

    /// Yes to [`Question::Greeting`], [`Question::Sender`], [`Question::Recipient`] or [`Question::Data`].
    pub fn allow(&mut self) -> Reaction {
        match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::AskedGreeting(name, extended) => self.welcome(name, extended),
            SessionState::AskedData(envelope) => self.data(envelope),
            SessionState::AskedSender(sender) => {
                let envelope = Envelope { sender, recipients: Vec::new() };
                self.state = SessionState::Mail(envelope, false);
                self.send(Reply::new(250, "2.1.0", "sender ok"))
            }
            SessionState::AskedRecipient(mut envelope, recipient) => {
                envelope.add(recipient);
                self.state = SessionState::Rcpt(envelope);
                self.send(Reply::new(250, "2.1.5", "recipient ok"))
            }
            other => self.unasked(other),
        }
    }

    /// The message was taken, under this id: it is on disk and synced.
    pub fn accepted(&mut self, id: &str) -> Reaction {
        self.state = SessionState::Idle;
        self.send(Reply::new(250, "2.0.0", format!("Ok: queued as {id}")))
    }

    /// The answer to [`Question::Verify`], [`Question::Expand`] or [`Question::Start`].
    pub fn tell(&mut self, reply: Reply) -> Reaction {
        match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::AskedName(state) => self.stay(*state, reply),
            other => self.unasked(other),
        }
    }

    /// No to any question, with the reply that says why.
    pub fn refuse(&mut self, reply: Reply) -> Reaction {
        let action = match std::mem::replace(&mut self.state, SessionState::Idle) {
            // A 421 closes (RFC 5321 §3.8), whoever says it.
            SessionState::AskedRecipient(..) if reply.code() == 421 => self.refusal(reply),
            SessionState::AskedGreeting(..)
            | SessionState::AskedSender(_)
            | SessionState::AskedData(_)
            | SessionState::AskedMessage
            | SessionState::AskedAuth(_) => self.refusal(reply),
            SessionState::AskedName(state) => {
                self.state = *state;
                self.send(reply.about(&self.settings.id))
            }
            SessionState::AskedRecipient(envelope, _) => {
                self.state = match envelope.recipients.is_empty() {
                    true => SessionState::Mail(envelope, true),
                    false => SessionState::Rcpt(envelope),
                };
                self.refuse_recipient(reply)
            }
            other => return self.unasked(other),
        };
        self.prompt(action)
    }

    /// Sends a refusal under the session's id, and closes behind a 421.
    fn refusal(&mut self, reply: Reply) -> Reaction {
        let reply = reply.about(&self.settings.id);
        match reply.code() {
            421 => Reaction::Close(reply),
            _ => self.send(reply),
        }
    }

    /// TLS begins here: all that was said in the clear may have come from somebody in between, and is
    /// forgotten (RFC 3207 §4.2). But the counts of errors and idle commands go on.
    pub fn secured(&mut self) {
        *self = Session {
            is_secured: true,
            patience: self.patience,
            ..Session::new(self.settings.clone())
        };
    }

    /// Says this instead of 220 when octets came behind STARTTLS before TLS did: perhaps somebody in between
    /// put them there, and once TLS has begun they would pass for the client's own (RFC 3207 §6,
    /// CVE-2011-0411).
    pub fn injected(&mut self) -> Reaction {
        self.close_on_attack("octets behind STARTTLS came before TLS did, closing")
    }

    /// Whether TLS has begun.
    pub fn is_secured(&self) -> bool {
        self.is_secured
    }

    /// Whether the next octets are those of a message, or of a chunk that is read away.
    pub fn in_data(&self) -> bool {
        matches!(self.state, SessionState::Data(..) | SessionState::Chunk(_))
    }

    /// Whether a message has begun and not ended, also between two chunks.
    pub fn in_message(&self) -> bool {
        self.in_data() || matches!(self.state, SessionState::Between(..))
    }

    /// Whether MAIL was accepted and its message has not ended; also while a chunk is read away.
    pub fn in_transaction(&self) -> bool {
        !matches!(
            self.state,
            SessionState::Idle | SessionState::Auth(_) | SessionState::AskedAuth(_)
        )
    }

    /// Whether this transaction may use UTF-8 in addresses.
    pub fn is_smtputf8(&self) -> bool {
        match &self.state {
            SessionState::Mail(envelope, _) | SessionState::Rcpt(envelope) => {
                envelope.sender.smtputf8
            }
            _ => false,
        }
    }

    /// The last command, as much of it as was kept, which a reply is about. Never a password, even when a
    /// client tries AUTH where there is none.
    pub fn command_text(&self) -> std::borrow::Cow<'_, [u8]> {
        if let Some(mechanism) = self.exchange {
            return format!("AUTH {mechanism}").into_bytes().into();
        }
        let mut words = self.lines.text().split(|b| b" \t".contains(b)).filter(|w| !w.is_empty());
        match (words.next(), self.after_auth) {
            (Some(verb), _) if verb.eq_ignore_ascii_case(b"AUTH") => {
                [verb, words.next().unwrap_or_default()].join(&b' ').into()
            }
            (_, true) => b"(hidden after AUTH)".into(),
            _ => self.lines.text().into(),
        }
    }

    /// Whether the last line was an answer inside AUTH, and no command.
    pub fn is_exchange(&self) -> bool {
        self.exchange.is_some()
    }

    /// The last EHLO or HELO that was accepted; none before it.
    pub fn greeting(&self) -> Option<&Hello> {
        self.greeting.as_ref()
    }

    /// The protocol that a message comes by: names of RFC 3848, and of RFC 6531 §4.3 for internationalized
    /// mail; for HELO by TLS there is no name.
    pub fn protocol(&self, utf8: bool) -> &'static str {
        let is_extended = self.greeting.as_ref().is_some_and(|greeting| greeting.extended);
        match (utf8, self.is_secured, self.is_authenticated) {
            (true, false, false) => "UTF8SMTP",
            (true, false, true) => "UTF8SMTPA",
            (true, true, false) => "UTF8SMTPS",
            (true, true, true) => "UTF8SMTPSA",
            (false, ..) if !is_extended => "SMTP",
            (false, false, false) => "ESMTP",
            (false, false, true) => "ESMTPA",
            (false, true, false) => "ESMTPS",
            (false, true, true) => "ESMTPSA",
        }
    }

    /// The order rules of RFC 5321 §4.1.4, and of RFC 3030 §2 for BDAT.
    fn command(&mut self, command: Command) -> Reaction {
        // Idle is put in its place: an arm that puts no state back ends the transaction, as EHLO, HELO, RSET
        // and QUIT must.
        let state = std::mem::replace(&mut self.state, SessionState::Idle);
        match (state, command) {
            (_, Command::Quit) => Reaction::Close(Reply::new(221, "2.0.0", self.farewell())),
            (_, Command::Bdat { size, last }) if self.is_denied => {
                self.discard(size, last, order(DENIED), SessionState::Idle)
            }
            (_, _) if self.is_denied => self.order(DENIED),
            (_, Command::Ehlo(name)) => self.greet(name, true),
            (_, Command::Helo(name)) => self.greet(name, false),
            (state, Command::StartTls) => self.start_tls(state),
            (_, Command::Rset) => self.send(Reply::new(250, "2.0.0", "Ok")),
            (state, Command::Noop) => self.stay(state, Reply::new(250, "2.0.0", "Ok")),
            (state, Command::Help(topic)) => {
                let reply = help(&topic, self.can_start_tls(), self.can_authenticate());
                self.stay(state, reply)
            }
            (state, Command::Vrfy(name)) => self.ask_about(state, Question::Verify(name)),
            (state, Command::Expn(name)) => self.ask_about(state, Question::Expand(name)),
            (state, Command::Auth { mechanism, initial }) => self.auth(state, &mechanism, initial),
            (state, Command::Etrn(node)) => self.ask_about(state, Question::Start(node)),
            (SessionState::Idle, Command::Mail(sender)) => self.mail(sender),
            (SessionState::Idle, Command::Rcpt(_) | Command::Data) => self.order("send MAIL first"),
            (SessionState::Idle, Command::Bdat { size, last }) => {
                self.discard(size, last, order("send MAIL first"), SessionState::Idle)
            }
            (state @ (SessionState::Mail(..) | SessionState::Rcpt(_)), Command::Mail(_)) => {
                self.state = state;
                self.order("already in a transaction")
            }
            (
                SessionState::Mail(envelope, _) | SessionState::Rcpt(envelope),
                Command::Rcpt(recipient),
            ) => self.recipient(envelope, recipient),
            (SessionState::Mail(envelope, refused), Command::Data) => {
                self.state = SessionState::Mail(envelope, refused);
                self.send(no_recipients(refused))
            }
            (SessionState::Mail(envelope, refused), Command::Bdat { size, last }) => {
                let state = SessionState::Mail(envelope, refused);
                self.discard(size, last, no_recipients(refused), state)
            }
            (SessionState::Rcpt(envelope), Command::Data) if self.settings.is_filtered => {
                self.state = SessionState::AskedData(envelope);
                Reaction::Ask(Question::Data)
            }
            (SessionState::Rcpt(envelope), Command::Data) => self.data(envelope),
            (SessionState::Rcpt(envelope), Command::Bdat { size, last }) => {
                self.chunk(size, last, envelope, Chunks::default())
            }
            (SessionState::Between(envelope, chunks), Command::Bdat { size, last }) => {
                self.chunk(size, last, envelope, chunks)
            }
            (
                state @ SessionState::Between(..),
                Command::Mail(_) | Command::Rcpt(_) | Command::Data,
            ) => {
                self.state = state;
                self.order("a message by BDAT has begun; go on with BDAT, or RSET")
            }
            // No command is read inside a message or while a question is open.
            (
                state @ (SessionState::Data(..)
                | SessionState::Chunk(_)
                | SessionState::AskedGreeting(..)
                | SessionState::AskedSender(_)
                | SessionState::AskedRecipient(..)
                | SessionState::AskedData(_)
                | SessionState::AskedMessage
                | SessionState::AskedName(_)
                | SessionState::Auth(_)
                | SessionState::AskedAuth(_)),
                Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Bdat { .. },
            ) => self.unasked(state),
        }
    }

    fn greet(&mut self, name: ClientName, extended: bool) -> Reaction {
        if !self.settings.is_filtered {
            return self.welcome(name, extended);
        }
        self.state = SessionState::AskedGreeting(name.clone(), extended);
        Reaction::Ask(Question::Greeting(name))
    }

    /// Only commands that never get 500 or 502 may be offered (RFC 5321 §4.2.4). ENHANCEDSTATUSCODES: RFC
    /// 2034; LIMITS: RFC 9422.
    fn welcome(&mut self, name: ClientName, extended: bool) -> Reaction {
        let hello = format!("{} greets {}", self.settings.hostname, name.as_str());
        self.greeting = Some(Hello { name, extended });
        let reply = Reply::plain(250, hello);
        if !extended {
            return Reaction::SendNow(reply);
        }
        let reply = match self.can_start_tls() {
            true => reply.line("STARTTLS"),
            false => reply,
        };
        // Only what came by TLS can be promised to go on by TLS (RFC 8689 §2).
        let reply = match self.is_secured {
            true => self.offer_auth(reply).line("REQUIRETLS"),
            false => self.offer_auth(reply),
        };
        Reaction::SendNow(
            reply
                .line("PIPELINING")
                .line(format!("SIZE {}", self.settings.message_size))
                .line("8BITMIME")
                .line("SMTPUTF8")
                .line("CHUNKING")
                .line("DSN")
                .line("ENHANCEDSTATUSCODES")
                .line(format!("LIMITS RCPTMAX={}", self.settings.recipients.min(RCPTMAX_MOST)))
                .line("VRFY")
                .line("EXPN")
                .line("ETRN")
                .line("HELP"),
        )
    }

    fn mail(&mut self, sender: Sender) -> Reaction {
        if self.greeting.is_none() {
            return self.order("send EHLO or HELO first");
        }
        // Before the octets come, which is what SIZE is for (RFC 1870 §6.1).
        if sender.size.is_some_and(|size| size > self.settings.message_size) {
            let reply = self.too_large();
            return self.send(reply);
        }
        self.state = SessionState::AskedSender(sender.clone());
        Reaction::Ask(Question::Sender(sender))
    }

    fn recipient(&mut self, envelope: Envelope, recipient: Recipient) -> Reaction {
        if envelope.recipients.len() >= self.settings.recipients {
            self.state = SessionState::Rcpt(envelope);
            // 452 and not 552, so that the others are sent later (RFC 5321 §4.5.3.1.10).
            let text = "too many recipients, send this message and come again";
            return self.refuse_recipient(Reply::new(452, "4.5.3", text));
        }
        let question = Question::Recipient(recipient.path.clone());
        self.state = SessionState::AskedRecipient(envelope, recipient);
        Reaction::Ask(question)
    }

    fn data(&mut self, envelope: Envelope) -> Reaction {
        self.state = SessionState::Data(envelope, Decoder::default());
        Reaction::SendNow(Reply::plain(354, "send the message, end with <CRLF>.<CRLF>"))
    }

    /// STARTTLS (RFC 3207 §4). It is allowed inside a transaction too, and ends it.
    fn start_tls(&mut self, state: SessionState) -> Reaction {
        let refusal = match (self.is_secured, self.settings.tls) {
            (true, _) => order("TLS has begun already"),
            (false, false) => Reply::new(502, "5.5.1", "command not implemented"),
            (false, true) => return Reaction::StartTls(Reply::new(220, "2.0.0", "go on by TLS")),
        };
        self.state = state;
        self.send(refusal)
    }

    fn can_start_tls(&self) -> bool {
        self.settings.tls && !self.is_secured
    }

    /// Takes octets up to the final dot (RFC 5321 §4.1.1.4, §4.5.2); see [`Session::feed`].
    fn feed_data(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, Option<Reaction>) {
        let SessionState::Data(_, decoder) = &mut self.state else { return (0, None) };
        // Octets before the bare CR or LF are kept, because the header in them tells which message it was.
        let was_bare = decoder.has_bare();
        let (used, end) = decoder.feed(input, body);
        let (size, bare) = (decoder.wire_size(), decoder.has_bare());
        if size > self.settings.message_size || was_bare {
            body.clear(); // it will be refused; reading on only finds the message's end
        }
        if self.is_far_too_large(size) {
            return (used, Some(self.give_up()));
        }
        let action = end.then(|| match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::Data(envelope, _) => self.message(envelope, size, bare),
            other => self.unasked(other),
        });
        (used, action)
    }

    /// A chunk of this message; any number may come before the last (RFC 3030 §2).
    fn chunk(&mut self, size: u64, last: bool, envelope: Envelope, chunks: Chunks) -> Reaction {
        self.begin_chunk(Chunk { left: size, last, of: ChunkOf::Message(envelope, chunks) })
    }

    /// A chunk that belongs to no message. Its octets are read away before it is refused (RFC 3030 §2): read as
    /// commands they would be another session inside this one.
    fn discard(&mut self, size: u64, last: bool, reply: Reply, then: SessionState) -> Reaction {
        self.begin_chunk(Chunk { left: size, last, of: ChunkOf::Nothing(reply, Box::new(then), 0) })
    }

    fn begin_chunk(&mut self, chunk: Chunk) -> Reaction {
        match chunk.left {
            // `BDAT 0 LAST`: no octet will come to end it.
            0 => self.end_chunk(chunk),
            _ => {
                self.state = SessionState::Chunk(chunk);
                Reaction::Listen
            }
        }
    }

    fn feed_chunk(&mut self, input: &[u8], body: &mut Vec<u8>) -> (usize, Option<Reaction>) {
        let SessionState::Chunk(chunk) = &mut self.state else { return (0, None) };
        let (used, size) = chunk.feed(input, body);
        let done = chunk.left == 0;
        if size > self.settings.message_size {
            body.clear(); // it will be refused
        }
        if self.is_far_too_large(size) {
            return (used, Some(self.give_up()));
        }
        let action = done.then(|| match std::mem::replace(&mut self.state, SessionState::Idle) {
            SessionState::Chunk(chunk) => self.end_chunk(chunk),
            other => self.unasked(other),
        });
        (used, action)
    }

    /// All octets of a chunk are there.
    fn end_chunk(&mut self, chunk: Chunk) -> Reaction {
        match chunk.of {
            ChunkOf::Nothing(reply, then, _) => {
                self.state = *then;
                self.send(reply)
            }
            ChunkOf::Message(envelope, chunks) => {
                let size = chunks.wire_size();
                // Too large is said at once: a client sends no more chunks then (RFC 3030 §2).
                if chunk.last || size > self.settings.message_size {
                    return self.message(envelope, size, chunks.has_bare());
                }
                self.state = SessionState::Between(envelope, chunks);
                self.send(Reply::new(250, "2.0.0", format!("{size} octets so far")))
            }
        }
    }

    /// The message is whole: its size and line ends are checked. A bare CR or LF is refused and not repaired
    /// (RFC 5321 §2.3.8, §4.1.1.4): hosts that take it for a line end would find a second message inside.
    fn message(&mut self, envelope: Envelope, size: u64, bare: bool) -> Reaction {
        self.patience.brought();
        if size > self.settings.message_size {
            let reply = self.too_large();
            self.send(reply)
        } else if bare {
            let text =
                "a CR or LF stands alone in the message; lines end in CR LF (RFC 5321 2.3.8)";
            let reply = Reply::new(550, "5.6.0", text).about(&self.settings.id);
            self.send(reply)
        } else {
            self.state = SessionState::AskedMessage;
            Reaction::Ask(Question::Message(envelope))
        }
    }

    /// Whether a message is larger than twice the limit: up to there it is read away. Such a client did not
    /// look at SIZE, and RFC 5321 §7.8 lets a server defend itself.
    fn is_far_too_large(&self, size: u64) -> bool {
        size > self.settings.message_size.saturating_mul(2)
    }

    fn too_large(&self) -> Reply {
        let text = format!("message is larger than {} octets", self.settings.message_size);
        Reply::new(552, "5.3.4", text).about(&self.settings.id)
    }

    /// 421 and not 552, because in the middle of a message a client understands nothing but a close.
    fn give_up(&mut self) -> Reaction {
        let reply = Reply::new(421, "4.3.4", "message far too large, closing");
        Reaction::Close(reply.about(&self.settings.id))
    }

    fn ask_about(&mut self, state: SessionState, question: Question) -> Reaction {
        self.state = SessionState::AskedName(Box::new(state));
        Reaction::Ask(question)
    }

    /// Closes on something that is no mail client: to close for an unknown command is forbidden (RFC 5321
    /// §3.8), to close on an attack is not (§7.8).
    fn close_on_attack(&mut self, text: &str) -> Reaction {
        Reaction::Close(Reply::new(421, "4.7.0", text).about(&self.settings.id))
    }

    /// Sends a reply, and counts it as an error when it is 5xx: past the limit it ends the session, as RFC
    /// 5321 §7.8 allows.
    fn send(&mut self, reply: Reply) -> Reaction {
        match reply.is_permanent().then(|| self.patience.error(&self.settings)) {
            Some(Err(last)) => Reaction::Close(last),
            None | Some(Ok(())) => Reaction::Send(reply),
        }
    }

    fn send_now(&mut self, reply: Reply) -> Reaction {
        match self.send(reply) {
            Reaction::Send(reply) => Reaction::SendNow(reply),
            action => action,
        }
    }

    /// Refuses a recipient; past the limit of refused recipients the session ends.
    fn refuse_recipient(&mut self, reply: Reply) -> Reaction {
        match self.patience.refused_recipient(&self.settings) {
            Ok(()) => self.send(reply.about(&self.settings.id)),
            Err(last) => Reaction::Close(last),
        }
    }

    /// Answers a command that changes nothing, and whose reply a pipelining client waits for.
    fn stay(&mut self, state: SessionState, reply: Reply) -> Reaction {
        self.state = state;
        self.send_now(reply)
    }

    fn order(&mut self, text: &str) -> Reaction {
        self.send(order(text))
    }

    fn farewell(&self) -> String {
        format!("{} closing", self.settings.hostname)
    }

    /// The caller broke the contract of this type; the session ends rather than guess.
    fn unasked(&mut self, state: SessionState) -> Reaction {
        debug_assert!(false, "no question was open in {state:?}");
        Reaction::Close(Reply::new(421, "4.3.0", self.farewell()))
    }
}

/// The largest limit that EHLO tells: RFC 9422 allows six digits, and no client meets a larger one.
const RCPTMAX_MOST: usize = 999_999;

/// What a client hears that was refused by the greeting.
const DENIED: &str = "you were refused; QUIT is all that is left";

fn order(text: &str) -> Reply {
    Reply::new(503, "5.5.1", text)
}

/// RFC 5321 §3.3: 554 after RCPTs that were all refused, 503 when there was none.
fn no_recipients(refused: AnyRefused) -> Reply {
    match refused {
        true => Reply::new(554, "5.5.1", "no valid recipients"),
        false => order("send RCPT first"),
    }
}
