//! Connections that are turned away: 421, a line in the log, and no waiting.

use crate::event::count::count;
use crate::event::repeats::RepeatedLine::LeaveOut;
use crate::event::repeats::Repeats;
use crate::event::{About, Event, Talk, Turn, tell, tell_talk, warn};
use crate::limits::gates::PROXY_V2_MAX;
use crate::limits::{REPEATS_WHILE, TURNED_AWAY_TOLD};
use crate::net::listener::Service;
use crate::net::registry::Full;
use crate::policy::{self, Facts};
use crate::site::Site;
use crate::smtp::reply::Reply;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

/// Counts them, so that very many do not fill the log.
#[derive(Default)]
pub(super) struct TurnedAway(Repeats);

impl TurnedAway {
    /// Logs how many lines [`TurnedAway::send_off`] left out.
    pub fn tell_left_out(&self) {
        let more = self.0.unsaid(Instant::now());
        if more > 0 {
            warn(&format!("{more} more connections were turned away in {REPEATS_WHILE:?}"));
        }
    }

    /// Says 421 and closes, without ever waiting: this may be the accepting thread. A client that begins with
    /// TLS would not understand the reply, so there it only closes. Of very many connections only the first
    /// of each minute are logged.
    pub fn send_off(&self, stream: &TcpStream, facts: &Facts, site: &Site, full: Full) {
        let (enhanced, why) = match full {
            Full::Sessions => ("4.3.2", "too many sessions, try later"),
            Full::Client => ("4.7.0", "too many sessions from your address, try later"),
        };
        let (session, client, service) = (facts.id.as_str(), facts.client, facts.service);
        let reply =
            Reply::new(421, enhanced, format!("{} {why}", site.config.hostname)).about(session);
        let connected = Event::Connected { session, client, service: &service.to_string() };
        let is_told = self.0.next(Instant::now(), TURNED_AWAY_TOLD) != LeaveOut;
        match is_told {
            true => {
                tell(&connected);
                let command = b"(connect)";
                tell(&Event::Rejected { session, client, user: None, command, reply: &reply });
                let mut talk = Talk::new();
                talk.about = About { session: session.to_owned(), ..About::default() };
                talk.note(Turn::Said, &reply.to_string());
                tell_talk(talk);
            }
            false => count(&connected),
        }
        let mut octets = Vec::new();
        reply.write_to(&mut octets);
        if service != Service::Submissions && stream.set_nonblocking(true).is_ok() {
            let mut stream = stream;
            // Closing with a PROXY header unread would reset the connection, and lose the reply.
            if policy::gates::is_balancer(site, client) {
                let _ = stream.read(&mut [0; PROXY_V2_MAX]);
            }
            let _ = stream.write_all(&octets); // an empty socket buffer takes it whole
        }
        if is_told {
            tell(&Event::Disconnected { session, reason: "refused" });
        }
    }
}
