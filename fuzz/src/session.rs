//! A whole session: any octets, however they are cut, get the replies that a model of RFC 5321 §4.1.4
//! gives, and no message is taken that it would not take.
//!
//! The model has all octets at once and reads lines by looking for CR LF. Of the language itself it takes
//! the readers for granted that have targets of their own: commands, DATA and BDAT.

use facteur::limits::COMMAND_LINE_MAX;
use facteur::mail::address::{Domain, ForwardPath, ReversePath};
use facteur::mail::envelope::{Envelope, Sender};
use facteur::smtp::auth::{Bindings, Keys, Mechanism};
use facteur::smtp::chunk::Chunks;
use facteur::smtp::command::{Command, Context};
use facteur::smtp::dot_stuffing::Decoder;
use facteur::smtp::reply::Reply;
use facteur::smtp::session::{Question, Reaction, Session, Settings};

/// Small, so that few octets pass them.
const MESSAGE_SIZE: u64 = 500;
const RECIPIENTS: usize = 3;
const ERRORS: usize = 5;

pub fn run(data: &[u8]) {
    for auth in [false, true] {
        let mut first: Option<Play> = None;
        for pieces in super::cuts(data) {
            let mut play = Play::new(auth);
            pieces.iter().all(|piece| play.feed(piece));
            let first = first.get_or_insert_with(|| play.clone_told());
            assert_eq!(play.told, first.told, "cut in pieces it is another session");
        }
        if let Some(first) = first.filter(|_| !auth) {
            let mut model = Model::new(data);
            while model.step() {}
            assert_eq!(first.told.iter().map(Told::code).collect::<Vec<_>>(), model.codes);
            let taken = |told: Told| match told {
                Told::Message(_, body) => Some(body),
                Told::Reply(..) => None,
            };
            assert_eq!(first.told.into_iter().filter_map(taken).collect::<Vec<_>>(), model.taken);
        }
    }
}

/// Who is refused in these tests, sender and recipient.
fn is_refused(local: &str) -> bool {
    local.starts_with("no")
}

/// And which message.
fn is_bad(body: &[u8]) -> bool {
    body.starts_with(b"no")
}

/// What happened outside.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Reply(u16, String),
    /// A message that is to be judged, with the number of its recipients.
    Message(usize, Vec<u8>),
}

impl Told {
    /// Zero for a message.
    fn code(&self) -> u16 {
        match self {
            Told::Reply(code, _) => *code,
            Told::Message(..) => 0,
        }
    }
}

struct Play {
    session: Session,
    body: Vec<u8>,
    told: Vec<Told>,
    /// RCPTs that were accepted in this transaction.
    accepted: usize,
    is_over: bool,
}

