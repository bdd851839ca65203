//! `sendmail -bs`: a whole session on standard input and output, with the user of this machine as a trusted
//! client. Its mail goes the same way as other mail by sendmail.

use super::caller::Submitter;
use super::status::{ExitStatus, NotSent};
use crate::config::Network;
use crate::conversation::bounds::Bounds;
use crate::conversation::{Shared, converse};
use crate::delivery::reply_to;
use crate::handoff::{Accepted, Hints, Outcome};
use crate::limits::{MEMORY_BODY_MAX, SUBMITTED_HEADER_MAX};
use crate::login::Login;
use crate::mail::address::{Mailbox, ReversePath};
use crate::mail::edits::Edits;
use crate::mail::repair::{HeaderTooLong, SubmittedHeader};
use crate::net::listener::Service;
use crate::net::registry::{Registry, Standing};
use crate::net::stdio::Stdio;
use crate::policy::Facts;
use crate::smtp::reply::Reply;
use crate::store::body::{Body, Budget};
use crate::store::entry::Entry;
use crate::store::queue::Queue;
use crossbeam_channel::{Receiver, bounded};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

/// The address of the client in the session.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Talks until one side closes.
pub fn run(caller: &Submitter) -> Result<(), NotSent> {
    // Filters are asked by the server, as about all mail by sendmail.
    let mut site = caller.site(true)?.without_filters();
    let own = caller.author.address(&site, &*caller.disk);
    let own = own.map_err(|why| NotSent::new(ExitStatus::System, why))?;
    // The caller may send anywhere.
    site.config.relay.networks.push(Network { address: CLIENT, bits: 32 });
    let (delivery, accepted) = bounded(1);
    // Without a reader: this is no server.
    let (hints, _) = Hints::new(1);
    let shared = Shared {
        disk: caller.disk.clone(),
        writer: None,
        delivery,
        budget: Budget::new(MEMORY_BODY_MAX),
        spill: caller.scratch(),
        queue: Queue::new(caller.disk.clone(), &caller.config.spool),
        hints,
        login: Login::start()
            .map_err(|error| NotSent::new(ExitStatus::System, format!("no thread: {error}")))?,
        current: None,
        bounds: Bounds::default(),
        gates: Default::default(),
    };
    let (id, service) = (crate::id::session(), Service::Smtp);
    let facts = Facts::new(id, CLIENT, service);
    let ticket = Arc::new(Registry::default()).enter(None, CLIENT, Standing::Known, 1, 1);
    let full = |_| NotSent::new(ExitStatus::Later, "no session can begin");
    let ticket = ticket.map_err(full)?;
    thread::scope(|scope| {
        let accepted_mail = thread::Builder::new().name("accepted_mail".to_owned());
        let work = || put_accepted(caller, &own, &accepted);
        let spawned = accepted_mail.spawn_scoped(scope, work);
        spawned.map_err(|error| NotSent::new(ExitStatus::System, format!("no thread: {error}")))?;
        converse(&shared, &Arc::new(site), &facts, &ticket, &mut Stdio);
        drop(shared); // ends that thread
        Ok(())
    })
}

/// Puts what the session has accepted into the queue, or drops it for the server.
fn put_accepted(caller: &Submitter, own: &Mailbox, accepted: &Receiver<Accepted>) {
    for accepted in accepted {
        let Accepted { mut entry, queued_as, body, copies, claim, outcome, .. } = accepted;
        if !claim.publish() {
            continue;
        }
        // The header is changed below.
        entry.wire = None;
        entry.recipients.extend(copies.iter().map(|copy| copy.addressee.clone()));
        let put = put(caller, own, entry, queued_as.top(), &body);
        let _ = outcome.send(match put {
            // No copy is delivered yet: the server does that.
            Ok(()) => Outcome::Taken {
                late: (0..copies.len()).map(|copy| (copy, "queued".to_owned())).collect(),
            },
            Err(reply) => Outcome::Failed(reply),
        });
    }
}

/// Puts a message with its header completed, like all mail by sendmail.
fn put(
    caller: &Submitter,
    own: &Mailbox,
    entry: Entry,
    received: &[u8],
    body: &Body,
) -> Result<(), Reply> {
    // One octet more than a header may have, to see that it is too long.
    let head = body.head(SUBMITTED_HEADER_MAX + 1).map_err(|error| reply_to(&error))?;
    let is_whole = head.len() as u64 == body.size();
    let long = |text: String| Reply::new(552, "5.3.4", text);
    let header = SubmittedHeader::read(&head, is_whole).map_err(|error| long(error.to_string()))?;
    let header = header.ok_or_else(|| long(HeaderTooLong.to_string()))?;
    let from = match &entry.sender.from {
        ReversePath::Mailbox(mailbox) => Some(mailbox),
        ReversePath::Null => None,
    };
    let name = Some(caller.author.name.as_str());
    let completed = caller.completed(&header, (own, from), name, &entry.id);
    // Without an empty line behind our field, which kept a folded first line out of it: the completed
    // header begins with a field.
    let received = format!("{}\n", String::from_utf8_lossy(received).trim_end());
    let edits = Edits::default().replaced(0..header.body_at() as u64, completed);
    caller.put(entry, &received, edits, body).map(drop).map_err(|error| reply_to(&error))
}
