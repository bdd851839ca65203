//! The Sender Rewriting Scheme: a sender at a domain of ours for mail that an alias sends on, so that
//! SPF of the sender's own domain does not forbid it, and the way back for its bounces. Pure.
//!
//! The scheme is Shevek's, as postsrsd, libsrs2 and Mail::SRS speak it; no RFC describes it:
//!
//! ```text
//! ann@far.test                          is sent on by team@mx.test as
//! SRS0=hhhhhhhh=tt=far.test=ann@mx.test      and that by an alias of a second host as
//! SRS1=hhhhhhhh=mx.test==hhhhhhhh=tt=far.test=ann@second.test
//! ```
//!
//! and a host that sends on an SRS1 replaces only its own part: a bounce goes from the last host to the
//! first, and from there to the sender. The rest is our choice, because only we read it again:
//!
//! - The hash is HMAC-SHA-256, cut to 40 bits. Guessing needs one RCPT a guess, for one address
//!   that is good for [`SRS_VALID_DAYS`]: at 10,000 a second, kept up for all these days, the chance
//!   is one in 60, and the prize is one bounce to one address. Longer hashes would take the room of
//!   long local parts.
//! - The hash is base32 in lower case, and covers the rest of the address in lower case, because hosts exist
//!   that change the case of a local part. The alias's domain is covered too.
//! - The hash covers the whole number of the day, of which `tt` shows only the last 10 bits: else every address
//!   would be good again after 1,024 days.
//!
//! The result may be longer than the 64 octets of RFC 5321 §4.5.3.1.1, as with other hosts: no host may
//! refuse a sender for that (§4.5.3.1), and as a recipient we take it back ([`is_tagged`]).

use super::address::{Domain, Host, LocalPart, Mailbox, ReversePath};
use crate::limits::{PATH_MAX, SRS_KEY_OCTETS, SRS_VALID_DAYS};
use aws_lc_rs::{constant_time, hmac};
use std::fmt;

/// 32 octets that nobody can foresee.
pub type SrsSecret = [u8; SRS_KEY_OCTETS];

/// The secrets: the newest signs, each of them verifies.
pub struct SrsKeys {
    newest: SrsSecret,
    older: Vec<SrsSecret>,
}

/// Why a sender stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchanged {
    /// `<>`: it takes no bounces.
    Null,
    /// It is at a domain of ours, which may send from here anyway; our own SRS addresses are too.
    Ours,
    /// It is at an address literal, for which there is no SPF record.
    Literal,
    /// Rewritten, it would be longer than [`PATH_MAX`]. As it is the next hop may refuse it, for SPF only.
    TooLong,
}

/// Why an address does not lead back to a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWayBack {
    /// It does not begin with `SRS0=` or `SRS1=`.
    NotSrs,
    /// It begins so, but the rest is not made by SRS.
    Malformed,
    /// Its hash is wrong: we did not make it, it was changed, or its secret is gone.
    Forged,
    /// Made more than [`SRS_VALID_DAYS`] ago.
    Old,
    /// We made it on a day that is still to come: a clock was, or is, wrong.
    Future,
}

impl fmt::Display for NoWayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoWayBack::NotSrs => f.write_str("not an SRS address"),
            NoWayBack::Malformed => f.write_str("malformed SRS address"),
            NoWayBack::Forged => f.write_str("SRS address that was not made here"),
            NoWayBack::Old => write!(f, "SRS address older than {SRS_VALID_DAYS} days"),
            NoWayBack::Future => f.write_str("SRS address of a day that is still to come"),
        }
    }
}

impl std::error::Error for NoWayBack {}

/// Shows no secret.
impl fmt::Debug for SrsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", 1 + self.older.len())
    }
}

/// Whether a local part begins as SRS addresses do: `SRS0` or `SRS1` in any case of letters, and one of the
/// separators in use. Which host made it, and whether its hash is right, is not looked at.
pub fn is_tagged(local: &LocalPart) -> bool {
    tag(local.as_str()).is_some()
}

impl SrsKeys {
    /// `newest` signs from now on; `older` ones still verify.
    pub fn new(newest: &SrsSecret, older: &[SrsSecret]) -> SrsKeys {
        SrsKeys { newest: *newest, older: older.to_vec() }
    }

