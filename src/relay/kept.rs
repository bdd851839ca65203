//! Servers that keep the mail of domains here, spoken to by LMTP from a session. A few connections are kept for
//! the next message; a call ends by its deadline, and the caller's thread is the only one that waits.

use super::{CallEnd, Caller, Connection, Hop, Message};
use crate::config::{LmtpServer, Timeout};
use crate::event::{Talk, Turn};
use crate::limits::{LMTP_ASK_WAIT, LMTP_KEEP, LMTP_KEPT, LMTP_REST, LMTP_SLOW};
use crate::mail::envelope::TlsWish;
use crate::net::tls::Protection;
use crate::route::next_hop::{Ourselves, Way, next_hops};
use crate::site::Site;
use crate::smtp::client::{Cause, Fate, OutgoingMessage, Reason, Step};
use crate::store::locked;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Connections that wait for the next message, of all sessions; and servers that did not answer a moment ago.
#[derive(Default)]
pub struct LmtpConnections {
    kept: Mutex<Vec<KeptConnection>>,
    /// Until when each is left alone, so that no crowd of sessions waits for a server that hangs.
    resting: Mutex<Vec<(LmtpServer, Instant)>>,
}

struct KeptConnection {
    server: LmtpServer,
    since: Instant,
    connection: Connection,
}

/// What a server has decided about a message.
pub struct HandedOver {
    /// The server as the log and the journal name it; empty where none was found.
    pub host: String,
    /// For each recipient, in order.
    pub fates: Vec<Fate>,
    /// Whether the server sends the notices that were asked for.
    pub dsn: bool,
    pub tls: Option<Protection>,
}

impl LmtpConnections {
    /// Hands a message over, for all recipients of its envelope in one transaction, if the server takes so many.
    pub fn deliver(
        &self,
        site: &Site,
        server: &LmtpServer,
        (outgoing, message): (&OutgoingMessage, &dyn Message),
        latest: CallEnd,
        talk: &mut Talk,
    ) -> HandedOver {
        let count = outgoing.envelope.recipients.len();
        let mut fates = vec![Fate::NextHost(silent()); count];
        self.call(site, server, latest, talk, |connection| {
            fates = connection.deliver(outgoing, message);
            fates.iter().all(|fate| matches!(fate, Fate::NextHost(_)))
        })
        .map_or_else(
            |(host, fate)| HandedOver { host, fates: vec![fate; count], dsn: false, tls: None },
            |(host, dsn, tls)| HandedOver { host, fates, dsn, tls },
        )
    }

    /// Asks whether the server takes mail for the one recipient of an envelope, and sends none.
    pub fn ask(
        &self,
        site: &Site,
        server: &LmtpServer,
        outgoing: &OutgoingMessage,
    ) -> Result<(), Fate> {
        let (end, mut answer) = (Instant::now() + LMTP_ASK_WAIT, Ok(()));
        let latest = CallEnd { talk: end, last_reply: end };
        let called = self.call(site, server, latest, &mut Talk::default(), |connection| {
            answer = connection.ask(outgoing);
            matches!(answer, Err(Fate::NextHost(_)))
        });
        called.map_err(|(_, fate)| fate)?;
        answer
    }

    /// Calls the server on a kept connection, else on a new one. A kept one on which nothing was decided may have
    /// been closed meanwhile: then once more on a new one. `speak` says whether nothing was decided.
    fn call(
        &self,
        site: &Site,
        server: &LmtpServer,
        latest: CallEnd,
        talk: &mut Talk,
        mut speak: impl FnMut(&mut Connection) -> bool,
    ) -> Result<(String, bool, Option<Protection>), (String, Fate)> {
        let mut kept = self.take(server);
        loop {
            let is_kept = kept.is_some();
            let mut connection = match kept.take() {
                Some(connection) => {
                    talk.note(Turn::Connecting, "on the connection that has carried other mail");
                    connection
                }
                None => self.open(site, server, latest.talk, talk)?,
            };
            connection.limit(Some(latest));
            let is_undecided = speak(&mut connection);
            talk.append(connection.take_talk());
            if is_kept && is_undecided && Instant::now() < latest.talk {
                connection.quit();
                continue;
            }
            let (host, dsn) = (host(connection.hop()), connection.offers().dsn);
            let tls = connection.protection().cloned();
            self.keep(server, connection);
            return Ok((host, dsn, tls));
        }
    }

