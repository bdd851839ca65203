//! From an address to where its mail goes, step by step. `facteur route` prints the steps, and the same
//! function decides at RCPT, so the two cannot differ.
//!
//! Reads the site and looks whether Maildirs exist; sends nothing, changes nothing.
//!
//! RFC 5321 requires only postmaster (§4.5.1) and allows aliases (§3.9.1); users, tags and `catch_all` are
//! the contract's ("Files").

mod faults;
pub mod next_hop;
mod plan;

use crate::config::{CatchAll, LmtpServer};
use crate::event::{Event, tell};
use crate::limits::ALIAS_DEPTH;
use crate::mail::address::{Domain, ForwardPath, Host, LocalPart, Mailbox, is_file_name};
use crate::mail::envelope::Notify;
use crate::site::{Local, Site};
use crate::store::aliases::{Alias, AliasTarget};
use crate::store::disk::{Disk, Doing, StoreError};
use crate::store::entry::Addressee;
use crate::store::maildir;
use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use faults::bad_aliases;
pub use plan::{Plan, Planned};

use next_hop::{Way, way};

/// How an address was understood.
#[derive(Debug)]
pub struct Route {
    /// The steps in words, in order.
    pub steps: Vec<String>,
    pub end: End,
}

/// Where the mail of an address ends.
#[derive(Debug)]
pub enum End {
    /// At mailboxes here, followed by mailboxes elsewhere that aliases lead to; each once, at least one.
    Local(Vec<Delivery>),
    /// At a domain that is delivered elsewhere.
    Remote(Host),
    /// At one of our domains, where no such user exists.
    Unknown,
    /// An alias leads back to itself. Refused for good, because waiting does not mend it.
    Loop,
    /// Aliases lead to more addresses elsewhere than one message may be sent on to (`limit.recipients`).
    /// Also refused for good.
    Crowd,
    /// The disk failed. Never taken for `Unknown`, which would return mail for a passing trouble.
    Trouble(StoreError),
}

impl End {
    /// The Maildirs of this host among them.
    pub fn here(&self) -> impl Iterator<Item = &Destination> {
        let deliveries = if let End::Local(deliveries) = self { &deliveries[..] } else { &[] };
        deliveries.iter().filter_map(Delivery::here)
    }

    /// The mailboxes among them that other servers keep.
    pub fn kept(&self) -> impl Iterator<Item = &KeptMailbox> {
        let deliveries = if let End::Local(deliveries) = self { &deliveries[..] } else { &[] };
        deliveries.iter().filter_map(Delivery::kept)
    }
}

/// A mailbox here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The user at the domain, without a tag; what Delivered-To says.
    pub mailbox: Mailbox,
    /// The path of the Maildir; delivery makes it when it is missing.
    pub maildir: PathBuf,
    /// The folder of the Maildir for this mail, `.Junk`; none: the inbox. Made when it is missing, too.
    pub folder: Option<String>,
}

impl Destination {
    /// Tells that a copy lies there.
    pub fn tell_delivered(&self, id: &str, to: &str) {
        let (maildir, folder) = (self.maildir.as_path(), self.folder.as_deref());
        tell(&Event::Delivered { id, to, maildir, folder });
    }

    /// Where a copy lies.
    pub fn place(&self) -> maildir::Place<'_> {
        maildir::Place { maildir: &self.maildir, folder: self.folder.as_deref() }
    }
}

/// How a mailbox gets mail, from RCPT to the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// A copy in a Maildir here.
    Maildir(Destination),
    /// At a server that keeps the mail of a domain of ours.
    Lmtp(KeptMailbox),
    /// At another host, which is looked up at each attempt ([`next_hop`]). `via`: the address of ours that
    /// led there by an alias or a `catch_all`.
    NextHop { mailbox: Mailbox, via: Option<Mailbox> },
}

