//! The answers to what the language asks: who knows is asked, and what comes of it is told to the session
//! before that gets more octets.

use super::handover::{Handover, tell_accepted};
use super::incoming::WholeMessage;
use super::judgement::Judgement;
use super::{Conversation, Shared};
use crate::delivery::reply_to;
use crate::directory;
use crate::event::count::{LOGINS, MESSAGES};
use crate::event::{Event, tell};
use crate::filters::{FilterInput, FilterRoom, FilteredMessage};
use crate::login::{Busy, Guess, canonical, is_same, nonce, user};
use crate::mail::address::{ClientName, ForwardPath, Host, Mailbox};
use crate::mail::envelope::{Envelope, Sender};
use crate::policy::{self, Finding, Opinion};
use crate::smtp::auth::Credentials;
use crate::smtp::reply::Reply;
use crate::smtp::session::{Question, Reaction};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How often a session that answers late looks whether the server stops.
const LOOK: Duration = Duration::from_millis(100);

impl Conversation<'_> {
    pub(super) fn decide(&mut self, question: Question) -> io::Result<Reaction> {
        if self.filters.is_some() {
            self.flush()?; // nobody waits for earlier replies while we wait for a filter
        }
        let (site, disk) = (&*self.site, &*self.shared.disk);
        let verdict = match question {
            Question::Password(credentials) => return self.password(&credentials),
            Question::Keys(user) => return self.keys(&user),
            Question::Proof { user, good } => return self.proof(&user, good),
            Question::Greeting(name) => self.greeting(&name),
            Question::Data => self.data(),
            Question::Sender(sender) => self.sender(&sender),
            Question::Recipient(path) => self.recipient(&path),
            Question::Message(envelope) => {
                self.flush()?; // nobody waits for earlier replies while we wait for the disk
                let outcome = self.message(&envelope);
                self.clock.brought();
                if outcome.is_err() {
                    MESSAGES.add("refused");
                }
                outcome
            }
            Question::Verify(name) => directory::verify(site, disk, &self.facts, &name)
                .map(|reply| self.session.tell(reply)),
            Question::Expand(name) => {
                directory::expand(site, &self.facts, &name).map(|reply| self.session.tell(reply))
            }
            Question::Start(node) => policy::start(site, &self.facts, &node, &self.shared.hints)
                .map(|reply| self.session.tell(reply)),
        };
        Ok(verdict.unwrap_or_else(|reply| self.session.refuse(reply)))
    }

    fn greeting(&mut self, name: &ClientName) -> Result<Reaction, Reply> {
        if let Some(filters) = &mut self.filters {
            filters.greeting(name.as_str(), self.facts.tls.as_ref(), &mut self.transcript)?;
        }
        Ok(self.session.allow())
    }

    fn data(&mut self) -> Result<Reaction, Reply> {
        if let Some(filters) = &mut self.filters {
            filters.data(&mut self.transcript)?;
        }
        Ok(self.session.allow())
    }

    fn sender(&mut self, sender: &Sender) -> Result<Reaction, Reply> {
        let Sender { from, size, .. } = sender;
        self.transaction.begin(sender);
        self.facts.helo = self.session.greeting().map(|greeting| greeting.name.clone());
        let Shared { disk, spill, bounds, .. } = self.shared;
        policy::sender(&self.site, &**disk, &self.facts, from).or_refusal()?;
        // Before its octets come, which is what SIZE is for (RFC 1870 §6.1).
        let is_full = |size: &u64| !bounds.room.has(&**disk, spill, *size, Instant::now());
        policy::opinion(size.filter(is_full).map(|_| Finding::NoRoom)).or_refusal()?;
        if let Some(filters) = &mut self.filters {
            let (id, command) = (self.transaction.id(), self.session.command_text());
            filters.sender(id, from, &command, &self.facts, &mut self.transcript)?;
        }
        Ok(self.session.allow())
    }

    fn recipient(&mut self, path: &ForwardPath) -> Result<Reaction, Reply> {
        let Conversation { shared, site, facts, filters, transcript, transaction, session, .. } =
            self;
        let most = site.config.limit.recipients_per_hour;
        let mut is_refused_by_filter = false;
        let consent = || {
            let is_beyond = match &facts.user {
                Some(user) => !shared.login.count_recipient(user, most),
                None => false,
            };
            policy::opinion(is_beyond.then_some(Finding::ManyRecipients)).or_refusal()?;
            match filters {
                None => Ok(()),
                Some(filters) => filters
                    .recipient(path, &session.command_text(), transcript)
                    .inspect_err(|_| is_refused_by_filter = true),
            }
        };
        match transaction.recipient(site, facts, path, consent) {
            Ok(deliveries) => self.transcript.decided(path, deliveries),
            Err(reply) => {
                if let Some(filters) = self.filters.as_mut().filter(|_| !is_refused_by_filter) {
                    filters.refused_recipient(path, &reply, &mut self.transcript);
                }
                return Err(reply);
            }
        }
        Ok(self.session.allow())
    }

    /// A whole message: 250 only when every copy is on the disk.
    fn message(&mut self, envelope: &Envelope) -> Result<Reaction, Reply> {
        let incoming = self.incoming.take().unwrap_or_else(|| self.begin_message());
        let known = incoming.message_id().map(str::to_owned);
        let finished = incoming.finish(&self.facts.id);
        // Also of one that could not be kept, or is refused: its sender may ask by it.
        let message_id = finished.as_ref().map_or(known, |whole| whole.summary.message_id.clone());
        self.transcript.note_message_id(message_id.as_deref());
        let whole = finished?;
        // A loop shows in the header only, so it is refused this late (RFC 5321 §6.3).
        let (site, facts) = (&*self.site, &self.facts);
        self.transaction.leave_out_loops(site, facts, envelope, &whole.summary)?;
        policy::message(site, &whole.summary, self.transaction.plan().here()).or_refusal()?;
        let judgement = self.transaction.judge(site, whole.gathered.as_ref());
        let taken = self.decided(envelope, whole, judgement.as_ref());
        let id = taken.is_ok().then(|| self.transaction.id().to_owned());
        if let (None, Some(judgement)) = (&id, &judgement) {
            judgement.tell(None, &self.facts.id);
        }
        if let Some(filters) = &mut self.filters {
            filters.end(id.as_deref());
        }
        taken?;
        let id = id.unwrap_or_default();
        self.transcript.taken(&id);
        Ok(self.session.accepted(&id))
    }

    /// Takes the message, unless its judgement or a filter is against that.
    fn decided(
        &mut self,
        envelope: &Envelope,
        whole: WholeMessage,
        judgement: Option<&Judgement>,
    ) -> Result<(), Reply> {
        let opinion = judgement.map_or(Opinion::Take, Judgement::opinion);
        if let Opinion::Refuse(reply) = opinion {
            return Err(reply);
        }
        let Some(filtered) = self.filtered(&whole, judgement)? else {
            return self.hand_over(envelope, whole, judgement, (None, opinion));
        };
        let is_junk = matches!(opinion, Opinion::Junk);
        let opinion = policy::filtered(&self.site, &filtered, is_junk);
        if let Opinion::Refuse(reply) = opinion {
            return Err(reply);
        }
        let changed = self.change_envelope(envelope, &whole, &filtered)?;
        let envelope = changed.as_ref().unwrap_or(envelope);
        let is_discarded = matches!(opinion, Opinion::Discard);
        // To take out all recipients is to throw it away.
        if is_discarded || envelope.recipients.is_empty() {
            if let Some(filters) = self.filters.as_mut().filter(|_| !is_discarded) {
                filters.has_nobody();
            }
            // Its client hears that it was taken, and it is told like any other that was.
            let tls = envelope.sender.tls.with_header(whole.summary.tls.wish());
            let (id, size) = (self.transaction.id(), whole.body.size());
            tell_accepted(id, &self.facts, envelope, (size, tls), judgement);
            return Ok(());
        }
        self.hand_over(envelope, whole, judgement, (Some(filtered), opinion))
    }

    /// What the filters make of the message; none where there are none.
    fn filtered(
        &mut self,
        whole: &WholeMessage,
        judgement: Option<&Judgement>,
    ) -> Result<Option<FilteredMessage>, Reply> {
        let Conversation { shared, site, filters, transcript, facts, .. } = self;
        let Some(filters) = filters else { return Ok(None) };
        let results = judgement.map(|judgement| judgement.field(site)).unwrap_or_default();
        let room = FilterRoom {
            disk: &shared.disk,
            dir: &shared.spill,
            budget: &shared.budget,
            message_size: site.config.limit.message_size,
        };
        let input =
            FilterInput { body: &whole.body, results: &results, forged: &whole.forged, room };
        // What comes by BDAT has no DATA of its own.
        filters.data(transcript)?;
        filters.message(&input, transcript).map(Some).map_err(|error| {
            tell(&Event::Trouble { session: &facts.id, what: &error.to_string() });
            reply_to(&error)
        })
    }

    /// The envelope as filters want it, where that is another one; its recipients are planned anew then.
    fn change_envelope(
        &mut self,
        envelope: &Envelope,
        whole: &WholeMessage,
        filtered: &FilteredMessage,
    ) -> Result<Option<Envelope>, Reply> {
        let FilteredMessage { sender, added, removed, .. } = filtered;
        if sender.is_none() && added.is_empty() && removed.is_empty() {
            return Ok(None);
        }
        let mut changed = envelope.clone();
        if let Some(from) = sender {
            changed.sender.from = from.clone();
        }
        changed.recipients.retain(|recipient| !removed.contains(&recipient.path));
        let (site, facts) = (&*self.site, &self.facts);
        let summary = filtered.body.as_ref().map_or(&whole.summary, |body| &body.summary);
        let left_out =
            self.transaction.change_recipients(site, facts, &mut changed, added, summary)?;
        if let Some(filters) = &mut self.filters {
            left_out.into_iter().for_each(|(path, why)| filters.left_out(&path, &why));
        }
        Ok(Some(changed))
    }

    /// Gives the message to delivery.
    fn hand_over(
        &mut self,
        envelope: &Envelope,
        whole: WholeMessage,
        judgement: Option<&Judgement>,
        (filtered, opinion): (Option<FilteredMessage>, Opinion),
    ) -> Result<(), Reply> {
        let (is_junk, quarantine) = opinion.marks();
        let (site, facts) = (&*self.site, &self.facts);
        let handover = Handover {
            shared: self.shared,
            site,
            facts,
            id: self.transaction.id(),
            with: self.session.protocol(envelope.sender.smtputf8),
            envelope,
            plan: self.transaction.plan(),
            judgement,
            filtered,
            is_junk,
            quarantine,
        };
        handover.run(whole, || self.ticket.is_ending())?;
        self.transaction.spend();
        Ok(())
    }

    /// Is this the password?
    fn password(&mut self, credentials: &Credentials) -> io::Result<Reaction> {
        let guess = self.guess(&credentials.user);
        self.wait(guess)?;
        Ok(match self.shared.login.verify(&self.site, self.facts.client, credentials) {
            Ok(Some(user)) if self.is_for_himself(&credentials.user) => self.welcome(user, guess),
            Ok(_) => self.deny(guess),
            Err(Busy) => self.busy(guess),
        })
    }

    /// What SCRAM needs.
    fn keys(&mut self, name: &str) -> io::Result<Reaction> {
        let guess = self.guess(name);
        self.wait(guess)?;
        Ok(match nonce() {
            Ok(nonce) => self.session.keys(self.shared.login.keys(&self.site, name), &nonce),
            Err(Busy) => self.busy(guess),
        })
    }

    /// The end of SCRAM.
    fn proof(&mut self, name: &str, good: bool) -> io::Result<Reaction> {
        let guess = self.guess(name);
        Ok(match user(&self.site, name).filter(|_| good && self.is_for_himself(name)) {
            Some(user) => self.welcome(user, guess),
            None => self.deny(guess),
        })
    }

    /// An attempt to log in begins; a refusal of it names the user.
    fn guess(&mut self, name: &str) -> Guess {
        self.named = Some(canonical(&self.site, name));
        let client = self.facts.client;
        let is_trusted = policy::is_trusted(&self.site, client);
        self.shared.login.guess(&self.site, client, name, is_trusted)
    }

    /// Whether the user whom the client wants to act for is the one whose password it knows.
    fn is_for_himself(&self, name: &str) -> bool {
        self.session.acts_for().is_none_or(|other| is_same(&self.site, name, other))
    }

    fn welcome(&mut self, user: Mailbox, guess: Guess) -> Reaction {
        self.shared.login.forgive(guess);
        self.named = None;
        let (session, name) = (self.facts.id.as_str(), user.to_string());
        tell(&Event::Authenticated { session, user: &name });
        if let Host::Domain(domain) = &user.host {
            self.session.complete_at(domain.clone());
        }
        self.facts.user = Some(user);
        if let Some(filters) = &mut self.filters {
            filters.logged_in(&self.session.command_text());
        }
        self.ticket.set_known();
        self.session.authenticated()
    }

    fn deny(&mut self, guess: Guess) -> Reaction {
        self.count_failure(guess);
        self.note_failure("the name or the password is wrong");
        self.session.denied()
    }

    /// Counts as a wrong password: who keeps the server busy with logins is slowed like one who guesses.
    fn busy(&mut self, guess: Guess) -> Reaction {
        self.count_failure(guess);
        self.note_failure("too many log in at this moment");
        let text = "too many log in at this moment, try later";
        self.session.not_looked_at(Reply::new(454, "4.7.0", text))
    }

    fn count_failure(&self, guess: Guess) {
        LOGINS.add("failed");
        self.shared.login.count(guess);
    }

    fn note_failure(&mut self, why: &str) {
        if let Some(user) = &self.named {
            self.transcript.login_failed(user, why);
        }
    }

    /// Answers late where somebody guesses; before we look, so that a quick answer tells nothing.
    fn wait(&mut self, guess: Guess) -> io::Result<()> {
        self.flush()?; // nobody waits for earlier replies meanwhile
        let until = Instant::now() + self.shared.login.delay(&self.site, guess);
        while !self.ticket.is_stopping() {
            match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left => thread::sleep(left.min(LOOK)),
            }
        }
        Ok(())
    }
}