    /// A new connection. A server that kept us waiting in vain is left alone for a moment.
    fn open(
        &self,
        site: &Site,
        server: &LmtpServer,
        latest: Instant,
        talk: &mut Talk,
    ) -> Result<Connection, (String, Fate)> {
        let began = Instant::now();
        let is_resting = {
            let mut resting = locked(&self.resting);
            resting.retain(|(_, until)| *until > began);
            resting.iter().any(|(other, _)| other == server)
        };
        if is_resting {
            return Err((server.to_string(), Fate::NextHost(silent())));
        }
        let opened = open(site, server, latest, talk);
        let now = Instant::now();
        if opened.is_err() && now - began >= LMTP_SLOW {
            locked(&self.resting).push((server.clone(), now + LMTP_REST));
        }
        opened
    }

    fn take(&self, server: &LmtpServer) -> Option<Connection> {
        let (old, found) = {
            let mut kept = locked(&self.kept);
            let is_old = |one: &mut KeptConnection| one.since.elapsed() >= LMTP_KEEP;
            let old: Vec<KeptConnection> = kept.extract_if(.., is_old).collect();
            let at = kept.iter().rposition(|one| one.server == *server);
            (old, at.map(|at| kept.remove(at).connection))
        };
        // Without the lock, because each says QUIT.
        old.into_iter().for_each(|one| one.connection.quit());
        found
    }

    fn keep(&self, server: &LmtpServer, mut connection: Connection) {
        if connection.is_open() {
            connection.limit(None);
            let (server, since) = (server.clone(), Instant::now());
            let mut kept = locked(&self.kept);
            if kept.len() < LMTP_KEPT {
                return kept.push(KeptConnection { server, since, connection });
            }
        }
        connection.quit();
    }
}

/// Greets a server, and hangs up; the error says why it cannot be spoken to.
pub fn greet_kept(site: &Site, server: &LmtpServer) -> Result<(), String> {
    match open(site, server, Instant::now() + LMTP_ASK_WAIT, &mut Talk::default()) {
        Ok(connection) => {
            connection.quit();
            Ok(())
        }
        Err((_, fate)) => Err(fate.reason().map(Reason::to_string).unwrap_or_default()),
    }
}

/// A new connection to the first address of the server that answers; else the last reason, with the host.
fn open(
    site: &Site,
    server: &LmtpServer,
    latest: Instant,
    talk: &mut Talk,
) -> Result<Connection, (String, Fate)> {
    let mut caller = Caller { connector: site.connector(), ..Caller::new(&site.config) };
    let left = latest.saturating_duration_since(Instant::now());
    bound_opening(&mut caller.timeout, left);
    let (caller, ourselves) = (Arc::new(caller), Ourselves::of(&site.config));
    let refused = |words: String| Fate::NextHost(Reason::new(Step::Connect, Cause::Broke(words)));
    let hops = next_hops(site, &ourselves, &Way::Lmtp(server.clone()), TlsWish::Usual);
    let hops = hops.and_then(|hops| hops.blocked().map_or(Ok(hops), Err));
    let hops = hops.map_err(|obstacle| (server.to_string(), refused(obstacle.words)))?;
    let mut last = (server.to_string(), Fate::NextHost(silent()));
    for hop in hops {
        if Instant::now() >= latest {
            break;
        }
        match Connection::open(&caller, &hop, talk) {
            Ok(connection) => return Ok(connection),
            Err(fate) => last = (host(&hop), fate),
        }
    }
    Err(last)
}

