//! Logins: users and their passwords, the one thread that computes hashes, addresses that guess passwords,
//! and how many recipients a user had in the last hour.
//!
//! Speaks no SMTP and stores no password. Its counters are lost with the process, which loses no mail.

mod guesses;
mod hasher;
mod hours;

use crate::limits::{CHECK_NAMED, SCRAM_ITERATIONS};
use crate::mail::address::{Host, LocalPart, Mailbox};
use crate::net::listener::Service;
use crate::site::{Local, Site};
use crate::smtp::auth::{Credentials, Keys, Mechanism};
use crate::store::locked;
use crate::store::password::Stored;
use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding};
pub use guesses::Guess;
use guesses::Guesses;
pub use hasher::Busy;
use hasher::Hasher;
use hours::Hours;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What all sessions share for logins. Its locks are held for no longer than a look into a table.
pub struct Login {
    hasher: Hasher,
    guesses: Mutex<Guesses>,
    hours: Mutex<Hours>,
    /// Salts are made from it for users that do not exist.
    secret: [u8; 32],
}

/// Ways to log in to a service: none where no user has a password. SCRAM is offered only while every stored
/// password can do it: a client that prefers SCRAM would keep the other users from logging in.
pub fn mechanisms(site: &Site, service: Service) -> Vec<Mechanism> {
    let users = || site.domains().filter_map(|local| local.users);
    if !service.is_submission() || users().all(|users| users.reference().is_none()) {
        return Vec::new();
    }
    let scram = users().all(|users| users.can_scram()).then_some(Mechanism::ScramSha256);
    scram.into_iter().chain([Mechanism::Plain, Mechanism::Login]).collect()
}

/// Where users log in, in words: "port 587 (submission)"; empty where no user can.
pub fn places(site: &Site) -> String {
    let listen = &site.config.listen;
    if mechanisms(site, Service::Submission).is_empty() {
        return String::new();
    }
    let named = |addresses: &[SocketAddr], service: &str| {
        addresses.first().map(|first| format!("port {} ({service})", first.port()))
    };
    let places =
        [named(&listen.submissions, "submissions"), named(&listen.submission, "submission")];
    places.into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

/// Whether two login names mean the same user, existing or not: in any case of letters, with or without the
/// domain.
pub fn is_same(site: &Site, one: &str, other: &str) -> bool {
    let meant = |name| find(site, name).map(|found| found.mailbox.to_string().to_ascii_lowercase());
    meant(one).is_some_and(|one| meant(other) == Some(one))
}

/// The user that a login name means: a whole address, or the name before the @ where one domain is
/// served.
pub fn user(site: &Site, name: &str) -> Option<Mailbox> {
    let found = find(site, name)?;
    found.password.is_some().then_some(found.mailbox)
}

/// The address that a login name means, whether that user exists or not; the name unchanged where it can
/// mean no address here.
pub fn canonical(site: &Site, name: &str) -> String {
    find(site, name).map_or_else(|| name.to_owned(), |found| found.mailbox.to_string())
}

impl Login {
    /// Starts the thread of hashes, which ends when this is dropped. The secret is a new one. Fails when
    /// the system grants no thread, or no random octets.
    pub fn start() -> io::Result<Login> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|_| io::Error::other("no random octets"))?;
        Ok(Login {
            hasher: Hasher::start()?,
            guesses: Mutex::default(),
            hours: Mutex::default(),
            secret,
        })
    }

    /// The same with a secret that is kept over restarts: then the salt of a user that does not exist stays
    /// the same, as the salt of a real one does.
    pub fn with_secret(self, secret: [u8; 32]) -> Login {
        Login { secret, ..self }
    }

    /// The user whose password this is; none where the user does not exist or the password is wrong, and
    /// both take the same time. Waits for the turn of the client's network, at most
    /// [`crate::limits::LOGIN_WAIT`].
    pub fn verify(
        &self,
        site: &Site,
        client: IpAddr,
        credentials: &Credentials,
    ) -> Result<Option<Mailbox>, Busy> {
        let found = find(site, &credentials.user);
        let own = found.as_ref().and_then(|found| found.password.clone());
        // Without a hash of this user another one's is computed, so that the time tells nothing.
        let Some(stored) = own.clone().or_else(|| reference(site, found.as_ref())) else {
            return Ok(None);
        };
        let is_right = self.hasher.verify(client, stored, credentials.password.clone())?;
        Ok(found.filter(|_| own.is_some() && is_right).map(|found| found.mailbox))
    }

    /// What SCRAM needs of a user; for a user that does not exist, keys that look the same and that no
    /// password fits.
    pub fn keys(&self, site: &Site, name: &str) -> Keys {
        let found = find(site, name);
        // The made-up keys are the same in each spelling of the name.
        let canonical = canonical(site, name).to_ascii_lowercase();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &self.secret);
        let made_up = |what: &str| {
            let tag = hmac::sign(&secret, format!("{what} {canonical}").as_bytes());
            let mut octets = [0; 32];
            octets.copy_from_slice(tag.as_ref());
            octets
        };
        let salt = &made_up("salt")[..16];
        let scram = |stored: Arc<Stored>| stored.scram_keys(salt, SCRAM_ITERATIONS);
        let own = found.as_ref().and_then(|found| found.password.clone()).and_then(scram);
        if let Some(keys) = own {
            let (salt, iterations) = (keys.salt, keys.iterations);
            let (stored_key, server_key) = (keys.stored_key, keys.server_key);
            return Keys { salt, iterations, stored_key, server_key };
        }
        // Computed for users that do not exist as well, because the time would tell them apart.
        let other = reference(site, found.as_ref()).and_then(scram);
        Keys {
            salt: salt.to_owned(),
            iterations: other.map_or(SCRAM_ITERATIONS, |keys| keys.iterations),
            stored_key: made_up("stored"),
            server_key: made_up("server"),
        }
    }

    /// An attempt to log in as this user. `is_trusted`: the client is one of `relay.networks`.
    pub fn guess(&self, site: &Site, client: IpAddr, name: &str, is_trusted: bool) -> Guess {
        locked(&self.guesses).guess(client, &canonical(site, name), is_trusted)
    }

    /// How long its answer is delayed.
    pub fn delay(&self, site: &Site, guess: Guess) -> Duration {
        locked(&self.guesses).delay(guess, site.config.limit.auth_failures, Instant::now())
    }

    /// The password was wrong, or was not verified because too many others wait.
    pub fn count(&self, guess: Guess) {
        locked(&self.guesses).add(guess, Instant::now());
    }

    /// The password was right.
    pub fn forgive(&self, guess: Guess) {
        locked(&self.guesses).forgive(guess);
    }

    /// Counts a recipient of this user; false, and not counted, when the user had `most` in this hour.
    pub fn count_recipient(&self, user: &Mailbox, most: usize) -> bool {
        locked(&self.hours).count_recipient(user, most, Instant::now())
    }
}