    /// The sender under which a message goes on by an alias at the domain `alias`. `is_ours` tells
    /// the domains that are delivered here; `today` is in days since 1970-01-01 UTC.
    ///
    /// For one sender and domain the result is the same all day, so that transactions can be grouped by it. A
    /// quoted local part stays quoted and one in UTF-8 stays in UTF-8, so the transaction needs no new extension.
    pub fn rewrite(
        &self,
        sender: &ReversePath,
        alias: &Domain,
        is_ours: impl Fn(&Domain) -> bool,
        today: u64,
    ) -> Result<Mailbox, Unchanged> {
        let ReversePath::Mailbox(Mailbox { local, host }) = sender else {
            return Err(Unchanged::Null);
        };
        let Host::Domain(host) = host else {
            return Err(Unchanged::Literal);
        };
        if is_ours(host) {
            return Err(Unchanged::Ours);
        }
        let local = match Foreign::read(local.as_str(), host) {
            Some(Foreign { first, rest }) => {
                let covered = format!("{first}={rest}");
                format!("SRS1={}={covered}", hash(&self.newest, &once(alias, &covered)))
            }
            None => {
                let covered = format!("{host}={}", local.as_str());
                let hash = hash(&self.newest, &dated(alias, today, &covered));
                format!("SRS0={hash}={}={covered}", base32(today, STAMP_DIGITS))
            }
        };
        let made = Mailbox { local: LocalPart::made_of(local), host: Host::Domain(alias.clone()) };
        match made.to_string().len() + "<>".len() > PATH_MAX {
            true => Err(Unchanged::TooLong),
            false => Ok(made),
        }
    }

    /// The sender to whom a bounce to `recipient` goes on. The caller has checked that `recipient` is at a
    /// domain of ours; `today` is in days since 1970-01-01 UTC.
    ///
    /// For an SRS1 this is the SRS0 of the first host, with its tag in upper case. It may be at a domain of
    /// ours again, and is routed like any address.
    pub fn restore(&self, recipient: &Mailbox, today: u64) -> Result<Mailbox, NoWayBack> {
        let Host::Domain(alias) = &recipient.host else {
            return Err(NoWayBack::NotSrs);
        };
        let (kind, rest) = tag(recipient.local.as_str()).ok_or(NoWayBack::NotSrs)?;
        // Only other hosts write the other separators; here such a local part is an ordinary name.
        let rest = rest.strip_prefix('=').ok_or(NoWayBack::NotSrs)?;
        let back = match kind {
            SrsKind::First => self.restore_first(alias, rest, today),
            SrsKind::Later => self.restore_later(alias, rest),
        };
        back.map(|(host, local)| Mailbox {
            local: LocalPart::made_of(local),
            host: Host::Domain(host),
        })
    }

    /// The sender in `hash=tt=host=local`.
    fn restore_first(
        &self,
        alias: &Domain,
        rest: &str,
        today: u64,
    ) -> Result<(Domain, String), NoWayBack> {
        let mut parts = rest.splitn(3, '=');
        let (Some(hash), Some(stamp), Some(covered)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(NoWayBack::Malformed);
        };
        let day = read_stamp(stamp, today).ok_or(NoWayBack::Malformed)?;
        let (host, local) = covered.split_once('=').ok_or(NoWayBack::Malformed)?;
        let host = Domain::parse(host).map_err(|_| NoWayBack::Malformed)?;
        self.check(hash, &dated(alias, day, covered))?;
        match today.checked_sub(day) {
            None => Err(NoWayBack::Future),
            Some(age) if age > SRS_VALID_DAYS => Err(NoWayBack::Old),
            Some(_) => Ok((host, local.to_owned())),
        }
    }

    /// The first host's address in `hash=host=rest`, which has no day of its own: `rest` has one.
    fn restore_later(&self, alias: &Domain, rest: &str) -> Result<(Domain, String), NoWayBack> {
        let (hash, covered) = rest.split_once('=').ok_or(NoWayBack::Malformed)?;
        let (host, rest) = covered.split_once('=').ok_or(NoWayBack::Malformed)?;
        let host = Domain::parse(host).map_err(|_| NoWayBack::Malformed)?;
        self.check(hash, &once(alias, covered))?;
        Ok((host, format!("SRS0{rest}")))
    }