/// Lets a connection be made within a time. What it carries later has its own: it may be kept by then.
fn bound_opening(timeout: &mut Timeout, left: Duration) {
    for time in [&mut timeout.connect, &mut timeout.command] {
        *time = left.min(*time);
    }
}

fn silent() -> Reason {
    Reason::new(Step::Connect, Cause::Silent)
}

/// A host as the log and the journal name it: one word.
pub fn host(hop: &Hop) -> String {
    match hop.address.address() {
        Some(address) => format!("{}[{}]:{}", hop.name, address.ip(), address.port()),
        None => hop.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::limits::LMTP_REPLY_WAIT;
    use crate::mail::address::{ForwardPath, Mailbox, ReversePath};
    use crate::mail::envelope::{Envelope, Recipient, Sender};
    use crate::mail::survey::WireForm;
    use crate::net::stream::{Endpoint, Wire};
    use crate::net::tls::{Protection, Side};
    use crate::route::next_hop::Demand;
    use std::io;

    /// A server that says these one after the other, and until when each was waited for.
    struct Scripted {
        replies: std::vec::IntoIter<&'static str>,
        waits: Arc<Mutex<Vec<Instant>>>,
    }

    impl Wire for Scripted {
        fn read(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
            self.waits.lock().unwrap().push(deadline);
            let Some(reply) = self.replies.next() else { return Ok(0) };
            buffer[..reply.len()].copy_from_slice(reply.as_bytes());
            Ok(reply.len())
        }

        fn write_all(&mut self, _: &[u8], _: Instant) -> io::Result<()> {
            Ok(())
        }

        fn poll_input(&mut self) -> bool {
            false
        }

        fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn finish(&mut self) {}
    }

    /// A connection that was made to ask about a recipient carries the message too.
    #[test]
    fn the_replies_after_a_message_have_longer_than_all_before() {
        let config =
            Config::parse("[relay]\nnetworks = [\"::1\"]", "facteur.toml".as_ref()).unwrap();
        let waits: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let shown = waits.clone();
        let dial = move |_: &Endpoint, _| {
            let replies =
                vec!["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n", "250 x\r\n"];
            let scripted = Scripted { replies: replies.into_iter(), waits: waits.clone() };
            Ok(Box::new(scripted) as Box<dyn Wire>)
        };
        let mut caller = Caller { dial: Box::new(dial), ..Caller::new(&config) };
        bound_opening(&mut caller.timeout, LMTP_ASK_WAIT);
        assert_eq!(
            (caller.timeout.connect, caller.timeout.command),
            (LMTP_ASK_WAIT, LMTP_ASK_WAIT)
        );
        let hop = Hop::offered("kept", Endpoint::LmtpUnix("/kept".into()));
        let hop = Hop { demand: Demand::Nothing, ..hop };
        let mut connection =
            Connection::open(&Arc::new(caller), &hop, &mut Talk::default()).unwrap();
        let latest = Instant::now() + LMTP_ASK_WAIT;
        let last_reply = latest + LMTP_REPLY_WAIT;
        connection.limit(Some(CallEnd { talk: latest, last_reply }));
        let path = Mailbox::parse("ann@kept.test").unwrap();
        let sender = Sender::new(ReversePath::Null);
        let to = Recipient { path: ForwardPath::Mailbox(path), notify: None, orcpt: None };
        let content = WireForm { size: 3, is_eight_bit: false, has_eight_bit_header: false };
        let envelope = Envelope { sender, recipients: vec![to] };
        let outgoing = OutgoingMessage { envelope, content };
        let fates = connection.deliver(&outgoing, &&b"\nx\n"[..]);
        assert!(matches!(fates[..], [Fate::Relayed(_)]), "{fates:?}");
        let waits = shown.lock().unwrap();
        let (last, before) = waits.split_last().unwrap();
        assert!(before.iter().all(|deadline| *deadline <= latest));
        assert_eq!(*last, last_reply);
    }
}