/// A mailbox here that another server keeps, and gets its mail by LMTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeptMailbox {
    /// As the server is told it: with its tag.
    pub mailbox: Mailbox,
    /// The same without the tag.
    pub user: Mailbox,
    pub server: LmtpServer,
    /// Nobody here knows whether it exists: the server is asked.
    pub is_asked: bool,
}

impl Delivery {
    pub fn mailbox(&self) -> &Mailbox {
        match self {
            Delivery::Maildir(Destination { mailbox, .. })
            | Delivery::Lmtp(KeptMailbox { mailbox, .. })
            | Delivery::NextHop { mailbox, .. } => mailbox,
        }
    }

    /// The user here whose mail it is.
    pub fn user(&self) -> Option<&Mailbox> {
        match self {
            Delivery::Maildir(destination) => Some(&destination.mailbox),
            Delivery::Lmtp(kept) => Some(&kept.user),
            Delivery::NextHop { .. } => None,
        }
    }

    /// The mailbox at a server that keeps it.
    pub fn kept(&self) -> Option<&KeptMailbox> {
        match self {
            Delivery::Lmtp(kept) => Some(kept),
            Delivery::Maildir(_) | Delivery::NextHop { .. } => None,
        }
    }

    pub fn here(&self) -> Option<&Destination> {
        match self {
            Delivery::Maildir(destination) => Some(destination),
            Delivery::Lmtp(_) | Delivery::NextHop { .. } => None,
        }
    }

    pub fn via(&self) -> Option<&Mailbox> {
        match self {
            Delivery::Maildir(_) | Delivery::Lmtp(_) => None,
            Delivery::NextHop { via, .. } => via.as_ref(),
        }
    }

    /// The recipient in a queue file, with what its RCPT asked for.
    pub fn addressee(&self, notify: Option<Notify>, orcpt: Option<String>) -> Addressee {
        let (mailbox, via) = (self.mailbox().clone(), self.via().cloned());
        Addressee { mailbox, notify, orcpt, via }
    }
}

/// The route of one address, by the site and the disk as they are at this moment. Only a domain's first
/// user is remembered for the next call.
pub fn route(site: &Site, disk: &dyn Disk, path: &ForwardPath) -> Route {
    let mut router = Router { steps: Some(Vec::new()), ..Router::new(site, disk) };
    let end = router.path(path);
    Route { steps: router.steps.unwrap_or_default(), end }
}

/// Where the route ends, without its steps: for RCPT.
pub fn resolve(site: &Site, disk: &dyn Disk, path: &ForwardPath) -> End {
    Router::new(site, disk).path(path)
}

/// The mailbox of a user here, without regard to aliases; none when there is no such user.
pub fn mailbox_here(
    site: &Site,
    disk: &dyn Disk,
    mailbox: &Mailbox,
) -> Result<Option<Delivery>, StoreError> {
    let mut router = Router::new(site, disk);
    match router.domain_of(mailbox) {
        Some(local) => router.user_or_tagged(local, mailbox.local.as_str()),
        None => Ok(None),
    }
}

/// Whether a mailbox of a domain whose mail a server keeps is no user's, but only an alias.
pub fn is_only_alias(local: Local<'_>, mailbox: &Mailbox) -> bool {
    let name = mailbox.local.as_str();
    let Some(alias) = alias_of(local, name) else { return false };
    let user = &name[..tag_of(local, name).unwrap_or(name.len())];
    let is_user = |name| local.users.is_some_and(|users| users.get(name).is_some());
    let is_own = |target: &AliasTarget| {
        target.user_only
            || target.mailbox.local.as_str().eq_ignore_ascii_case(&alias.name)
                && target.mailbox.host == Host::Domain(local.config.name.clone())
    };
    !local.config.any_user && !is_user(name) && !is_user(user) && !alias.targets.iter().any(is_own)
}

/// Whether an address exists by an alias of its name or as postmaster, not only by `catch_all`.
pub fn is_named(site: &Site, disk: &dyn Disk, mailbox: &Mailbox) -> bool {
    let Some(local) = Router::new(site, disk).domain_of(mailbox) else { return false };
    let name = mailbox.local.as_str();
    let tag = tag_of(local, name).unwrap_or(name.len());
    alias_of(local, name).is_some() || name[..tag].eq_ignore_ascii_case(POSTMASTER)
}

