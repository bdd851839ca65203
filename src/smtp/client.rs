//! The client's side of SMTP, as a machine: a next hop's octets go in, an [`Action`] comes out, and in the
//! end a [`Fate`] for each recipient (RFC 5321 §3.3, §4.3.2; PIPELINING: RFC 2920).
//!
//! ```text
//! new → greeting → EHLO (HELO) → rest ─ begin ─► RSET? MAIL RCPT… DATA → message → reply ─► rest
//!                   ▲      │                                                                 │
//!                   └── STARTTLS, where it is offered and wanted; then AUTH         decided ◄┘
//! ```
//!
//! What the replies mean is decided here and nowhere else:
//!
//! - A host that closes, is silent, talks nonsense, says 4xx as greeting, to EHLO or to MAIL, or says 5xx as
//!   greeting, has decided nothing: [`Fate::NextHost`]. After 5xx to EHLO we try HELO.
//! - So has a host that lacks REQUIRETLS (RFC 8689) for a message that requires it; one that lacks anything else that
//!   the message needs fails it.
//! - A 4xx to RCPT, DATA or the message defers.
//! - A 5xx to MAIL, RCPT, DATA or the message is final, in the middle of the octets too. But not where it may
//!   follow from what we did: spoke in the clear because TLS failed ([`Aside::InTheClear`]), or began a further
//!   transaction on a kept connection, where a 5xx to MAIL decides nothing.
//! - After the final dot the host may have the message: any failure from there on only defers (RFC 5321 §6.1
//!   would rather have two copies than none), and no other host is asked in this attempt.
//!
//! By LMTP ([`Client::by_lmtp`], RFC 2033) it says LHLO, and after the message each recipient has a reply of its own,
//! in the order of RCPT; DATA is said once all recipients have theirs. A reply too many ends the connection, and a
//! reply too few defers those that have none. Before a further transaction RSET is answered alone, so that a late
//! reply cannot be taken for that of the next command.

mod fate;
mod login;
mod offers;
mod refusal;
#[cfg(test)]
mod tests;
mod turns;

pub use fate::{Aside, Cause, Fate, Lack, OWED_BY, Reason, Step};
pub use offers::Offers;
pub use turns::Spoken;

use super::answer::{Answer, AnswerBuffer, BadAnswer, Kind};
use super::auth::client::ClientExchange;
use crate::limits::{PIPELINE_OCTETS, TRANSACTION_RECIPIENTS};
use crate::mail::envelope::Envelope;
use crate::mail::survey::WireForm;
use fate::NO_MAIL;
use login::PendingLogin;
use std::collections::VecDeque;

/// A message to be sent, without its octets.
#[derive(Clone, Debug)]
pub struct OutgoingMessage {
    /// As MAIL and RCPT will say it; only recipients of this next hop.
    pub envelope: Envelope,
    pub content: WireForm,
}

/// What the caller does next.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these octets to the host.
    Send(Vec<u8>),
    /// Wait for octets of the host and feed them; the reply to this step comes next.
    Await(Step),
    /// Send the message by [`super::outgoing::Encoder`], and call [`Client::message_ends`] before its
    /// last octets go.
    SendMessage,
    /// Go on by TLS, then call [`Client::secured`].
    StartTls,
    /// Nothing is under way: begin a transaction, or quit.
    Rest,
    /// The connection is of no more use; [`Client::over`] says why.
    Close,
}

#[derive(Debug)]
enum Phase {
    /// Commands and replies, or rest between transactions.
    Talking,
    /// 354 was said.
    Sending,
    /// STARTTLS was answered with 220; nothing may be said in the clear any more.
    Securing,
    /// The connection is of no more use; the fate of all recipients that are not decided.
    Over(Fate),
}

/// Whether a connection goes on by TLS (RFC 3207).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secrecy {
    /// No TLS: it was tried and failed, or has begun already.
    #[default]
    Never,
    /// TLS where the host offers it, else in the clear.
    Offered,
    /// TLS or nothing.
    Required,
}

/// The step of a command, or of a reply that comes without one; and the recipient's index, for RCPT.
type RecipientStep = (Step, usize);

