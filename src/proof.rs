//! Finds out who sent a message: the voices of [`mail::proof`](crate::mail::proof) over the process's
//! resolver, within the bounds of one message. Decides nothing: what follows from findings is policy.
//!
//! One [`Proof`] lives with a message from its first recipient, when SPF is asked, to the end of its data,
//! when the rest is. Between the two a [`Gatherer`] hears the octets. What the configuration turns off costs
//! no question and no octet.

mod asker;

use crate::config::{Dmarc, Spf, Trust};
use crate::limits::trust::{AFTER_DMARC, AFTER_SEALS, AFTER_SPF};
use crate::mail::address::{Host, ReversePath};
use crate::mail::proof::arc;
use crate::mail::proof::dkim;
use crate::mail::proof::dmarc::{self, Authors, NoAuthors};
use crate::mail::proof::findings::ProofFindings;
use crate::mail::proof::gather::{Gathered, Gatherer, SignaturesWanted};
use crate::mail::proof::raw::RawHeader;
use crate::mail::proof::spf::{self, SpfClient, SpfIdentity};
use crate::net::dns::Resolver;
use asker::{DnsAsker, Questions};
pub use asker::{record_kind, resource_record};

/// What is found out about one message, and what that has cost up to now.
pub struct Proof {
    asks: Asks,
    questions: Questions,
    findings: ProofFindings,
    /// What SPF says of the sender where an absence that no zone vouches for is none, and it says something
    /// else then.
    surely: Option<spf::SpfFinding>,
}

/// The voices that are asked.
#[derive(Clone, Copy)]
struct Asks {
    spf: bool,
    dkim: bool,
    arc: bool,
    dmarc: bool,
}

impl Proof {
    /// None where every voice is off.
    pub fn new(trust: &Trust) -> Option<Proof> {
        let asks = Asks {
            spf: trust.spf != Spf::Off,
            dkim: trust.dkim,
            arc: trust.arc,
            dmarc: trust.dmarc != Dmarc::Off,
        };
        let Asks { spf, dkim, arc, dmarc } = asks;
        (spf || dkim || arc || dmarc).then(|| Proof {
            asks,
            questions: Questions::default(),
            findings: ProofFindings::default(),
            surely: None,
        })
    }

    /// Asks SPF about the sender and the client's name. The sender comes first: the client's own name may be
    /// one that costs all there is.
    pub fn ask_spf(&mut self, resolver: &dyn Resolver, client: &SpfClient<'_>, from: &ReversePath) {
        if !self.asks.spf {
            return;
        }
        let mut asker = self.questions.asker(resolver, AFTER_SPF);
        let (finding, surely) = match from {
            ReversePath::Null => spf_of(&mut asker, client, SpfIdentity::Helo),
            ReversePath::Mailbox(mailbox) => {
                let domain = match &mailbox.host {
                    Host::Domain(domain) => domain.as_str().to_owned(),
                    Host::Literal(address) => format!("[{address}]"),
                };
                let local = mailbox.local.as_str().as_bytes();
                let sender = SpfIdentity::MailFrom { local, domain: domain.as_bytes() };
                let found = spf_of(&mut asker, client, sender);
                self.findings.helo = Some(spf_of(&mut asker, client, SpfIdentity::Helo).0);
                found
            }
        };
        if let Some(surely) = &surely
            && finding.result == spf::SpfResult::Fail
            && surely.result != spf::SpfResult::Fail
        {
            self.findings.doubts.spf = Some(surely.reason.clone());
        }
        self.surely = surely;
        match from {
            ReversePath::Null => self.findings.helo = Some(finding),
            ReversePath::Mailbox(_) => self.findings.mail_from = Some(finding),
        }
    }

    /// What is found out up to now.
    pub fn findings(&self) -> &ProofFindings {
        &self.findings
    }

    /// Who has to hear the message for [`Proof::finish`]; none where nothing of it matters.
    pub fn gatherer(&self) -> Option<Gatherer> {
        let Asks { dkim, arc, dmarc, .. } = self.asks;
        (dkim || arc || dmarc).then(|| Gatherer::new(SignaturesWanted { dkim, arc }))
    }

    /// Asks all that is left. `time`: seconds since 1970.
    pub fn finish(
        mut self,
        resolver: &dyn Resolver,
        gathered: Option<&Gathered>,
        time: u64,
    ) -> ProofFindings {
        let Some(gathered) = gathered else { return self.findings };
        let fields = gathered.fields();
        let header = RawHeader::new(&fields);
        let mut asker = self.questions.asker(resolver, AFTER_SEALS);
        (self.findings.dkim, self.findings.arc) = asker.strictly(|asker| {
            let hashes = &gathered.hashes;
            let verify = |signatures| {
                let authors = gathered.domains();
                dkim::verify(asker, signatures, authors, &header, hashes, time)
            };
            let dkim = gathered.signatures.as_deref().map(verify);
            let chain = gathered.chain.as_ref();
            let arc = chain.map(|chain| arc::verify(asker, chain, &header, hashes, time));
            (dkim, arc)
        });
        if self.asks.dmarc {
            self.judge(resolver, &gathered.authors);
        }
        self.findings
    }

    fn judge(&mut self, resolver: &dyn Resolver, authors: &Result<Authors, NoAuthors>) {
        let mut asker = self.questions.asker(resolver, AFTER_DMARC);
        let finding = dmarc::judge(&mut asker, authors, &self.findings.evidence());
        let has_doubts = asker.take_doubts() || self.surely.is_some();
        if finding.result == dmarc::DmarcResult::Fail && has_doubts {
            let sender = self.surely.as_ref().or(self.findings.sender());
            let evidence = self.findings.evidence_with(sender);
            let surely = asker.strictly(|asker| dmarc::judge(asker, authors, &evidence));
            if (surely.result, surely.policy) != (finding.result, finding.policy) {
                self.findings.doubts.dmarc = Some(surely.reason);
            }
        }
        self.findings.dmarc = Some(finding);
    }
}

/// What SPF says, and what it says where an absence that no zone vouches for is none, if that may differ.
fn spf_of(
    asker: &mut DnsAsker<'_>,
    client: &SpfClient<'_>,
    identity: SpfIdentity<'_>,
) -> (spf::SpfFinding, Option<spf::SpfFinding>) {
    let finding = spf::check(asker, client, identity);
    let is_sure = !asker.take_doubts() || finding.result == spf::SpfResult::Pass;
    let surely = (!is_sure).then(|| asker.strictly(|asker| spf::check(asker, client, identity)));
    (finding, surely)
}

#[cfg(test)]
mod tests;
