//! What `listen.metrics` answers: `/metrics` for Prometheus (text format 0.0.4), and `/`, a page for people:
//! who is connected, what waits and why, the last deliveries and refusals, and the same numbers.
//!
//! Read only, and never in the way of mail: few connections at once, each with its own thread and its
//! bounds ([`crate::net::http`]); what waits in the queue is asked of the scheduler once a second at most.

mod page;
mod text;
mod waiting;

use crate::event::count::{
    BATCH, CALLS, COMMANDS, Counters, LOOKUPS, MESSAGES, OTHERS, RECIPIENTS, RELAYED, REPLIES,
    SESSIONS, SYNC, Shape,
};
use crate::event::{Event, present, recent, tell};
use crate::handoff::{Census, Hints};
use crate::limits::{CENSUS_KEEP, HTTP_CONNECTIONS};
use crate::net::http::{self, Page};
use crate::net::registry::Registry;
use crate::site::Current;
use crate::store::locked;
use crate::store::queue::Queue;
use page::View;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Instant, SystemTime};

/// Who answers; shared by all its listeners.
pub struct Metrics {
    current: Arc<Current>,
    registry: Arc<Registry>,
    hints: Hints,
    queue: Queue,
    started: SystemTime,
    /// Connections at this moment.
    open: AtomicUsize,
    /// What the scheduler said last, and when it was asked.
    census: Mutex<Option<(Instant, Option<Census>)>>,
}

/// Numbers of one kind: a name, words for people, and a value for each label.
struct Family {
    name: &'static str,
    help: &'static str,
    values: Values,
}

enum Values {
    Counter(Vec<Sample>),
    Gauge(Vec<Sample>),
    Histogram(Shape),
}

struct Sample {
    /// Its name and its value.
    label: Option<(&'static str, String)>,
    value: f64,
}

impl Metrics {
    /// Nothing is answered before [`Metrics::admit`].
    pub fn new(
        current: Arc<Current>,
        registry: Arc<Registry>,
        hints: Hints,
        queue: Queue,
    ) -> Metrics {
        let (open, census) = (AtomicUsize::new(0), Mutex::new(None));
        let started = SystemTime::now();
        Metrics { current, registry, hints, queue, started, open, census }
    }

    /// Somebody may ask from now on.
    pub fn open(&self) {
        recent::start();
    }

    /// Answers a connection in a thread of its own, or turns it away; never waits.
    pub fn admit(self: &Arc<Metrics>, stream: TcpStream) {
        let place = Place(self.clone());
        if self.open.fetch_add(1, Ordering::Relaxed) >= HTTP_CONNECTIONS {
            return http::turn_away(stream);
        }
        let builder = thread::Builder::new().name("metrics".to_owned());
        let serve = move || {
            let site = place.0.current.get();
            // Who is gone or too slow has no log of its own: nothing came of it.
            let _ = http::answer(stream, site.config.hostname.as_str(), |path| place.0.page(path));
        };
        if let Err(error) = builder.spawn(serve) {
            tell(&Event::Warning { what: &format!("no thread for listen.metrics: {error}") });
        }
    }

    fn page(&self, path: &str) -> Option<Page> {
        let (kind, body) = match path {
            "/metrics" => ("text/plain; version=0.0.4; charset=utf-8", text::write(&self.all())),
            "/" => {
                let site = self.current.get();
                let view = View {
                    hostname: site.config.hostname.as_str(),
                    sessions: present::all(),
                    waiting: waiting::rows(&site, &self.queue),
                    last: recent::last(),
                    numbers: self.all(),
                };
                ("text/html; charset=utf-8", page::write(&view))
            }
            "/style.css" => ("text/css; charset=utf-8", page::STYLE.to_owned()),
            _ => return None,
        };
        Some(Page { kind, body })
    }

    /// The lock is held while the scheduler is waited for: others who ask then want the same.
    fn census(&self) -> Option<Census> {
        let mut known = locked(&self.census);
        match &*known {
            Some((when, census)) if when.elapsed() < CENSUS_KEEP => census.clone(),
            _ => {
                let census = self.hints.ask_census();
                *known = Some((Instant::now(), census.clone()));
                census
            }
        }
    }