/// One connection from its greeting on.
#[derive(Debug)]
pub struct Client {
    /// Our name.
    name: String,
    /// LMTP is spoken, not SMTP.
    is_lmtp: bool,
    answers: AnswerBuffer,
    offers: Offers,
    secrecy: Secrecy,
    /// TLS has begun, but the host has said nothing by it yet.
    is_unproven: bool,
    /// Why we speak in the clear to a host that offers TLS; none where that is not so.
    in_the_clear: Option<String>,
    /// By what record or policy the host owes TLS; none where it owes none.
    owed_by: Option<String>,
    /// As whom we log in and where the password stands, for the person who has to correct it.
    whose: Option<String>,
    /// The login that has not begun yet.
    account: Option<PendingLogin>,
    /// The AUTH exchange that is under way.
    login: Option<ClientExchange>,
    phase: Phase,
    /// Commands that have not been sent, with their lines.
    unsaid: VecDeque<(RecipientStep, String)>,
    /// Commands whose replies have not come yet.
    awaited: VecDeque<RecipientStep>,
    /// Replies so far.
    heard: u64,
    /// The recipients that the message still has to reach.
    left: Vec<usize>,
    /// Those that the host has accepted in this transaction.
    accepted: Vec<usize>,
    decided: Vec<(usize, Fate)>,
    /// A transaction has begun and not come to its end: RSET goes before the next.
    is_open: bool,
    /// Transactions that were begun.
    begun: usize,
    /// Messages that came to their last reply.
    carried: usize,
    turns: Vec<Spoken>,
}

impl Client {
    /// A connection has been made, and stays in the clear; `name` is ours.
    pub fn new(name: &str) -> Client {
        Client {
            name: name.to_owned(),
            is_lmtp: false,
            answers: AnswerBuffer::default(),
            offers: Offers::default(),
            secrecy: Secrecy::Never,
            is_unproven: false,
            in_the_clear: None,
            owed_by: None,
            whose: None,
            account: None,
            login: None,
            phase: Phase::Talking,
            unsaid: VecDeque::new(),
            awaited: VecDeque::from([(Step::Greeting, 0)]),
            heard: 0,
            left: Vec::new(),
            accepted: Vec::new(),
            decided: Vec::new(),
            is_open: false,
            begun: 0,
            carried: 0,
            turns: Vec::new(),
        }
    }

    /// The same by LMTP.
    pub fn by_lmtp(name: &str) -> Client {
        Client { is_lmtp: true, ..Client::new(name) }
    }

    /// The client with this use of TLS.
    pub fn wanting(self, secrecy: Secrecy) -> Client {
        Client { secrecy, ..self }
    }