/// Our half of a SCRAM nonce: 18 random octets in base64.
pub fn nonce() -> Result<String, Busy> {
    let mut octets = [0; 18];
    getrandom::fill(&mut octets).map_err(|_| Busy)?;
    Ok(Base64::encode_string(&octets))
}

/// Whether the name before the @ is enough to log in.
pub fn takes_bare_names(site: &Site) -> bool {
    !places(site).is_empty() && only_domain(site).is_some()
}

/// Where a name without its domain means nobody, though users log in: words for the administrator, whose users may
/// have set up their programs while there was one domain.
pub fn no_bare_names(site: &Site) -> Option<String> {
    let second = site.domains().nth(1).filter(|_| !places(site).is_empty())?;
    let named: Vec<&str> =
        site.domains().take(CHECK_NAMED).map(|local| local.config.name.as_str()).collect();
    let more = match site.domains().count() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let place = site.config.place(&second.config.key);
    Some(format!(
        "{place}: several domains are served ({}{more}), so a user logs in by the whole address alone; a name \
         without its domain, enough where there is one domain, is refused like a wrong password: change it in \
         mail programs that are set up so",
        named.join(", ")
    ))
}

/// The one domain that a name without a domain can mean; none where several are served.
fn only_domain(site: &Site) -> Option<Local<'_>> {
    let mut domains = site.domains();
    domains.next().filter(|_| domains.next().is_none())
}

/// The user that a login name means, existing or not.
struct Found {
    mailbox: Mailbox,
    password: Option<Arc<Stored>>,
    /// The first password of that domain.
    reference: Option<Arc<Stored>>,
}

fn find(site: &Site, name: &str) -> Option<Found> {
    let (local, part): (Local<'_>, LocalPart) = match Mailbox::parse(name) {
        Ok(Mailbox { local, host }) => (site.local(&host)?, local),
        Err(_) => (only_domain(site)?, LocalPart::from_plain(name).ok()?),
    };
    let user = local.users.and_then(|users| users.get(part.as_str()));
    // As the users file writes it, so that counters and log lines of one user bear one name.
    let part = user.map_or(part.clone(), LocalPart::of_user);
    let host = Host::Domain(local.config.name.clone());
    let password = local.users.and_then(|users| users.password(part.as_str())).cloned();
    let reference = local.users.and_then(|users| users.reference()).cloned();
    Some(Found { mailbox: Mailbox { local: part, host }, password, reference })
}

/// A password of the same domain, else of any.
fn reference(site: &Site, found: Option<&Found>) -> Option<Arc<Stored>> {
    let own = found.and_then(|found| found.reference.clone());
    let mut all = site.domains().filter_map(|local| local.users?.reference().cloned());
    own.or_else(|| all.next())
}