impl Play {
    fn new(auth: bool) -> Play {
        let mechanisms = vec![Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
        let mut session = Session::new(Settings {
            hostname: Domain::parse("mx.test").unwrap(),
            id: "s0".to_owned(),
            message_size: MESSAGE_SIZE,
            recipients: RECIPIENTS,
            errors: ERRORS,
            tls: true,
            auth: if auth { mechanisms } else { Vec::new() },
            auth_failures: 2,
            is_filtered: false,
        });
        if auth {
            session.secured();
            session.bind(Bindings { exporter: vec![7; 32], end_point: Vec::new() });
        }
        Play { session, body: Vec::new(), told: Vec::new(), accepted: 0, is_over: false }
    }

    fn clone_told(&self) -> Play {
        Play { told: self.told.clone(), ..Play::new(false) }
    }

    /// False when the session is over.
    fn feed(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() && !self.is_over {
            let (used, action) = self.session.feed(piece, &mut self.body);
            assert!(used > 0 && used <= piece.len());
            // Of a message nothing is kept that is past its limit.
            assert!(self.body.len() as u64 <= MESSAGE_SIZE.max(used as u64), "unbounded");
            piece = &piece[used..];
            assert!(action.is_some() || piece.is_empty());
            if let Some(action) = action {
                self.act(action);
            }
            if !self.session.in_message() {
                self.body.clear();
            }
        }
        !self.is_over
    }

    fn act(&mut self, mut action: Reaction) {
        loop {
            action = match action {
                Reaction::Ask(question) => self.answer(question),
                Reaction::Send(reply) | Reaction::SendNow(reply) => return self.say(&reply),
                Reaction::Listen => return,
                Reaction::StartTls(reply) => {
                    self.say(&reply);
                    return self.session.secured();
                }
                Reaction::Close(reply) => {
                    self.is_over = true;
                    return self.say(&reply);
                }
            }
        }
    }

    fn say(&mut self, reply: &Reply) {
        let code = super::check_reply(reply);
        if code == 354 {
            assert!(self.session.in_data() && self.accepted > 0, "354 for nobody");
        }
        self.told.push(Told::Reply(code, reply.to_string()));
    }

    fn answer(&mut self, question: Question) -> Reaction {
        let no = || Reply::new(550, "5.1.1", "no");
        match question {
            Question::Sender(Sender { from: ReversePath::Mailbox(mailbox), .. })
                if is_refused(mailbox.local.as_str()) =>
            {
                self.session.refuse(no())
            }
            Question::Recipient(ForwardPath::Mailbox(mailbox))
                if is_refused(mailbox.local.as_str()) =>
            {
                self.session.refuse(no())
            }
            Question::Sender(..) => {
                self.accepted = 0;
                self.session.allow()
            }
            Question::Recipient(_) => {
                self.accepted += 1;
                self.session.allow()
            }
            Question::Greeting(_) | Question::Data => self.session.allow(),
            Question::Message(envelope) => self.judge(&envelope),
            Question::Password(found) if found.user == "ann" && found.password == "x" => {
                self.session.authenticated()
            }
            Question::Password(_) | Question::Proof { good: false, .. } => self.session.denied(),
            // Nobody knows the password of these keys.
            Question::Proof { good: true, .. } => panic!("a proof without a password"),
            Question::Keys(_) => {
                let (stored_key, server_key) = ([3; 32], [4; 32]);
                let keys = Keys { salt: vec![5; 16], iterations: 4096, stored_key, server_key };
                self.session.keys(keys, "nonce0nonce0nonce0nonce0")
            }
            Question::Verify(_) | Question::Expand(_) | Question::Start(_) => {
                self.session.tell(Reply::new(252, "2.0.0", "perhaps"))
            }
        }
    }

    fn judge(&mut self, envelope: &Envelope) -> Reaction {
        assert_eq!(envelope.recipients.len(), self.accepted, "not who was accepted");
        assert!((1..=RECIPIENTS).contains(&self.accepted));
        let body = std::mem::take(&mut self.body);
        assert!(!body.contains(&b'\r') && body.len() as u64 <= MESSAGE_SIZE);
        let refused = is_bad(&body);
        self.told.push(Told::Message(self.accepted, body));
        match refused {
            true => self.session.refuse(Reply::new(451, "4.3.0", "later")),
            false => self.session.accepted("m0"),
        }
    }
}

/// Where a transaction stands.
#[derive(Default)]
enum At {
    #[default]
    Idle,
    /// MAIL was accepted; whether a RCPT was refused, and how many were accepted.
    Open { smtputf8: bool, refused: bool, accepted: usize },
    /// A message by BDAT has begun.
    Chunks(Chunks, Vec<u8>),
}

struct Model<'a> {
    rest: &'a [u8],
    at: At,
    greeted: bool,
    secured: bool,
    errors: usize,
    over: bool,
    /// Of replies; zero for a message.
    codes: Vec<u16>,
    taken: Vec<Vec<u8>>,
}