    /// In constant time: how far a guess is right must not show in how long we take.
    fn check(&self, found: &str, covered: &str) -> Result<(), NoWayBack> {
        let found = found.to_ascii_lowercase();
        let fits = |key: &SrsSecret| {
            let right = hash(key, covered);
            constant_time::verify_slices_are_equal(right.as_bytes(), found.as_bytes()).is_ok()
        };
        let mut keys = std::iter::once(&self.newest).chain(&self.older);
        keys.any(fits).then_some(()).ok_or(NoWayBack::Forged)
    }
}

/// Digits of a hash; each has 5 bits.
const HASH_DIGITS: usize = 8;

/// Digits of a day, modulo 1,024.
const STAMP_DIGITS: usize = 2;

/// RFC 4648 §6, in lower case.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The text that the hash of an SRS0 of ours covers. No two addresses share it, because neither a domain nor
/// a day has a `=`.
fn dated(alias: &Domain, day: u64, covered: &str) -> String {
    format!("srs0={alias}={day}={covered}")
}

/// The text that the hash of an SRS1 covers.
fn once(alias: &Domain, covered: &str) -> String {
    format!("srs1={alias}={covered}")
}

fn hash(key: &SrsSecret, covered: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let whole = hmac::sign(&key, covered.to_ascii_lowercase().as_bytes());
    let octets = whole.as_ref().iter().take(HASH_DIGITS * 5 / 8);
    base32(octets.fold(0, |bits, octet| bits << 8 | u64::from(*octet)), HASH_DIGITS)
}

/// The lowest `5 × digits` bits, the highest of them first.
fn base32(bits: u64, digits: usize) -> String {
    let digit = |n: usize| char::from(ALPHABET[(bits >> (5 * n) & 31) as usize]);
    (0..digits).rev().map(digit).collect()
}

/// The day that a stamp means: of all days with these 10 bits the one nearest to today.
fn read_stamp(stamp: &str, today: u64) -> Option<u64> {
    const ROUND: i64 = 1 << (5 * STAMP_DIGITS);
    if stamp.len() != STAMP_DIGITS {
        return None;
    }
    let value = stamp.bytes().try_fold(0, |value, octet| {
        let digit = ALPHABET.iter().position(|known| *known == octet.to_ascii_lowercase())?;
        Some(value << 5 | digit as i64)
    })?;
    let today = i64::try_from(today).ok()?;
    let away = (value - today + ROUND / 2).rem_euclid(ROUND) - ROUND / 2;
    u64::try_from(today.checked_add(away)?).ok()
}

/// `SRS0` was made by the first host that sent a message on, `SRS1` by a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SrsKind {
    First,
    Later,
}

/// The tag, and what follows it, which begins with a separator.
fn tag(local: &str) -> Option<(SrsKind, &str)> {
    let (tag, rest) = local.split_at_checked(4)?;
    let kind = match tag {
        _ if tag.eq_ignore_ascii_case("SRS0") => SrsKind::First,
        _ if tag.eq_ignore_ascii_case("SRS1") => SrsKind::Later,
        _ => return None,
    };
    rest.starts_with(['=', '+', '-']).then_some((kind, rest))
}

/// An SRS address of another host: an SRS1 of ours keeps only the host that made the first.
struct Foreign<'a> {
    first: Domain,
    /// What follows `SRS0` at that host, with its separator.
    rest: &'a str,
}

impl<'a> Foreign<'a> {
    /// None for a local part that only looks like SRS: it is wrapped as an ordinary one and comes back as it
    /// was, which an SRS1 made of it would not.
    fn read(local: &'a str, host: &Domain) -> Option<Foreign<'a>> {
        let (kind, rest) = tag(local)?;
        let (first, rest) = match kind {
            SrsKind::First => (host.clone(), rest),
            SrsKind::Later => {
                let mut parts = rest[1..].splitn(3, '=');
                let (_hash, first) = (parts.next().filter(|hash| !hash.is_empty())?, parts.next()?);
                (Domain::parse(first).ok()?, parts.next()?)
            }
        };
        let inner = rest.strip_prefix(['=', '+', '-'])?;
        let mut parts = inner.splitn(4, '=');
        let full = parts.by_ref().take(3).filter(|part| !part.is_empty()).count() == 3;
        (full && parts.next().is_some()).then_some(Foreign { first, rest })
    }
}

#[cfg(test)]
mod tests;