/// Whether it is the postmaster of a domain here, with a tag or not.
pub fn is_postmaster(site: &Site, mailbox: &Mailbox) -> bool {
    let Some(local) = site.local(&mailbox.host) else { return false };
    let name = mailbox.local.as_str();
    let tag = tag_of(local, name).unwrap_or(name.len());
    name[..tag].eq_ignore_ascii_case(POSTMASTER)
}

/// The name that marks mail that was sent on for `via`, to know it when it comes back: the alias without a
/// tag; for a name that `catch_all` sent on, that name.
pub fn mark(site: &Site, via: &Mailbox) -> Mailbox {
    let local = match &via.host {
        Host::Domain(domain) => site.domain(domain),
        Host::Literal(_) => None,
    };
    let name = via.local.as_str();
    let is_alias = |name| local.and_then(|local| local.aliases?.get(name)).is_some();
    match local.and_then(|local| tag_of(local, name)) {
        Some(at) if !is_alias(name) && is_alias(&name[..at]) => {
            Mailbox { local: LocalPart::of_user(&name[..at]), host: via.host.clone() }
        }
        _ => via.clone(),
    }
}

/// A recipient as other hosts may see it. `Postmaster` without a domain is that of our first domain, and so
/// is a recipient at this host, because elsewhere a name as localhost means another host.
pub fn as_mailbox(site: &Site, path: &ForwardPath) -> Option<Mailbox> {
    match path {
        ForwardPath::Mailbox(mailbox) => Some(site.canonical(mailbox)),
        ForwardPath::Postmaster => site.domains().next().map(|local| Mailbox {
            local: LocalPart::of_user("postmaster"),
            host: Host::Domain(local.config.name.clone()),
        }),
    }
}

/// The search for one address: `open` and `done` belong to one expansion.
struct Router<'a> {
    site: &'a Site,
    disk: &'a dyn Disk,
    /// The steps in words; none where no caller reads them.
    steps: Option<Vec<String>>,
    found: Vec<Delivery>,
    elsewhere: Vec<Mailbox>,
    /// All mailboxes that were found already, here or elsewhere.
    known: HashSet<Mailbox>,
    /// Aliases that are being expanded, by domain and name in lower case; one that comes again is a loop.
    open: Vec<(String, String)>,
    /// Aliases that have been expanded, and whether that led to a mailbox; they are not expanded again.
    done: HashMap<(String, String), bool>,
    /// Aliases of postmasters that led to no mailbox; they are not tried again.
    failed: HashSet<(String, String)>,
    /// Targets of the first alias that lead to no mailbox.
    dead: Vec<String>,
    /// Whether the first alias leads back to itself: then it is refused, even if it also reaches a mailbox.
    looped: bool,
    /// Whether another alias on the way does, or there are too many of them; that alias leads to no
    /// mailbox.
    circled: bool,
}

/// The name that has to exist at each domain (RFC 5321 §4.5.1).
pub const POSTMASTER: &str = "postmaster";

