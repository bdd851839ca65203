//! VRFY and EXPN: what names mean, told to users and trusted clients only (RFC 5321 §3.5, §7.3).
//!
//! Other clients hear 252 and 550 for every name, so that no address can be found out by asking.
//!
//! Never says 250 for a name that was not looked up (RFC 5321 §3.5.3), and changes nothing.

use crate::mail::address::{ForwardPath, Host, LocalPart, Mailbox};
use crate::policy::{Facts, is_known};
use crate::route::{Delivery, End, alias_of, resolve};
use crate::site::Site;
use crate::smtp::command::NameArgument;
use crate::smtp::reply::Reply;
use crate::store::disk::Disk;

/// The mailbox of a name, with or without its domain. `Err` is a refusal.
pub fn verify(
    site: &Site,
    disk: &dyn Disk,
    facts: &Facts,
    name: &NameArgument,
) -> Result<Reply, Reply> {
    if !is_known(site, facts) {
        // RFC 5321 §7.3: the one code that says neither yes nor no.
        return Ok(Reply::new(
            252,
            "2.0.0",
            "send mail and see: addresses are not told to strangers",
        ));
    }
    let candidates = match mailboxes(site, &name.text) {
        Ok(candidates) => candidates,
        Err(syntax) => return Ok(syntax), // a bad name, and no refusal of the client
    };
    let fits = |mailbox: &Mailbox| name.smtputf8 || mailbox.to_string().is_ascii();
    if !candidates.iter().all(fits) {
        return Err(needs_utf8());
    }
    let mut found = Vec::new();
    for mailbox in candidates {
        let path = ForwardPath::Mailbox(mailbox.clone());
        match resolve(site, disk, &path) {
            // Only the server that keeps the mail knows, and it is asked at RCPT.
            End::Local(to) if matches!(&to[..], [Delivery::Lmtp(kept)] if kept.is_asked) => {
                let text = format!("<{mailbox}> is known at RCPT only");
                return Ok(Reply::new(252, "2.0.0", text));
            }
            End::Local(..) => found.push(mailbox),
            // Perhaps valid, but we cannot verify it (RFC 5321 §3.5.3).
            End::Remote(_) => {
                return Ok(Reply::new(252, "2.0.0", format!("<{mailbox}> is not delivered here")));
            }
            End::Trouble(_) => {
                return Err(Reply::new(451, "4.3.0", "cannot look, try later"));
            }
            // An alias that loops reaches nobody, so there is no mailbox to tell.
            End::Unknown | End::Loop | End::Crowd => {}
        }
    }
    match &found[..] {
        [] => Err(Reply::new(550, "5.1.1", "no such user here")),
        [only] => Ok(Reply::new(250, "2.1.5", format!("<{only}>"))),
        [..] => {
            // An ambiguous name is answered with its meanings (RFC 5321 §3.5.1).
            let reply = Reply::new(553, "5.1.4", "ambiguous, it may be");
            Err(found.iter().fold(reply, |reply, mailbox| reply.line(format!("<{mailbox}>"))))
        }
    }
}

/// The targets of an alias as they are written, one to a line (RFC 5321 §3.5.1); an alias among
/// them stays one. `Err` is a refusal.
pub fn expand(site: &Site, facts: &Facts, name: &NameArgument) -> Result<Reply, Reply> {
    if !is_known(site, facts) {
        // We may refuse by the client's address (RFC 5321 §4.1.4).
        return Err(Reply::new(550, "5.7.1", "lists are not told to strangers"));
    }
    let candidates = match mailboxes(site, &name.text) {
        Ok(candidates) => candidates,
        Err(syntax) => return Ok(syntax),
    };
    let aliases = candidates
        .iter()
        .filter_map(|mailbox| alias_of(site.local(&mailbox.host)?, mailbox.local.as_str()));
    let lists: Vec<_> = aliases.filter(|alias| !alias.targets.is_empty()).collect();
    if lists.len() > 1 {
        return Err(Reply::new(553, "5.1.4", "ambiguous: several domains have this list"));
    }
    let members = lists.into_iter().flat_map(|alias| &alias.targets);
    let targets: Vec<String> = members.map(|target| format!("<{}>", target.mailbox)).collect();
    if !name.smtputf8 && !targets.iter().all(|target| target.is_ascii()) {
        return Err(needs_utf8());
    }
    match targets.split_first() {
        None => Err(Reply::new(550, "5.1.1", "no such list here")),
        Some((first, rest)) => {
            let reply = Reply::new(250, "2.1.5", first);
            Ok(rest.iter().fold(reply, |reply, target| reply.line(target)))
        }
    }
}

/// The mailboxes that a name may mean: itself as an address, or a user of that name at any domain here (RFC
/// 5321 §3.5.1 asks for both). `Err` is a reply about the syntax.
fn mailboxes(site: &Site, name: &str) -> Result<Vec<Mailbox>, Reply> {
    if let Ok(mailbox) = Mailbox::parse(name) {
        return Ok(vec![mailbox]);
    }
    // A local part alone may be quoted, as in an address, or written plainly.
    let local = match Mailbox::parse(&format!("{name}@a")) {
        Ok(mailbox) => Ok(mailbox.local),
        Err(why) if name.contains('@') => Err(why),
        Err(_) => LocalPart::from_plain(name),
    };
    let local = local.map_err(|why| Reply::new(501, "5.1.3", format!("bad name: {why}")))?;
    let at = |domain| Mailbox { local: local.clone(), host: Host::Domain(domain) };
    Ok(site.domains().map(|domain| at(domain.config.name.clone())).collect())
}

/// RFC 6531 §3.7.4.2: the reply would hold UTF-8, and the client did not say that it may.
fn needs_utf8() -> Reply {
    Reply::new(550, "5.6.8", "the answer holds UTF-8; ask with SMTPUTF8")
}