impl<'a> Model<'a> {
    fn new(rest: &'a [u8]) -> Model<'a> {
        let (at, codes, taken) = Default::default();
        let (greeted, secured, errors, over) = (false, false, 0, false);
        Model { rest, at, greeted, secured, errors, over, codes, taken }
    }

    /// One line and what belongs to it; false at the end.
    fn step(&mut self) -> bool {
        let strangers = ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH"];
        let http = |verb: &&str| self.rest.starts_with(format!("{verb} ").as_bytes());
        let others = ["TRACE", "PROPFIND", "PRI *"];
        if strangers.iter().chain(&others).any(http) || self.rest.starts_with(&[22]) {
            self.close(421);
        } else if let Some(end) = self.rest.windows(2).position(|two| two == b"\r\n") {
            let line = &self.rest[..end];
            self.rest = &self.rest[end + 2..];
            match line.len() + 2 > COMMAND_LINE_MAX {
                true => self.say(500),
                false => self.line(line),
            }
            return !self.over;
        }
        false
    }

    fn say(&mut self, code: u16) {
        self.errors += usize::from(code >= 500);
        match self.errors > ERRORS {
            true => self.close(421),
            false => self.codes.push(code),
        }
    }

    fn close(&mut self, code: u16) {
        self.codes.push(code);
        self.over = true;
    }

    fn line(&mut self, line: &[u8]) {
        let smtputf8 = matches!(self.at, At::Open { smtputf8: true, .. });
        let command = match Command::parse(line, &Context { smtputf8, ..Context::default() }) {
            Ok(command) => command,
            Err(reply) => return self.say(reply.code()),
        };
        match command {
            Command::Quit => self.close(221),
            Command::Ehlo(_) | Command::Helo(_) => {
                (self.at, self.greeted) = (At::Idle, true);
                self.codes.push(250);
            }
            Command::StartTls if self.secured => self.say(503),
            Command::StartTls => {
                (self.at, self.greeted, self.secured) = (At::Idle, false, true);
                self.codes.push(220);
            }
            Command::Auth { .. } => self.say(502),
            Command::Rset => {
                self.at = At::Idle;
                self.say(250);
            }
            Command::Noop => self.say(250),
            Command::Help(_) => self.say(214),
            Command::Vrfy(_) | Command::Expn(_) | Command::Etrn(_) => self.say(252),
            Command::Mail(sender) => self.mail(&sender),
            Command::Rcpt(recipient) => self.rcpt(&recipient.path),
            Command::Data => self.data(),
            Command::Bdat { size, last } => self.bdat(size, last),
        }
    }

    fn mail(&mut self, sender: &facteur::mail::envelope::Sender) {
        let refused = matches!(&sender.from, ReversePath::Mailbox(mailbox)
            if is_refused(mailbox.local.as_str()));
        match self.at {
            At::Idle if !self.greeted => self.say(503),
            At::Idle if sender.size.is_some_and(|size| size > MESSAGE_SIZE) => self.say(552),
            At::Idle if refused => self.say(550),
            At::Idle => {
                self.at = At::Open { smtputf8: sender.smtputf8, refused: false, accepted: 0 };
                self.say(250);
            }
            At::Open { .. } | At::Chunks(..) => self.say(503),
        }
    }

    fn rcpt(&mut self, path: &ForwardPath) {
        let bad = matches!(path, ForwardPath::Mailbox(mailbox)
            if is_refused(mailbox.local.as_str()));
        let code = match &mut self.at {
            At::Idle | At::Chunks(..) => 503,
            At::Open { accepted, .. } if *accepted >= RECIPIENTS => 452,
            At::Open { refused, .. } if bad => {
                *refused = true;
                550
            }
            At::Open { accepted, .. } => {
                *accepted += 1;
                250
            }
        };
        self.say(code);
    }

    /// What is said to a message that nobody gets.
    fn nobody(&self) -> Option<u16> {
        match self.at {
            At::Open { accepted: 1.., .. } | At::Chunks(..) => None,
            At::Open { refused: true, .. } => Some(554),
            At::Open { refused: false, .. } | At::Idle => Some(503),
        }
    }

    fn data(&mut self) {
        if let Some(code) = self.nobody() {
            return self.say(code);
        }
        if matches!(self.at, At::Chunks(..)) {
            return self.say(503);
        }
        self.codes.push(354);
        let (mut decoder, mut body) = (Decoder::default(), Vec::new());
        let (used, end) = decoder.feed(self.rest, &mut body);
        self.rest = &self.rest[used..];
        match decoder.wire_size() > 2 * MESSAGE_SIZE {
            true => self.close(421),
            false if end => self.message(decoder.wire_size(), decoder.has_bare(), body),
            false => {}
        }
    }

    fn bdat(&mut self, size: u64, last: bool) {
        let here = &self.rest[..size.min(self.rest.len() as u64) as usize];
        self.rest = &self.rest[here.len()..];
        let is_whole = here.len() as u64 == size;
        if let Some(code) = self.nobody() {
            return match here.len() as u64 > 2 * MESSAGE_SIZE {
                true => self.close(421),
                false if is_whole => self.say(code),
                false => {}
            };
        }
        let (mut chunks, mut body) = match std::mem::take(&mut self.at) {
            At::Chunks(chunks, body) => (chunks, body),
            At::Open { .. } | At::Idle => Default::default(),
        };
        chunks.feed(here, &mut body);
        let total = chunks.wire_size();
        if total > 2 * MESSAGE_SIZE {
            self.close(421);
        } else if is_whole && (last || total > MESSAGE_SIZE) {
            self.message(total, chunks.has_bare(), body);
        } else if is_whole {
            self.at = At::Chunks(chunks, body);
            self.say(250);
        }
    }

    fn message(&mut self, size: u64, bare: bool, body: Vec<u8>) {
        self.at = At::Idle;
        if size > MESSAGE_SIZE {
            return self.say(552);
        }
        if bare {
            return self.say(550);
        }
        self.codes.push(0);
        self.say(if is_bad(&body) { 451 } else { 250 });
        self.taken.push(body);
    }
}