impl<'a> Router<'a> {
    fn new(site: &'a Site, disk: &'a dyn Disk) -> Router<'a> {
        let (steps, found, elsewhere, known, open) = Default::default();
        let (done, failed, dead, looped, circled) = Default::default();
        Router {
            site,
            disk,
            steps,
            found,
            elsewhere,
            known,
            open,
            done,
            failed,
            dead,
            looped,
            circled,
        }
    }

    fn say(&mut self, step: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.steps {
            steps.push(step());
        }
    }

    fn path(&mut self, path: &ForwardPath) -> End {
        let way = match path {
            ForwardPath::Postmaster => match self.site.domains().next() {
                Some(first) => {
                    self.say(|| format!("Postmaster without a domain is {}'s", first.config.name));
                    self.local(first, POSTMASTER, false, true)
                }
                None => Ok(false),
            },
            ForwardPath::Mailbox(mailbox) => match self.domain_of(mailbox) {
                Some(local) => {
                    self.say(|| match (&mailbox.host, &local.config.name) {
                        (Host::Domain(host), name) if host == name => {
                            format!("{host} is delivered here")
                        }
                        (Host::Domain(host), name) if self.site.config.target(host) == name => {
                            format!("{host} is an alias of {name}, which is delivered here")
                        }
                        (host, name) => format!("{host} is this host: it stands for {name}"),
                    });
                    self.local(local, mailbox.local.as_str(), false, true)
                }
                // Mail for it would only come back to us.
                None if self.is_nowhere(&mailbox.host) => {
                    self.say(|| format!("{} is this host, which has no domain", mailbox.host));
                    Ok(false)
                }
                None => {
                    self.say(|| format!("{} is not delivered here", mailbox.host));
                    // Only its own host knows what a local part means (RFC 5321 §2.3.11).
                    return End::Remote(mailbox.host.clone());
                }
            },
        };
        way.map_or_else(End::Trouble, |_| self.end(Some(path)))
    }

    /// The end of the search. `asked`: the address that it was for.
    fn end(&mut self, asked: Option<&ForwardPath>) -> End {
        match (self.looped, self.known.is_empty()) {
            (true, _) => End::Loop,
            (false, true) if self.circled => End::Loop,
            (false, true) => End::Unknown,
            (false, false) if self.is_crowd() => End::Crowd,
            (false, false) => {
                let (found, elsewhere) = (self.found.drain(..), self.elsewhere.drain(..));
                let asked = asked.filter(|_| elsewhere.len() > 0);
                let via = asked.and_then(|path| as_mailbox(self.site, path));
                let onward = |mailbox| Delivery::NextHop { mailbox, via: via.clone() };
                End::Local(found.chain(elsewhere.map(onward)).collect())
            }
        }
    }

    fn domain_of(&self, mailbox: &Mailbox) -> Option<Local<'a>> {
        self.site.local(&mailbox.host)
    }

    /// Whether this is a name of this host while no domain is delivered here. Our host name may be known to
    /// a next hop of ours; localhost and our addresses are not.
    fn is_nowhere(&self, host: &Host) -> bool {
        let is_known = |name: &Domain| {
            *name == self.site.config.hostname
                && matches!(way(&self.site.config, host), Way::Route(_) | Way::Smarthost(_))
        };
        self.site.has_no_domain()
            && self.site.is_this_host(host)
            && !matches!(host, Host::Domain(name) if is_known(name))
    }

    /// Adds one copy for a mailbox, also when it is reached by several ways. Always true, for the callers:
    /// this way leads to a mailbox.
    fn add_mailbox(&mut self, found: Delivery) -> bool {
        if self.known.insert(found.mailbox().clone()) {
            self.found.push(found);
        }
        true
    }

    /// The same for a mailbox elsewhere; past the limit no more are added.
    fn add_elsewhere(&mut self, mailbox: &Mailbox) -> bool {
        if !self.is_crowd() && self.known.insert(mailbox.clone()) {
            self.elsewhere.push(mailbox.clone());
        }
        true
    }

    /// Whether there are more addresses elsewhere than one message may be sent on to.
    fn is_crowd(&self) -> bool {
        self.elsewhere.len() > self.site.config.limit.recipients
    }

    /// Follows a name at a domain of ours; returns whether it leads to a mailbox. `user_only`: aliases do
    /// not count; `catch`: unknown users go to `catch_all`.
    fn local(
        &mut self,
        local: Local<'a>,
        name: &str,
        user_only: bool,
        catch: bool,
    ) -> Result<bool, StoreError> {
        // postmaster with a tag is treated like postmaster.
        let tag = tag_of(local, name).unwrap_or(name.len());
        let is_postmaster = name[..tag].eq_ignore_ascii_case(POSTMASTER);
        let alias = alias_of(local, name).filter(|_| !user_only);
        if let Some(alias) = alias {
            let key = key(local, alias);
            // Where `catch_all` leads back into an alias, the unknown target that led here does not exist.
            if !catch && self.open.contains(&key) {
                self.circled = true;
                return Ok(false);
            }
            // Inside its own expansion an alias of postmaster loops like any other; otherwise postmaster
            // exists even if its alias leads nowhere (RFC 5321 §4.5.1).
            if !is_postmaster || self.open.contains(&key) {
                return self.expand(local, alias);
            }
            let whole = |router: &mut Self| Ok(router.expand(local, alias)? && !router.is_crowd());
            if !self.failed.contains(&key) && self.attempt(whole)? {
                return Ok(true);
            }
            self.failed.insert(key);
            self.say(|| "postmaster is somebody all the same".to_owned());
        }
        if is_postmaster {
            return self.postmaster(local, catch);
        }
        if let Some(found) = self.user_or_tagged(local, name)? {
            return Ok(self.add_mailbox(found));
        }
        self.say(|| format!("{name} is no user of {}", local.config.name));
        match catch {
            true => self.catch_all(local),
            false => Ok(false),
        }
    }

    /// Follows all targets of an alias.
    fn expand(&mut self, local: Local<'a>, alias: &Alias) -> Result<bool, StoreError> {
        let key = key(local, alias);
        // This is recursive, so `ALIAS_DEPTH` below bounds the stack.
        if self.open.contains(&key) {
            self.say(|| format!("alias {} comes again: a loop", alias.name));
            self.looped |= self.open.first() == Some(&key);
            self.circled = true;
            return Ok(false);
        }
        if self.open.len() >= ALIAS_DEPTH {
            self.say(|| format!("alias {} is one too many on the way", alias.name));
            self.circled = true;
            return Ok(false);
        }
        // An alias that is reached by a second way is no loop; its targets are known already.
        if let Some(somebody) = self.done.get(&key) {
            return Ok(*somebody);
        }
        self.say(|| {
            if alias.targets.is_empty() {
                return format!("alias {} is bad, in line {}", alias.name, alias.line);
            }
            let targets = alias.targets.iter().map(|t| t.mailbox.to_string());
            format!("{} is an alias of {}", alias.name, targets.collect::<Vec<_>>().join(", "))
        });
        self.open.push(key.clone());
        let mut somebody = false;
        for target in &alias.targets {
            somebody |= self.target(target)?;
        }
        self.open.pop();
        self.done.insert(key, somebody);
        Ok(somebody)
    }

    fn target(&mut self, target: &AliasTarget) -> Result<bool, StoreError> {
        let mailbox = &target.mailbox;
        let Some(local) = self.domain_of(mailbox) else {
            self.say(|| format!("{mailbox} is elsewhere"));
            return Ok(self.add_elsewhere(mailbox));
        };
        let name = mailbox.local.as_str();
        // An alias that has itself as a target, with a tag or without, means the user of that name.
        let own = alias_of(local, name).map(|alias| key(local, alias));
        let user_only = target.user_only || own.is_some() && own.as_ref() == self.open.last();
        let somebody = self.local(local, name, user_only, true)?;
        // Deeper targets are reported for their own alias.
        if !somebody && self.open.len() == 1 {
            self.dead.push(mailbox.to_string());
        }
        Ok(somebody)
    }

    /// Tries a way, and undoes all of its effects when it leads to no mailbox or in a circle.
    fn attempt(
        &mut self,
        way: impl FnOnce(&mut Self) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let (looped, circled) = (self.looped, self.circled);
        let (found, elsewhere) = (self.found.len(), self.elsewhere.len());
        let (known, done) = (self.known.clone(), self.done.clone());
        let somebody = way(self)?;
        if somebody && self.looped == looped {
            return Ok(true);
        }
        (self.looped, self.circled, self.known, self.done) = (looped, circled, known, done);
        self.found.truncate(found);
        self.elsewhere.truncate(elsewhere);
        Ok(false)
    }

    /// Finds a mailbox for postmaster, which always exists (RFC 5321 §4.5.1): its own, else `catch_all`,
    /// else the first user's, else a Maildir of that name. Its alias was tried before.
    fn postmaster(&mut self, local: Local<'a>, catch: bool) -> Result<bool, StoreError> {
        if let Some(found) = self.user(local, POSTMASTER)? {
            return Ok(self.add_mailbox(found));
        }
        if catch && self.attempt(|router| router.catch_all(local))? {
            return Ok(true);
        }
        let user = match self.first_user(local)? {
            Some(first) => {
                self.say(|| format!("postmaster is the first user, {first}"));
                first
            }
            None => {
                self.say(|| "postmaster gets a mailbox, as the domain has no user".to_owned());
                POSTMASTER.to_owned()
            }
        };
        Ok(self.add_mailbox(delivery(local, &user)))
    }

    fn catch_all(&mut self, local: Local<'a>) -> Result<bool, StoreError> {
        match &local.config.catch_all {
            None => Ok(false),
            Some(CatchAll::Here(name)) => {
                self.say(|| format!("catch_all is {name}"));
                // Without `catch`: an unknown `catch_all` would lead to itself.
                self.local(local, name, false, false)
            }
            Some(CatchAll::Address(target)) => {
                self.say(|| format!("catch_all is {target}"));
                match self.domain_of(target) {
                    Some(other) => self.local(other, target.local.as_str(), false, false),
                    None => Ok(self.add_elsewhere(target)),
                }
            }
        }
    }

    /// The user of that name, or of the part before the tag. A user of the whole name comes first; but
    /// where any name is a user the tag is always cut, because otherwise no name would ever have one.
    fn user_or_tagged(
        &mut self,
        local: Local<'a>,
        name: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        let Some(at) = tag_of(local, name) else { return self.user(local, name) };
        if let Some(listed) = local.users.and_then(|users| users.get(name)) {
            self.say(|| format!("{listed} is in the users file"));
            return Ok(Some(delivery(local, listed)));
        }
        if !local.config.any_user
            && !is_asked(local)
            && let Some(found) = self.user(local, name)?
        {
            return Ok(Some(found));
        }
        self.say(|| format!("{} is the user, {} a tag", &name[..at], &name[at..]));
        let mut found = self.user(local, &name[..at])?;
        if let Some(Delivery::Lmtp(kept)) = &mut found {
            let user = kept.user.local.as_str();
            kept.mailbox.local = LocalPart::of_user(&format!("{user}{}", &name[at..]));
        }
        Ok(found)
    }

    fn user(&mut self, local: Local<'a>, name: &str) -> Result<Option<Delivery>, StoreError> {
        if let Some(listed) = local.users.and_then(|users| users.get(name)) {
            self.say(|| format!("{listed} is in the users file"));
            return Ok(Some(delivery(local, listed)));
        }
        // Ann and ann are the same mailbox; RFC 5321 §2.4 discourages telling them apart.
        let name = name.to_ascii_lowercase();
        if is_asked(local) {
            self.say(|| format!("{name}: the server that keeps the mail says who exists"));
            return Ok(Some(delivery(local, &name)));
        }
        // Checked because a client chose this name, and it becomes part of a path.
        if !is_file_name(&name) {
            self.say(|| format!("{name:?} cannot be a file name, so it is no user"));
            return Ok(None);
        }
        if local.config.any_user {
            self.say(|| format!("{name}: any name is a user of {}", local.config.name));
            return Ok(Some(delivery(local, &name)));
        }
        if local.users.is_some() {
            return Ok(None);
        }
        let maildir = local.maildir(&name);
        let there = maildir::exists(self.disk, &maildir)?;
        if there {
            self.say(|| format!("{name} has a Maildir already"));
        }
        Ok(there.then(|| delivery(local, &name)))
    }

    /// The first user of the users file, else the first existing Maildir by name.
    fn first_user(&mut self, local: Local<'a>) -> Result<Option<String>, StoreError> {
        if let Some(first) = local.users.and_then(|users| users.first()) {
            return Ok(Some(first.to_owned()));
        }
        if local.config.any_user || local.config.lmtp.is_some() {
            return Ok(None);
        }
        local.first_user.get_or_find(|| Ok(existing_users(self.disk, local)?.next()))
    }
}