    fn all(&self) -> Vec<Family> {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let version = one("version", env!("CARGO_PKG_VERSION").to_owned(), 1.0);
        let sessions = self.registry.count() as f64;
        let mut all = vec![
            gauge("facteur_build_info", "The version that runs.", vec![version]),
            gauge(
                "facteur_start_time_seconds",
                "When the server started, since the epoch.",
                vec![plain(started.as_secs_f64())],
            ),
            gauge("facteur_sessions_open", "Sessions at this moment.", vec![plain(sessions)]),
        ];
        all.extend(self.census().map(queue).into_iter().flatten());
        all.extend(counters());
        all
    }
}

/// A connection that counts until this is dropped.
struct Place(Arc<Metrics>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn queue(census: Census) -> Vec<Family> {
    let Census { messages, due, deferred, held, sending, unread, oldest } = census;
    let states = [
        ("due", due),
        ("deferred", deferred),
        ("held", held),
        ("sending", sending),
        ("unread", unread),
    ];
    let states = states.map(|(state, count)| one("state", state.to_owned(), count as f64)).into();
    let age = oldest.and_then(|when| SystemTime::now().duration_since(when).ok());
    let age = age.unwrap_or_default().as_secs_f64();
    vec![
        gauge("facteur_queue_messages", "Messages in the queue.", vec![plain(messages as f64)]),
        gauge(
            "facteur_queue",
            "What waits, a message once for each place it goes to. held: its next hop cannot be \
             reached and is left alone.",
            states,
        ),
        gauge("facteur_queue_oldest_seconds", "Age of the oldest message.", vec![plain(age)]),
    ]
}

fn counters() -> Vec<Family> {
    let other = |name| vec![plain(OTHERS.get(name) as f64)];
    vec![
        counter("facteur_sessions_total", "Connections for mail.", each("service", &SESSIONS)),
        counter("facteur_commands_total", "Commands that came.", each("verb", &COMMANDS)),
        counter("facteur_replies_total", "Replies to clients.", each("code", &REPLIES)),
        counter(
            "facteur_messages_total",
            "Whole messages, by what was said to them.",
            each("outcome", &MESSAGES),
        ),
        counter(
            "facteur_recipients_total",
            "What became of recipients. delivered: here; relayed: by a next hop; deferred: once for \
             each attempt; failed: a copy could not be written.",
            each("outcome", &RECIPIENTS),
        ),
        counter(
            "facteur_relayed_total",
            "Recipients relayed, by TLS or not.",
            each("tls", &RELAYED),
        ),
        counter(
            "facteur_relay_connections_total",
            "Connections to next hops. in_the_clear: made anew, as TLS there is broken.",
            each("outcome", &CALLS),
        ),
        counter("facteur_dns_lookups_total", "Questions to DNS.", each("outcome", &LOOKUPS)),
        counter("facteur_maildirs_made_total", "Maildirs that were made.", other("maildirs")),
        counter(
            "facteur_trace_lost_total",
            "Records that are missing in the trace, as it was too slow or its disk failed.",
            other("lost"),
        ),
        counter("facteur_warnings_total", "Warnings in the log.", other("warnings")),
        Family {
            name: "facteur_batch_messages",
            help: "Messages that were made durable together.",
            values: Values::Histogram(BATCH.shape()),
        },
        Family {
            name: "facteur_batch_seconds",
            help: "How long it took to write such a batch and make it durable.",
            values: Values::Histogram(SYNC.shape()),
        },
    ]
}

fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, values: Values::Counter(samples) }
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Family {
    Family { name, help, values: Values::Gauge(samples) }
}

fn each<const N: usize>(label: &'static str, counters: &Counters<N>) -> Vec<Sample> {
    let counts = counters.each().into_iter();
    counts.map(|(name, count)| one(label, name.to_owned(), count as f64)).collect()
}

fn one(label: &'static str, is: String, value: f64) -> Sample {
    Sample { label: Some((label, is)), value }
}

fn plain(value: f64) -> Sample {
    Sample { label: None, value }
}
