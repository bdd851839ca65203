//! All numbers, by family, for [`super::text`] (Prometheus) and for the page for people.

use crate::event::count::{
    BATCH, CALLS, COMMANDS, Counters, FILTER_TIME, FILTERED, JUDGED, LISTS, LOGINS, LOOKUPS,
    MESSAGES, OTHERS, RECIPIENTS, RELAY_TLS, RELAYED, REPLIES, SESSIONS, SYNC, Shape, TLS_REPORTS,
    VERDICTS,
};
use crate::handoff::Census;
use crate::mail::address::Domain;
use crate::store::disk::DiskSpace;
use crate::store::order::{self, Commits};
use std::path::PathBuf;
use std::time::SystemTime;

/// Numbers of one kind: a name, words for people, and a value for each label.
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub values: Values,
}

pub(super) enum Values {
    Counter(Vec<Sample>),
    Gauge(Vec<Sample>),
    Histogram(Shape),
}

pub(super) struct Sample {
    /// The names and the values of the labels; none where there is one number.
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

impl Family {
    fn has_samples(&self) -> bool {
        match &self.values {
            Values::Counter(samples) | Values::Gauge(samples) => !samples.is_empty(),
            Values::Histogram(_) => true,
        }
    }

    /// The number with this value of its label, or the one without a label where that is empty; 0 for none.
    pub fn sample(&self, is: &str) -> f64 {
        let (Values::Counter(samples) | Values::Gauge(samples)) = &self.values else { return 0.0 };
        let label = |sample: &Sample| sample.labels.first().map_or("", |(_, is)| is) == is;
        samples.iter().find(|sample| label(sample)).map_or(0.0, |sample| sample.value)
    }
}

/// What is no counter: how things are at this moment.
pub(super) struct MetricsMoment {
    /// When the server started.
    pub started: SystemTime,
    pub sessions: usize,
    /// None where the scheduler did not answer.
    pub census: Option<Census>,
    /// Keys of each domain that signs, which DNS should show and does not.
    pub unpublished: Vec<(Domain, usize)>,
    /// When the certificate ends; none without one.
    pub certificate: Option<SystemTime>,
    /// Directories where mail lies; none where the room there cannot be found out.
    pub disks: Vec<(PathBuf, Option<DiskSpace>)>,
    /// Filters, and whether each has failed and not answered since.
    pub silent: Vec<(String, bool)>,
}

/// All families.
pub(super) fn all(moment: MetricsMoment) -> Vec<Family> {
    let MetricsMoment { started, sessions, census, unpublished, certificate, disks, silent } =
        moment;
    let version = one("version", env!("CARGO_PKG_VERSION").to_owned(), 1.0);
    let mut all = vec![
        gauge("facteur_build_info", "The version that runs.", vec![version]),
        gauge(
            "facteur_start_time_seconds",
            "When the server started, since the epoch.",
            vec![since_epoch(started)],
        ),
        gauge("facteur_sessions_open", "Sessions at this moment.", vec![plain(sessions as f64)]),
    ];
    all.extend(census.map(queue).into_iter().flatten());
    if !unpublished.is_empty() {
        let of = |(domain, keys): (Domain, usize)| one("domain", domain.to_string(), keys as f64);
        all.push(gauge(
            "facteur_dkim_unpublished",
            "DKIM keys that DNS should show and does not.",
            unpublished.into_iter().map(of).collect(),
        ));
    }
    if let Some(until) = certificate {
        all.push(gauge(
            "facteur_certificate_expiry_timestamp_seconds",
            "When the certificate ends, since the epoch; of a chain what ends first.",
            vec![since_epoch(until)],
        ));
    }
    all.extend(room(&disks));
    if !silent.is_empty() {
        let of = |(name, is): (String, bool)| one("filter", name, f64::from(u8::from(is)));
        all.push(gauge(
            "facteur_filter_resting",
            "1 for a filter that has failed twice and has not answered since; it is left alone for 30 s each time.",
            silent.into_iter().map(of).collect(),
        ));
    }
    all.push(gauge(
        "facteur_disk_commits",
        "Commits of a journal that make a batch of mail durable.",
        order::all().iter().map(commits).collect(),
    ));
    all.extend(counters());
    all
}

/// The room for mail. What a file system does not count has no number.
fn room(disks: &[(PathBuf, Option<DiskSpace>)]) -> Vec<Family> {
    let family = |name, help, number: fn(&DiskSpace) -> (u64, u64)| {
        let samples = disks.iter().filter_map(|(dir, space)| {
            let (number, all) = number(space.as_ref()?);
            (all > 0).then(|| one("directory", dir.display().to_string(), number as f64))
        });
        gauge(name, help, samples.collect())
    };
    let families = [
        family("facteur_disk_free_bytes", "Octets that are free for mail there.", |space| {
            (space.free, space.all)
        }),
        family("facteur_disk_size_bytes", "Octets of that file system.", |space| {
            (space.all, space.all)
        }),
        family("facteur_disk_free_inodes", "Files that can still be made there.", |space| {
            (space.free_inodes, space.all_inodes)
        }),
        family("facteur_disk_inodes", "Files that there can be on that file system.", |space| {
            (space.all_inodes, space.all_inodes)
        }),
    ];
    families.into_iter().filter(Family::has_samples).collect()
}

fn commits((path, commits): &(PathBuf, Commits)) -> Sample {
    let count = if *commits == Commits::One { 1.0 } else { 2.0 };
    one("directory", path.display().to_string(), count)
}

fn queue(census: Census) -> Vec<Family> {
    let Census { messages, due, deferred, held, quarantined, sending, unread, oldest, next } =
        census;
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
    let mut all = vec![
        gauge("facteur_queue_messages", "Messages in the queue.", vec![plain(messages as f64)]),
        gauge(
            "facteur_queue",
            "What waits, a message once for each place it goes to. held: its next hop cannot be \
             reached and is left alone.",
            states,
        ),
        gauge(
            "facteur_held_messages",
            "Messages that filters hold: they wait for a person (facteur queue retry, or remove).",
            vec![plain(quarantined as f64)],
        ),
        gauge("facteur_queue_oldest_seconds", "Age of the oldest message.", vec![plain(age)]),
    ];
    all.extend(next.map(|next| {
        gauge(
            "facteur_queue_next_attempt_timestamp_seconds",
            "When the next attempt is due, since the epoch; in the past where it waits for others.",
            vec![plain(next.as_second() as f64)],
        )
    }));
    all
}

fn counters() -> Vec<Family> {
    let other = |name| vec![plain(OTHERS.get(name) as f64)];
    vec![
        counter("facteur_sessions_total", "Connections for mail.", each("service", &SESSIONS)),
        counter("facteur_commands_total", "Commands that came.", each("verb", &COMMANDS)),
        counter("facteur_replies_total", "Replies to clients.", replies()),
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
        counter(
            "facteur_relay_tls_total",
            "How TLS with next hops ended, by what they were held to (RFC 8460, 4.3).",
            each_of(["demand", "outcome"], &RELAY_TLS),
        ),
        counter(
            "facteur_logins_total",
            "Logins. failed: the name or the password was wrong, or there was no time to find out.",
            each("outcome", &LOGINS),
        ),
        counter("facteur_dns_lookups_total", "Questions to DNS.", each("outcome", &LOOKUPS)),
        counter(
            "facteur_judged_total",
            "What was found out about who sent strangers' messages, by who says so (RFC 8601).",
            each_of(["method", "result"], &JUDGED),
        ),
        counter(
            "facteur_verdicts_total",
            "What became of strangers' messages for that.",
            each("verdict", &VERDICTS),
        ),
        counter(
            "facteur_blocklisted_total",
            "Sessions of strangers whose client a list had.",
            other("blocklisted"),
        ),
        counter(
            "facteur_blocklist_silences_total",
            "Questions that a list did not answer in time; such a client passes.",
            other("list_silences"),
        ),
        counter(
            "facteur_greylisted_total",
            "Senders that are new and have to come back, once a session.",
            other("greylisted"),
        ),
        gauge(
            "facteur_blocklists",
            "Lists of clients. off: its test points are wrong, or DNS has not shown them yet.",
            each("state", &LISTS),
        ),
        counter(
            "facteur_filtered_total",
            "What filters did with messages; undone: it asked for what it may not do.",
            filtered(),
        ),
        Family {
            name: "facteur_filter_seconds",
            help: "How long an answer of a filter took.",
            values: Values::Histogram(FILTER_TIME.shape()),
        },
        counter(
            "facteur_tls_reports_total",
            "Reports on TLS that went to other domains (RFC 8460). failed: they are tried again.",
            each("way", &TLS_REPORTS),
        ),
        counter("facteur_maildirs_made_total", "Maildirs that were made.", other("maildirs")),
        counter(
            "facteur_trace_lost_total",
            "Records that are missing in the trace, as it was too slow or its disk failed.",
            other("lost"),
        ),
        counter(
            "facteur_log_lost_total",
            "Lines of the log that nobody read in time, or that could not be written.",
            other("log_lost"),
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

/// Counters of each of some kinds, under the labels of the kind and of what is counted.
fn each_of<const N: usize>(
    [kind, counted]: [&'static str; 2],
    all: &[(&str, Counters<N>)],
) -> Vec<Sample> {
    let each = all.iter().flat_map(|(is, counters)| {
        let counts = counters.each().into_iter();
        counts.map(|(name, count)| Sample {
            labels: vec![(kind, (*is).to_owned()), (counted, name.to_owned())],
            value: count as f64,
        })
    });
    each.collect()
}

fn filtered() -> Vec<Sample> {
    let each = FILTERED.each().into_iter().flat_map(|(filter, actions)| {
        actions.into_iter().map(move |(action, count)| Sample {
            labels: vec![("filter", filter.clone()), ("action", action.to_owned())],
            value: count as f64,
        })
    });
    each.collect()
}

fn replies() -> Vec<Sample> {
    let codes = REPLIES.each().into_iter();
    codes.map(|(code, count)| one("code", code.to_string(), count as f64)).collect()
}

fn one(label: &'static str, is: String, value: f64) -> Sample {
    Sample { labels: vec![(label, is)], value }
}

/// A moment, for people who reckon in seconds since the epoch.
fn since_epoch(when: SystemTime) -> Sample {
    plain(when.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

fn plain(value: f64) -> Sample {
    Sample { labels: Vec::new(), value }
}