/// The key of an alias among those of all domains.
fn key(local: Local<'_>, alias: &Alias) -> (String, String) {
    (local.config.name.to_string(), alias.name.to_ascii_lowercase())
}

/// The alias of that name, else of the name before the tag, unless a user has the whole name.
pub fn alias_of<'a>(local: Local<'a>, name: &str) -> Option<&'a Alias> {
    let aliases = local.aliases?;
    if let Some(alias) = aliases.get(name) {
        return Some(alias);
    }
    let at = tag_of(local, name)?;
    let listed = local.users.is_some_and(|users| users.get(name).is_some());
    aliases.get(&name[..at]).filter(|_| !listed)
}

/// Where the tag of a name begins, if it has one.
fn tag_of(local: Local<'_>, name: &str) -> Option<usize> {
    let separator = local.config.subaddress.as_str();
    name.find(separator).filter(|at| *at > 0 && !separator.is_empty())
}

fn delivery(local: Local<'_>, user: &str) -> Delivery {
    let host = Host::Domain(local.config.name.clone());
    let mailbox = Mailbox { local: LocalPart::of_user(user), host };
    match local.config.lmtp.clone() {
        Some(server) => {
            let (user, is_asked) = (mailbox.clone(), is_asked(local));
            Delivery::Lmtp(KeptMailbox { mailbox, user, server, is_asked })
        }
        None => {
            let maildir = local.maildir(user);
            Delivery::Maildir(Destination { mailbox, maildir, folder: None })
        }
    }
}

