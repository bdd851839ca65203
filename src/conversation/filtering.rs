//! The filters of a session: what is said to them at each step, what follows for the client, and what is told of
//! it. Without filters for its service a session has none of this, and each step costs nothing.

use super::transcript::Transcript;
use crate::filters::{
    FilterAction, FilterChain, FilterClient, FilterInput, FilterNote, FilterOpinion, FilterTls,
    FilteredMessage,
};
use crate::limits::{FILTER_NAME_TIME, FILTER_NAMES_MAX};
use crate::mail::address::{ForwardPath, ReversePath};
use crate::mail::proof::name::Name;
use crate::net::dns::{Record, RecordKind, Records, Resolver};
use crate::net::tls::Protection;
use crate::policy::Facts;
use crate::smtp::milter::FilterStage;
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The filters of one session.
pub(super) struct SessionFilters {
    chain: FilterChain,
    session: String,
    /// By which mechanism the client has logged in.
    mechanism: String,
    /// Of the message under way: what is told once it is known what became of it.
    kept: Vec<FilterNote>,
    in_message: bool,
    has_data: bool,
}

/// A slow answer is worth a line in the trace.
const SLOW: Duration = Duration::from_secs(1);

impl SessionFilters {
    pub fn new(chain: FilterChain, session: &str) -> SessionFilters {
        let (session, mechanism, kept) = (session.to_owned(), String::new(), Vec::new());
        SessionFilters { chain, session, mechanism, kept, in_message: false, has_data: false }
    }

    /// A client has connected.
    pub fn connect(
        &mut self,
        resolver: &dyn Resolver,
        facts: &Facts,
        transcript: &mut Transcript,
    ) -> Result<(), Reply> {
        let client = FilterClient {
            name: verified_name(resolver, facts.client),
            address: Some((facts.client, facts.ends.map_or(0, |ends| ends.client_port))),
            listener: facts.ends.map(|ends| ends.listener),
        };
        let opinion = self.chain.connect(client);
        self.heard(opinion, transcript)
    }

    /// It says its name.
    pub fn greeting(
        &mut self,
        name: &str,
        tls: Option<&Protection>,
        transcript: &mut Transcript,
    ) -> Result<(), Reply> {
        self.abort(transcript);
        let opinion = self.chain.helo(name, tls.map(as_openssl));
        self.heard(opinion, transcript)
    }

    /// It has logged in. `command`: AUTH and the mechanism.
    pub fn logged_in(&mut self, command: &[u8]) {
        let mechanism = command.split(|octet| *octet == b' ').nth(1).unwrap_or_default();
        self.mechanism = String::from_utf8_lossy(mechanism).to_ascii_uppercase();
    }

    /// A message begins, which has this id. `command`: MAIL as the client wrote it.
    pub fn sender(
        &mut self,
        id: &str,
        from: &ReversePath,
        command: &[u8],
        facts: &Facts,
        transcript: &mut Transcript,
    ) -> Result<(), Reply> {
        self.abort(transcript);
        self.in_message = true;
        let user = facts.user.as_ref().map(ToString::to_string);
        let login = user.as_deref().map(|user| (&*self.mechanism, user));
        let opinion = self.chain.mail(id, from, &parameters(command), login);
        self.heard(opinion, transcript)
    }

    /// A recipient that we would take. `command`: RCPT as the client wrote it.
    pub fn recipient(
        &mut self,
        path: &ForwardPath,
        command: &[u8],
        transcript: &mut Transcript,
    ) -> Result<(), Reply> {
        let opinion = self.chain.rcpt(path, &parameters(command));
        self.heard(opinion, transcript)
    }

    /// A recipient that we have refused.
    pub fn refused_recipient(
        &mut self,
        path: &ForwardPath,
        reply: &Reply,
        transcript: &mut Transcript,
    ) {
        self.chain.refused_rcpt(path, reply);
        self.take_notes(transcript);
    }

    /// DATA; of a message that comes by BDAT, once it has come whole.
    pub fn data(&mut self, transcript: &mut Transcript) -> Result<(), Reply> {
        if std::mem::replace(&mut self.has_data, true) {
            return Ok(());
        }
        let opinion = self.chain.data();
        self.heard(opinion, transcript)
    }

    /// The message has come whole.
    pub fn message(
        &mut self,
        input: &FilterInput<'_>,
        transcript: &mut Transcript,
    ) -> Result<FilteredMessage, StoreError> {
        let filtered = self.chain.message(input);
        self.in_message = false;
        self.take_notes(transcript);
        filtered
    }

    /// A recipient that a filter added was left out.
    pub fn left_out(&mut self, path: &ForwardPath, why: &Reply) {
        self.note(FilterAction::Undone, &format!("recipient {path} was not added: {why}"));
    }

    /// Filters took out all recipients.
    pub fn has_nobody(&mut self) {
        self.note(FilterAction::Discard, "no recipient was left");
    }

    /// A note on what all filters together wanted, by the name of the last one that changed something.
    fn note(&mut self, action: FilterAction, why: &str) {
        let is_its = |note: &&FilterNote| note.action == FilterAction::Changed;
        let last = self.kept.iter().rfind(is_its).map(|note| note.filter.clone());
        let filter = last.unwrap_or_default();
        let (stage, took) = (FilterStage::EndOfMessage, Duration::ZERO);
        self.kept.push(FilterNote::new(&filter, stage, action, why, took));
    }

