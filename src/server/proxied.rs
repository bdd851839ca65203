//! A connection of a balancer (`listen.proxy`): before anything else its header says for which client it is, and
//! from there on that one is counted and shown.
//!
//! Runs in the session's thread, so no other connection waits for a header.

use super::standing;
use super::turned_away::TurnedAway;
use crate::event::{Event, tell};
use crate::net::proxy::{ProxiedClient, receive};
use crate::net::registry::Ticket;
use crate::net::stream::TcpWire;
use crate::policy::Facts;
use crate::site::Site;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;

/// What decides whether the client that is named may have a session.
pub(super) struct Proxied {
    /// Sessions that there may be at once.
    pub sessions: usize,
    pub turned_away: Arc<TurnedAway>,
}

/// Why no session begins.
pub(super) enum NoClient {
    /// The header is missing or broken, or the connection is over; in words.
    Unknown(String),
    /// The client has as many sessions as it may have, or all places are taken; it was told.
    TurnedAway,
}

impl Proxied {
    /// Reads the header and moves the place of the session to the client it names.
    pub fn name_client(
        &self,
        facts: &mut Facts,
        ticket: &mut Ticket,
        site: &Site,
        stream: &TcpStream,
        wire: &mut TcpWire,
    ) -> Result<(), NoClient> {
        // Nothing is under way, so a stop need not wait for it.
        ticket.set_idle(true);
        let received = match ticket.is_stopping() {
            true => Err(ErrorKind::UnexpectedEof.into()),
            false => receive(wire),
        };
        ticket.set_idle(false);
        match received {
            Ok(ProxiedClient::Own) => {}
            Ok(ProxiedClient::Other(client)) => {
                facts.client = client.ip();
                if let Some(ends) = &mut facts.ends {
                    ends.client_port = client.port();
                }
            }
            Err(error) => {
                let (session, client) = (facts.id.as_str(), facts.client);
                tell(&Event::Connected { session, client, service: &facts.service.to_string() });
                return Err(NoClient::Unknown(match ticket.is_stopping() {
                    true => "shutdown".to_owned(),
                    false => error.to_string(),
                }));
            }
        }
        let standing = standing(site, facts.client, facts.service);
        let per_client = site.config.limit.sessions_per_client;
        ticket.name(facts.client, standing, self.sessions, per_client).map_err(|full| {
            self.turned_away.send_off(stream, facts, site, full);
            NoClient::TurnedAway
        })
    }
}