/// Whether only the server that keeps a domain's mail knows who exists there.
fn is_asked(local: Local<'_>) -> bool {
    local.config.lmtp.is_some() && local.users.is_none() && !local.config.any_user
}

/// Users of a domain that have a Maildir, in order; none where there is no directory yet.
pub fn existing_users<'a>(
    disk: &'a dyn Disk,
    local: Local<'a>,
) -> Result<impl Iterator<Item = String> + 'a, StoreError> {
    // Lazily, so that a caller that wants the first user does not look at all Maildirs.
    let exists = move |name: &String| maildir::exists(disk, &local.maildir(name)).unwrap_or(false);
    Ok(possible_users(disk, local)?.into_iter().filter(exists))
}

/// Names of users by the entries of the directory for Maildirs, in order; whether each is a Maildir is not
/// checked.
pub fn possible_users(disk: &dyn Disk, local: Local<'_>) -> Result<Vec<String>, StoreError> {
    // The path above the segment that holds the name, and what stands before and behind the name in it.
    let template = local.maildir("{user}").to_string_lossy().into_owned();
    let (before, after) = template.split_once("{user}").unwrap_or((&template, ""));
    let (above, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let suffix = after.split('/').next().unwrap_or_default();
    let above = Path::new(if above.is_empty() { "/" } else { above });
    let listed = match disk.list(above) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        listed => listed.doing("list", above)?,
    };
    let names = listed.into_iter().filter_map(|name| name.into_string().ok());
    let user = |name: String| Some(name.strip_prefix(prefix)?.strip_suffix(suffix)?.to_owned());
    // Only names that `Router::user` would find: it looks for lower case.
    let mut users: Vec<String> = names
        .filter_map(user)
        .filter(|name| is_file_name(name) && name.to_ascii_lowercase() == *name)
        .filter(|name| LocalPart::from_plain(name).is_ok())
        .collect();
    users.sort();
    Ok(users)
}
