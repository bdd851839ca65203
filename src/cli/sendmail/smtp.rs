//! `sendmail -bs`: a whole session on standard input and output, with the user of this machine as a client
//! that is trusted. What it takes goes the way of all mail by sendmail.

use super::caller::Caller;
use super::status::{Refusal, Status};
use crate::config::Network;
use crate::conversation::bounds::Bounds;
use crate::conversation::{House, converse};
use crate::delivery::reply_to;
use crate::handoff::{Accepted, Hints, Outcome};
use crate::limits::MEMORY_BODY_MAX;
use crate::login::Login;
use crate::net::listener::Service;
use crate::net::registry::Registry;
use crate::net::stdio::Stdio;
use crate::policy::Visitor;
use crate::store::body::Budget;
use crate::store::queue::Queue;
use crossbeam_channel::{Receiver, bounded};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::thread;

/// Whom the session takes the caller for.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Talks until one side closes.
pub fn run(caller: &Caller) -> Result<(), Refusal> {
    let mut site = caller.site(true)?;
    // Who calls us may send anywhere.
    site.config.relay.networks.push(Network { address: CLIENT, bits: 32 });
    let (delivery, accepted) = bounded(1);
    // Nobody hears them: this is no server whose queue could be started.
    let (hints, _) = Hints::new(1);
    let house = House {
        disk: caller.disk.clone(),
        post: None,
        delivery,
        budget: Budget::new(MEMORY_BODY_MAX),
        spill: caller.scratch(),
        queue: Queue::new(caller.disk.clone(), &caller.config.spool),
        hints,
        login: Login::start()
            .map_err(|error| Refusal::new(Status::System, format!("no thread: {error}")))?,
        bounds: Bounds::default(),
    };
    let (id, service) = (crate::id::session(), Service::Smtp);
    let visitor = Visitor { id, client: CLIENT, service, user: None };
    let ticket = Arc::new(Registry::default()).enter(None, CLIENT, 1, 1);
    let full = |_| Refusal::new(Status::Later, "no session can begin");
    let ticket = ticket.map_err(full)?;
    thread::scope(|scope| {
        let clerk = thread::Builder::new().name("clerk".to_owned());
        let work = || take(caller, &accepted);
        let spawned = clerk.spawn_scoped(scope, work);
        spawned.map_err(|error| Refusal::new(Status::System, format!("no thread: {error}")))?;
        converse(&house, &Arc::new(site), &visitor, &ticket, &mut Stdio);
        drop(house); // ends the clerk
        Ok(())
    })
}

/// Puts what the session has accepted into the queue, or drops it for the server.
fn take(caller: &Caller, accepted: &Receiver<Accepted>) {
    for accepted in accepted {
        let Accepted { mut entry, received, body, copies, claim, outcome, .. } = accepted;
        if !claim.publish() {
            continue;
        }
        entry.recipients.extend(copies.iter().map(|copy| copy.addressee.clone()));
        let outcome_of = |put: Result<String, _>| match put {
            // None is delivered yet: that is the server's to tell.
            Ok(_) => Outcome::Taken {
                late: (0..copies.len()).map(|copy| (copy, "queued".to_owned())).collect(),
            },
            Err(error) => Outcome::Failed(reply_to(&error)),
        };
        let _ = outcome.send(outcome_of(caller.put(entry, &received, b"", &body)));
    }
}