    /// What became of the message is known: it was taken under this id, or not.
    pub fn end(&mut self, id: Option<&str>) {
        self.has_data = false;
        for note in std::mem::take(&mut self.kept) {
            note.tell(id, &self.session);
        }
    }

    /// The message under way, if there is one, ends without an end.
    pub fn abort(&mut self, transcript: &mut Transcript) {
        if std::mem::take(&mut self.in_message) {
            self.chain.abort();
            self.take_notes(transcript);
        }
        self.end(None);
    }

    fn heard(&mut self, opinion: FilterOpinion, transcript: &mut Transcript) -> Result<(), Reply> {
        self.take_notes(transcript);
        opinion.or_refusal()
    }

    /// A refusal is told at once, under the session: its message may go on without a recipient, or never come.
    fn take_notes(&mut self, transcript: &mut Transcript) {
        for note in self.chain.take_notes() {
            note.count();
            let is_quiet = note.action == FilterAction::Continue && note.took < SLOW;
            if !is_quiet {
                transcript.filtered(&note);
            }
            match note.action {
                FilterAction::Continue | FilterAction::Accept => {}
                FilterAction::Reject | FilterAction::Tempfail => {
                    note.tell(None, &self.session);
                }
                FilterAction::Failed if !self.in_message => {
                    note.tell(None, &self.session);
                }
                FilterAction::Discard
                | FilterAction::Quarantine
                | FilterAction::Changed
                | FilterAction::Undone
                | FilterAction::Failed => self.kept.push(note),
            }
        }
    }
}

/// However the session ends.
impl Drop for SessionFilters {
    fn drop(&mut self) {
        self.end(None);
    }
}

/// What stands behind the path of MAIL or RCPT.
fn parameters(command: &[u8]) -> Vec<String> {
    let text = command.splitn(2, |octet| *octet == b':').nth(1).unwrap_or_default();
    let Ok((_, rest)) = ForwardPath::parse(text.trim_ascii_start())
        .map(|(_, rest)| ((), rest))
        .or_else(|_| ReversePath::parse(text.trim_ascii_start()).map(|(_, rest)| ((), rest)))
    else {
        return Vec::new();
    };
    let words = rest.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty());
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The name of an address that has this address (RFC 8601 §2.7.3, iprev); none where DNS does not say so in time.
fn verified_name(resolver: &dyn Resolver, address: IpAddr) -> Option<String> {
    let until = Instant::now() + FILTER_NAME_TIME;
    let ask = |name: &[u8], kind| {
        let left = until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Vec::new(),
            false => match resolver.lookup_within(name, kind, left).map(|answer| answer.records) {
                Ok(Records::Found(records)) => records,
                Ok(Records::Absent | Records::Unsure(_) | Records::NoName) | Err(_) => Vec::new(),
            },
        }
    };
    let reverse = Name::reverse_of(address)?;
    let kind = if address.is_ipv4() { RecordKind::A } else { RecordKind::Aaaa };
    let leads_back = |name: &String| {
        let is_it = |record| matches!(record, Record::Address(found) if found == address);
        ask(name.as_bytes(), kind).into_iter().any(is_it)
    };
    let names =
        ask(reverse.as_bytes(), RecordKind::Ptr).into_iter().filter_map(|record| match record {
            Record::Ptr(name) => Some(name),
            _ => None,
        });
    names.take(FILTER_NAMES_MAX).find(leads_back)
}

/// A protection by the names of OpenSSL.
fn as_openssl(tls: &Protection) -> FilterTls {
    let bits = if tls.suite.contains("AES_128") { 128 } else { 256 };
    FilterTls { version: tls.version.to_owned(), cipher: openssl_cipher(&tls.suite), bits }
}

/// IANA's name of a suite as OpenSSL has it: `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384` is
/// `ECDHE-RSA-AES256-GCM-SHA384`; those of TLS 1.3 have one name only.
fn openssl_cipher(suite: &str) -> String {
    match suite.strip_prefix("TLS_").and_then(|name| name.split_once("_WITH_")) {
        None => suite.to_owned(),
        Some((exchange, cipher)) => {
            let cipher = cipher.replace("AES_", "AES").replace("_POLY1305_SHA256", "_POLY1305");
            format!("{exchange}-{cipher}").replace('_', "-")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_behind_a_path() {
        for (command, words) in [
            ("MAIL FROM:<ann@mx.test> SIZE=10  BODY=8BITMIME", &["SIZE=10", "BODY=8BITMIME"][..]),
            ("MAIL FROM:<> RET=HDRS", &["RET=HDRS"]),
            ("RCPT TO: <\"a > b\"@mx.test> NOTIFY=NEVER", &["NOTIFY=NEVER"]),
            ("RCPT TO:<Postmaster>", &[]),
            ("RCPT TO", &[]),
            ("", &[]),
        ] {
            assert_eq!(parameters(command.as_bytes()), words, "{command}");
        }
    }

    #[test]
    fn suites_by_the_names_of_openssl() {
        for (iana, openssl) in [
            ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384"),
            ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"),
            ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
            ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
            ("0x1301", "0x1301"),
        ] {
            assert_eq!(openssl_cipher(iana), openssl);
        }
    }
}