    /// TLS begins here. All that was heard in the clear is forgotten, because it may come from somebody in
    /// between, and the host is asked anew what it offers (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        if matches!(self.phase, Phase::Securing) {
            self.phase = Phase::Talking;
            self.secrecy = Secrecy::Never;
            self.is_unproven = true;
            self.offers = Offers::default();
            self.answers = AnswerBuffer::default();
            self.say_hello();
        }
    }

    /// What to do now; to be asked again once that is done.
    pub fn action(&mut self) -> Action {
        match (&self.phase, self.awaited.front()) {
            (Phase::Over(_), _) => Action::Close,
            (Phase::Sending, _) => Action::SendMessage,
            (Phase::Securing, _) => Action::StartTls,
            (Phase::Talking, Some((step, _))) => Action::Await(*step),
            (Phase::Talking, None) => {
                // All recipients were refused, so there is nothing to send.
                if matches!(self.unsaid.front(), Some(((Step::Data, _), _)))
                    && self.accepted.is_empty()
                {
                    self.unsaid.clear();
                }
                match self.unsaid.is_empty() {
                    true => Action::Rest,
                    false => Action::Send(self.group()),
                }
            }
        }
    }

    /// Takes what the host said, in any pieces.
    pub fn feed(&mut self, mut input: &[u8]) {
        while !input.is_empty() && !matches!(self.phase, Phase::Over(_)) {
            // A reply inside the message ends the sending; it is read to its end.
            if matches!(self.phase, Phase::Sending) {
                self.phase = Phase::Talking;
                self.awaited.push_back((Step::Message, 0));
            }
            let is_early = self.is_our_turn();
            let (used, found) = self.answers.feed(input);
            input = &input[used..];
            if let Some(Ok(answer)) = &found {
                self.note_heard(answer);
            }
            match found {
                // A reply that nobody asked for would be taken for that of the next command.
                Some(Ok(answer)) if is_early => self.lost(Cause::Said(answer)),
                None if is_early => self.lost(Cause::Garbled(BadAnswer::Early)),
                None => {}
                Some(Ok(answer)) => self.take_answer(answer),
                Some(Err(flaw)) => self.lost(Cause::Garbled(flaw)),
            }
        }
    }

    /// The connection is of no more use: the host closed it, broke it, or is too slow.
    pub fn lost(&mut self, cause: Cause) {
        let unsaid = self.unsaid.front().map(|(asked, _)| asked);
        let asked = self.awaited.front().or(unsaid).map(|(step, _)| *step);
        let step = match self.phase {
            Phase::Over(_) => return,
            Phase::Sending => Step::Message,
            Phase::Securing => Step::StartTls,
            // In TLS 1.3 the host may reject the handshake after it is complete on our side.
            Phase::Talking if self.is_unproven => Step::StartTls,
            Phase::Talking => asked.unwrap_or(Step::Mail),
        };
        self.end(step, cause);
    }

    /// Begins a transaction for the first of the recipients `left`, as many as one may have; false when no
    /// transaction can begin on this connection. [`Client::decided`] tells the fates, at least the first
    /// recipient's unless the connection is lost.
    pub fn begin(&mut self, outgoing: &OutgoingMessage, left: &[usize]) -> bool {
        if self.action() != Action::Rest {
            return false;
        }
        if self.offers.transactions.is_some_and(|most| self.carried >= most) {
            self.end(Step::Mail, Cause::Enough);
            return false;
        }
        self.left = left.to_vec();
        if let Some(lack) = self.offers.lack(outgoing) {
            let decided = if lack == Lack::RequireTls { Fate::NextHost } else { Fate::Failed };
            self.decide_left(&decided(lacks(lack)));
            return true;
        }
        let most = self.offers.recipients.unwrap_or(TRANSACTION_RECIPIENTS);
        let batch = &left[..left.len().min(most).min(TRANSACTION_RECIPIENTS)];
        for &index in batch {
            if let Some(lack) = self.offers.lack_for(&outgoing.envelope.recipients[index]) {
                self.decide(index, Fate::Failed(lacks(lack)));
            }
        }
        let batch: Vec<usize> = batch.iter().copied().filter(|i| self.left.contains(i)).collect();
        if !batch.is_empty() {
            self.say_transaction(outgoing, &batch);
        }
        true
    }

    /// Asks whether the host takes mail for the first recipient, and sends none; false when that cannot be asked
    /// on this connection. [`Client::decided`] has a refusal, and [`Client::has_accepted`] says whether there was
    /// none.
    pub fn ask(&mut self, outgoing: &OutgoingMessage) -> bool {
        if self.action() != Action::Rest {
            return false;
        }
        self.left = vec![0];
        let lack = self.offers.lack_for(&outgoing.envelope.recipients[0]);
        if let Some(lack) = lack {
            self.decide(0, Fate::Failed(lacks(lack)));
            return true;
        }
        self.say_transaction(outgoing, &[0]);
        self.unsaid.pop_back(); // DATA
        true
    }

    /// Whether the host has accepted a recipient in this transaction.
    pub fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    fn say_transaction(&mut self, outgoing: &OutgoingMessage, batch: &[usize]) {
        self.accepted.clear();
        if std::mem::replace(&mut self.is_open, true) || self.is_lmtp && self.begun > 0 {
            self.say((Step::Rset, 0), "RSET");
        }
        self.begun += 1;
        self.say((Step::Mail, 0), &self.offers.mail(outgoing));
        for &index in batch {
            let line = self.offers.rcpt(&outgoing.envelope.recipients[index]);
            self.say((Step::Rcpt, index), &line);
        }
        self.say((Step::Data, 0), "DATA");
    }

    /// The last octets of the message are about to go: from here on the host may have it.
    pub fn message_ends(&mut self) {
        if matches!(self.phase, Phase::Sending) {
            self.phase = Phase::Talking;
            match self.is_lmtp {
                false => self.awaited.push_back((Step::Final, 0)),
                true => {
                    self.awaited.extend(self.accepted.iter().map(|index| (Step::Final, *index)));
                }
            }
        }
    }

    /// The end of the message could not be sent: the host has not got it, and may have said why.
    pub fn cut_short(&mut self) {
        let finals = self.awaited.iter_mut().filter(|(step, _)| *step == Step::Final);
        finals.for_each(|asked| asked.0 = Step::Message);
    }

    /// The fates decided since this was last called, each with the recipient's index in the message.
    pub fn decided(&mut self) -> Vec<(usize, Fate)> {
        std::mem::take(&mut self.decided)
    }

    /// The fate of all undecided recipients once the connection is of no more use; none before.
    pub fn over(&self) -> Option<&Fate> {
        match &self.phase {
            Phase::Over(fate) => Some(fate),
            Phase::Talking | Phase::Sending | Phase::Securing => None,
        }
    }

    /// Whether a command, or TLS, comes next, once all replies are heard.
    pub fn has_unsaid(&self) -> bool {
        !self.unsaid.is_empty() || matches!(self.phase, Phase::Securing)
    }

    /// Whether the host waits for us: no reply is outstanding.
    pub fn is_our_turn(&self) -> bool {
        self.awaited.is_empty() && self.over().is_none()
    }

    /// Whether QUIT may be said: the host speaks SMTP, waits for a command and has not closed. Inside a
    /// message QUIT would be no command.
    pub fn may_quit(&self) -> bool {
        self.awaited.is_empty()
            && match &self.phase {
                Phase::Talking => true,
                Phase::Sending | Phase::Securing => false,
                Phase::Over(fate) => fate.reason().is_some_and(is_polite),
            }
    }

    /// The number of replies so far: each has a timeout of its own.
    pub fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether a new connection may do better, because this one has had transactions before.
    pub fn is_worn(&self) -> bool {
        self.carried > 0 || self.begun > 1
    }

    pub fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Decides what a reply means at its step. Each pair has a row; `_` stands only where all kinds mean the
    /// same.
    fn take_answer(&mut self, answer: Answer) {
        self.heard += 1;
        self.is_unproven = false;
        let Some(&(step, index)) = self.awaited.front() else { return };
        if answer.code() == CLOSING {
            return self.end(step, Cause::Said(answer));
        }
        self.awaited.pop_front();
        match (step, answer.kind()) {
            (Step::Greeting, Kind::Good) => self.say_hello(),
            (Step::Ehlo, Kind::Good) => {
                self.offers = Offers::of(&answer);
                self.want_tls();
            }
            (Step::Ehlo, Kind::Never) if answer.code() == NO_MAIL || self.is_lmtp => {
                self.end(step, Cause::Said(answer));
            }
            (Step::Ehlo, Kind::Never) => self.say((Step::Helo, 0), &format!("HELO {}", self.name)),
            (Step::Helo, Kind::Good) => self.want_tls(),
            (Step::StartTls, Kind::Good) => self.phase = Phase::Securing,
            (Step::Auth, Kind::More) => self.challenged(&answer),
            (Step::Auth, Kind::Good) => self.welcomed(),
            (Step::Auth, Kind::Later | Kind::Never) => self.unwelcome(answer),
            (Step::Rset | Step::Mail, Kind::Good) => {}
            (Step::Mail, Kind::Later) => self.refuse_mail(&Fate::NextHost(self.said(step, answer))),
            // Perhaps the host refuses a further transaction, and not this sender.
            (Step::Mail, Kind::Never) if self.begun > 1 => self.end(step, Cause::Said(answer)),
            (Step::Mail, Kind::Never) => self.refuse_mail(&self.refused(step, answer)),
            (Step::Rcpt, Kind::Good) if self.left.contains(&index) => self.accepted.push(index),
            (Step::Rcpt, Kind::Later | Kind::Never) if self.is_full(&answer) => {
                self.unsaid.retain(|((step, _), _)| *step != Step::Rcpt);
            }
            (Step::Rcpt, Kind::Later) => {
                self.decide(index, Fate::Deferred(self.said(step, answer)));
            }
            (Step::Rcpt, Kind::Never) => self.decide(index, self.refused(step, answer)),
            (Step::Rcpt, Kind::Good) => {} // MAIL was refused before
            // 354 without a recipient is answered with an empty message, which goes nowhere (RFC 2920 §3.1).
            (Step::Data, Kind::More) if self.accepted.is_empty() => {
                self.say((Step::Final, 0), ".");
            }
            (Step::Data, Kind::More) => self.phase = Phase::Sending,
            (Step::Final, kind @ (Kind::Good | Kind::Later | Kind::Never)) if self.is_lmtp => {
                let fate = match kind {
                    Kind::Good => Fate::Relayed(answer.shortened()),
                    Kind::Never => self.refused(step, answer),
                    _ => Fate::Deferred(self.said(step, answer)),
                };
                self.conclude_one(index, fate);
            }
            (Step::Data | Step::Final, Kind::Later) => {
                self.conclude(step, &Fate::Deferred(self.said(step, answer)));
            }
            (Step::Data | Step::Final, Kind::Never) => {
                self.conclude(step, &self.refused(step, answer));
            }
            // By LMTP it may be about one of several recipients, and nobody knows which.
            (Step::Message, Kind::Never) if self.is_lmtp && self.accepted.len() > 1 => {
                self.end(step, Cause::Said(answer));
            }
            // The connection must not be used again: the octets sent so far would be read as commands.
            (Step::Message, Kind::Never) => {
                self.conclude(step, &self.refused(step, answer.clone()));
                self.end(step, Cause::Said(answer));
            }
            (Step::Final, Kind::Good) => self.conclude(step, &Fate::Relayed(answer.shortened())),
            // A 4xx before MAIL, or a reply that makes no sense at this step.
            (Step::Greeting, Kind::Later | Kind::Never | Kind::More)
            | (Step::Ehlo, Kind::Later | Kind::More)
            | (Step::Helo | Step::StartTls | Step::Rset, Kind::Later | Kind::Never | Kind::More)
            | (Step::Mail | Step::Rcpt | Step::Final, Kind::More)
            | (Step::Data, Kind::Good)
            | (Step::Message, Kind::Good | Kind::Later | Kind::More)
            | (Step::Connect, _) => self.end(step, Cause::Said(answer)),
        }
    }

    fn say_hello(&mut self) {
        let verb = if self.is_lmtp { "LHLO" } else { "EHLO" };
        self.say((Step::Ehlo, 0), &format!("{verb} {}", self.name));
    }

    /// The host has told what it offers: TLS begins, or we log in, or the host lacks the TLS that it has to have.
    fn want_tls(&mut self) {
        match (self.secrecy, self.offers.starttls) {
            (Secrecy::Offered | Secrecy::Required, true) => {
                self.say((Step::StartTls, 0), "STARTTLS");
            }
            (Secrecy::Required, false) => {
                let lack = match self.owed_by {
                    Some(_) => Lack::OwedTls,
                    None => Lack::StartTls,
                };
                self.end(Step::StartTls, Cause::Lacks(lack));
            }
            (Secrecy::Never, _) | (Secrecy::Offered, false) => self.want_login(),
        }
    }

    /// MAIL was refused: this is the fate of all recipients left. Replies to commands that went out with it are
    /// read and mean nothing.
    fn refuse_mail(&mut self, fate: &Fate) {
        self.unsaid.clear();
        self.decide_left(fate);
    }

    /// Whether this answer to RCPT means too many recipients for one transaction (RFC 5321 §4.5.3.1.10, which
    /// also allows 552): the recipient is tried again in a further one. Never for the first recipient of a
    /// transaction, else there would be no end of transactions.
    fn is_full(&self, answer: &Answer) -> bool {
        let enhanced = answer.enhanced().map(|code| &code[1..]);
        !self.accepted.is_empty()
            && matches!(
                (answer.code(), answer.kind(), enhanced),
                (452 | 552, _, None | Some(".5.3")) | (_, Kind::Later, Some(".5.3"))
            )
    }

    /// DATA was refused, or the message has its last reply.
    fn conclude(&mut self, step: Step, fate: &Fate) {
        for index in std::mem::take(&mut self.accepted) {
            self.decide(index, fate.clone());
        }
        if step == Step::Final {
            self.carried += 1;
            self.is_open = false;
        }
    }

    /// One recipient has its last reply (RFC 2033 §4.2).
    fn conclude_one(&mut self, index: usize, fate: Fate) {
        self.accepted.retain(|accepted| *accepted != index);
        self.decide(index, fate);
        if self.accepted.is_empty() {
            self.carried += 1;
            self.is_open = false;
        }
    }

    fn decide(&mut self, index: usize, fate: Fate) {
        // Only once: a later reply changes nothing.
        if self.left.contains(&index) {
            self.left.retain(|left| *left != index);
            self.decided.push((index, fate));
        }
    }

    fn decide_left(&mut self, fate: &Fate) {
        let left = std::mem::take(&mut self.left);
        self.decided.extend(left.into_iter().map(|index| (index, fate.clone())));
    }

    /// The connection is of no more use from this step on.
    fn end(&mut self, step: Step, cause: Cause) {
        let cause = match cause {
            Cause::Said(answer) => Cause::Said(answer.shortened()),
            cause => cause,
        };
        let reason = Reason { step, cause, aside: self.aside(step) };
        if step == Step::Final {
            self.conclude(step, &Fate::Deferred(reason.clone()));
        }
        // A message that we cannot read ourselves cannot go to another host either.
        if matches!(reason.cause, Cause::Unreadable(_)) {
            self.decide_left(&Fate::Deferred(reason.clone()));
        }
        self.unsaid.clear();
        self.phase = Phase::Over(Fate::NextHost(reason));
    }

    fn say(&mut self, asked: RecipientStep, line: &str) {
        self.unsaid.push_back((asked, format!("{line}\r\n")));
    }

    /// The commands that may go at once: with PIPELINING as many as fit, else one. The next group
    /// waits for all their replies, so neither side can block the other (RFC 2920 §3.1).
    fn group(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        while let Some((asked, line)) = self.unsaid.pop_front() {
            let fits = octets.len() + line.len() <= PIPELINE_OCTETS;
            let is_first = octets.is_empty();
            // By LMTP a dot without a recipient would have no reply; and RSET is answered alone.
            let is_apart = self.is_lmtp
                && (asked.0 == Step::Data || matches!(self.awaited.back(), Some((Step::Rset, _))));
            if !is_first && (!self.offers.pipelining || !fits || is_apart) {
                self.unsaid.push_front((asked, line));
                break;
            }
            octets.extend_from_slice(line.as_bytes());
            self.note_said(asked.0, &line);
            self.awaited.push_back(asked);
        }
        octets
    }
}

/// The code after which the host closes the connection, at any step (RFC 5321 §3.8).
const CLOSING: u16 = 421;

/// Whether the host has refused in an orderly way before MAIL was accepted, and waits for QUIT (RFC 5321
/// §3.1).
fn is_polite(reason: &Reason) -> bool {
    let before_mail = reason.step.is_greeting() || reason.step == Step::Mail;
    match &reason.cause {
        Cause::Said(answer) => {
            let refusal = matches!(answer.kind(), Kind::Later | Kind::Never);
            before_mail && refusal && answer.code() != CLOSING
        }
        Cause::Enough | Cause::Lacks(Lack::StartTls | Lack::OwedTls | Lack::Auth) => true,
        _ => false,
    }
}

fn lacks(lack: Lack) -> Reason {
    Reason::new(Step::Ehlo, Cause::Lacks(lack))
}
