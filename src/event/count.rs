//! Counters: numbers that only grow from the start of this process.
//!
//! [`super::tell`] counts events; what has no event is counted where it happens. Counting is one relaxed
//! addition, so it costs nothing and never waits. Names are fixed: a name from a peer could make any number
//! of counters.

use super::Event;
use crate::limits::FILTERS_COUNTED;
use crate::smtp::tls_failure::TlsFailure;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Counters of one thing, by name; any other name counts as the last one.
pub struct Counters<const N: usize> {
    names: [&'static str; N],
    counts: [AtomicU64; N],
}

/// Counters of what filters did, by the names that the configuration gives them; past
/// [`FILTERS_COUNTED`] names, which only many reloads can bring, a new one is not counted.
pub struct FilterCounters(Mutex<BTreeMap<String, Counters<8>>>);

/// Counters of replies, one for each code that SMTP can have (RFC 5321 §4.2: 200 to 599).
pub struct Codes([AtomicU64; CODES]);

const FIRST_CODE: u16 = 200;
const CODES: usize = 400;

/// How often a number was in each range of a fixed list.
pub struct Histogram<const N: usize> {
    /// The largest number of each range; the last range has no end.
    bounds: [u64; N],
    /// How many of the counted numbers make one of the unit that is shown.
    unit: f64,
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum: AtomicU64,
}

/// The state of a histogram at one moment.
pub struct Shape {
    /// Upper bounds, each with how many numbers were not above it; both grow.
    pub ranges: Vec<(f64, u64)>,
    /// How many numbers were counted.
    pub count: u64,
    pub sum: f64,
}

/// Connections for mail, by service, including refused ones.
pub static SESSIONS: Counters<4> = Counters::new(["smtp", "submission", "submissions", "other"]);

/// Commands, by verb.
pub static COMMANDS: Counters<16> = Counters::new([
    "EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "STARTTLS", "AUTH", "RSET", "NOOP", "QUIT",
    "VRFY", "EXPN", "ETRN", "HELP", "other",
]);

/// Replies, by code.
pub static REPLIES: Codes = Codes([const { AtomicU64::new(0) }; CODES]);

/// Whole messages, by our reply.
pub static MESSAGES: Counters<2> = Counters::new(["accepted", "refused"]);

/// Recipients, by outcome; one that waits counts as deferred once for each attempt.
pub static RECIPIENTS: Counters<6> =
    Counters::new(["delivered", "relayed", "deferred", "bounced", "expired", "failed"]);

/// Recipients that a next hop has accepted, by whether TLS was used.
pub static RELAYED: Counters<2> = Counters::new(["yes", "no"]);

/// How TLS with next hops ended, by what they were held to: as it was demanded ([`TLS_WORKED`]), or the name of
/// the failure ([`TlsFailure::name`]).
pub static RELAY_TLS: [(&str, Counters<11>); 6] = [
    ("offered", tls_outcomes()),
    ("dane", tls_outcomes()),
    ("mta-sts", tls_outcomes()),
    ("mta-sts-testing", tls_outcomes()),
    ("requiretls", tls_outcomes()),
    ("login", tls_outcomes()),
];

/// The outcome of TLS that worked.
pub const TLS_WORKED: &str = "success";

const fn tls_outcomes() -> Counters<11> {
    let mut names = [TLS_WORKED; 11];
    let mut at = 0;
    while at < TlsFailure::ALL.len() {
        names[at + 1] = TlsFailure::ALL[at].name();
        at += 1;
    }
    Counters::new(names)
}

/// Connections to next hops.
pub static CALLS: Counters<3> = Counters::new(["made", "in_the_clear", "failed"]);

/// Questions to DNS, by outcome.
pub static LOOKUPS: Counters<6> =
    Counters::new(["found", "none", "timeout", "servfail", "refused", "broken"]);

/// Messages in each batch of the delivery thread.
pub static BATCH: Histogram<7> = Histogram::new([1, 2, 5, 10, 25, 50, 100], 1.0);

/// How long a batch took to become durable, in microseconds.
pub static SYNC: Histogram<10> = Histogram::new(
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000],
    1e6,
);

/// The words of one voice about strangers' messages (RFC 8601 §2.7).
type Words = Counters<8>;

/// What was found out about strangers' messages, by who says so.
pub static JUDGED: [(&str, Words); 4] =
    [("spf", words()), ("dkim", words()), ("arc", words()), ("dmarc", words())];

const fn words() -> Words {
    Counters::new([
        "pass",
        "fail",
        "softfail",
        "neutral",
        "policy",
        "temperror",
        "permerror",
        "none",
    ])
}

/// What became of strangers' messages for that.
pub static VERDICTS: Counters<4> = Counters::new(["accept", "junk", "reject", "defer"]);

/// Reports on TLS, by the way they went, or whether an attempt failed.
pub static TLS_REPORTS: Counters<3> = Counters::new(["mail", "https", "failed"]);

/// Lists of clients at this moment, by whether they work.
pub static LISTS: Counters<2> = Counters::new(["on", "off"]);

/// Single counters: Maildirs that were made, records the trace has lost, lines the log has lost, clients that a
/// list had, questions that no list answered, senders that have to come back, warnings.
pub static OTHERS: Counters<7> = Counters::new([
    "maildirs",
    "lost",
    "log_lost",
    "blocklisted",
    "list_silences",
    "greylisted",
    "warnings",
]);

/// Logins, by outcome; failed: the name or the password was wrong, or there was no time to find out.
pub static LOGINS: Counters<2> = Counters::new(["accepted", "failed"]);

/// What filters did.
pub static FILTERED: FilterCounters = FilterCounters(Mutex::new(BTreeMap::new()));

/// How long a filter took for an answer, in microseconds.
pub static FILTER_TIME: Histogram<10> = Histogram::new(
    [500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000, 30_000_000],
    1e6,
);

impl<const N: usize> Counters<N> {
    const fn new(names: [&'static str; N]) -> Counters<N> {
        Counters { names, counts: [const { AtomicU64::new(0) }; N] }
    }

    /// Adds one.
    pub fn add(&self, name: &str) {
        self.add_some(name, 1);
    }

    /// Adds this many.
    pub fn add_some(&self, name: &str, count: u64) {
        let place = self.names.iter().position(|known| known.eq_ignore_ascii_case(name));
        let place = place.unwrap_or(N - 1);
        self.counts[place].fetch_add(count, Relaxed);
    }

    /// Says how many there are at this moment, of what comes and goes.
    pub fn set(&self, name: &str, count: u64) {
        if let Some(place) = self.names.iter().position(|known| *known == name) {
            self.counts[place].store(count, Relaxed);
        }
    }

    /// All names with their counts.
    pub fn each(&self) -> Vec<(&'static str, u64)> {
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        self.names.iter().copied().zip(counts).collect()
    }

    /// The count of one name.
    pub fn get(&self, name: &str) -> u64 {
        let is_it = |(known, _): &(&str, u64)| *known == name;
        self.each().into_iter().find(is_it).map_or(0, |(_, count)| count)
    }
}

impl FilterCounters {
    /// Adds one.
    pub fn add(&self, filter: &str, action: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get(filter) {
            counts.add(action);
        } else if all.len() < FILTERS_COUNTED {
            all.entry(filter.to_owned()).or_insert_with(actions).add(action);
        }
    }

    /// Each filter with its actions and their counts.
    pub fn each(&self) -> Vec<(String, Vec<(&'static str, u64)>)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(filter, counts)| (filter.clone(), counts.each())).collect()
    }
}

fn actions() -> Counters<8> {
    Counters::new([
        "reject",
        "tempfail",
        "discard",
        "quarantine",
        "changed",
        "undone",
        "failed",
        "accept",
    ])
}

impl Codes {
    /// Counts a reply with this code.
    pub fn add(&self, code: u16) {
        let place = code.checked_sub(FIRST_CODE).and_then(|place| self.0.get(usize::from(place)));
        if let Some(count) = place {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Each code that was sent, with its count.
    pub fn each(&self) -> Vec<(u16, u64)> {
        let counts = self.0.iter().map(|count| count.load(Relaxed));
        (FIRST_CODE..).zip(counts).filter(|(_, count)| *count > 0).collect()
    }
}

impl<const N: usize> Histogram<N> {
    const fn new(bounds: [u64; N], unit: f64) -> Histogram<N> {
        let counts = [const { AtomicU64::new(0) }; N];
        Histogram { bounds, unit, counts, above: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }

    /// Counts a number.
    pub fn add(&self, number: u64) {
        let place = self.bounds.iter().position(|bound| number <= *bound);
        place.map_or(&self.above, |place| &self.counts[place]).fetch_add(1, Relaxed);
        self.sum.fetch_add(number, Relaxed);
    }

    /// The state now. Each range is read once, so that the counts grow with the bounds.
    pub fn shape(&self) -> Shape {
        let mut count = 0;
        let each = self.bounds.iter().zip(&self.counts);
        let ranges = each.map(|(bound, own)| {
            count += own.load(Relaxed);
            (*bound as f64 / self.unit, count)
        });
        let ranges = ranges.collect();
        count += self.above.load(Relaxed);
        Shape { ranges, count, sum: self.sum.load(Relaxed) as f64 / self.unit }
    }
}

/// Counts an event.
pub fn count(event: &Event<'_>) {
    match event {
        Event::Connected { service, .. } => SESSIONS.add(service),
        Event::Accepted { .. } | Event::Submitted { .. } => MESSAGES.add("accepted"),
        Event::Judged { found, verdict, .. } => {
            VERDICTS.add(verdict);
            for (voice, word) in *found {
                let its = JUDGED.iter().find(|(name, _)| name == voice);
                its.into_iter().for_each(|(_, words)| words.add(word));
            }
        }
        Event::Filtered { filter, action, .. } => FILTERED.add(filter, action),
        Event::Delivered { .. } => RECIPIENTS.add("delivered"),
        Event::Relayed { tls, .. } => {
            RECIPIENTS.add("relayed");
            RELAYED.add(if *tls == "no" { "no" } else { "yes" });
        }
        Event::InTheClear { .. } => CALLS.add("in_the_clear"),
        Event::Deferred { .. } => RECIPIENTS.add("deferred"),
        Event::Bounced { .. } => RECIPIENTS.add("bounced"),
        Event::Expired { .. } => RECIPIENTS.add("expired"),
        Event::Failed { .. } => RECIPIENTS.add("failed"),
        Event::Authenticated { .. } => LOGINS.add("accepted"),
        Event::TlsReport { id: Some(_), .. } => TLS_REPORTS.add("mail"),
        Event::TlsReport { status: Some(_), .. } => TLS_REPORTS.add("https"),
        Event::TlsReport { .. } => TLS_REPORTS.add("failed"),
        Event::Blocklisted { .. } => OTHERS.add("blocklisted"),
        Event::Greylisted { .. } => OTHERS.add("greylisted"),
        Event::Blocklist { is_on: false, .. } | Event::Warning { .. } => OTHERS.add("warnings"),
        Event::Blocklist { is_on: true, .. }
        | Event::Listening { .. }
        | Event::Started { .. }
        | Event::Stopping { .. }
        | Event::Stopped
        | Event::Reloaded { .. }
        | Event::ReloadFailed { .. }
        | Event::Key { .. }
        | Event::Secured { .. }
        | Event::Rejected { .. }
        | Event::Unsent { .. }
        | Event::Signed { .. }
        | Event::Disconnected { .. }
        | Event::Noticed { .. }
        | Event::TlsReports { .. }
        | Event::Held { .. }
        | Event::Removed { .. }
        | Event::Trouble { .. }
        | Event::Panicked { .. }
        | Event::Cleaned { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_counts_as_the_last() {
        let verbs: Counters<3> = Counters::new(["MAIL", "RCPT", "other"]);
        ["mail", "RCPT", "rcpt", "MAI", "", "\u{0}"].iter().for_each(|verb| verbs.add(verb));
        assert_eq!(verbs.each(), [("MAIL", 1), ("RCPT", 2), ("other", 3)]);
    }

    #[test]
    fn filters_are_counted_by_name_up_to_a_bound() {
        let filters = FilterCounters(Mutex::new(BTreeMap::new()));
        for n in 0..=FILTERS_COUNTED {
            filters.add(&format!("f{n:03}"), "reject");
        }
        filters.add("f000", "accept");
        let each = filters.each();
        assert_eq!((each.len(), each[0].0.as_str()), (FILTERS_COUNTED, "f000"));
        assert_eq!((each[0].1[0], each[0].1[7]), (("reject", 1), ("accept", 1)));
    }

    #[test]
    fn replies_are_counted_by_any_code() {
        let codes = Codes([const { AtomicU64::new(0) }; CODES]);
        [250, 599, 250, 200, 199, 600, 0].into_iter().for_each(|code| codes.add(code));
        assert_eq!(codes.each(), [(200, 1), (250, 2), (599, 1)]);
    }

    #[test]
    fn a_number_counts_in_its_range_and_all_above() {
        let sizes: Histogram<2> = Histogram::new([10, 20], 10.0);
        [0, 10, 11, 21].iter().for_each(|size| sizes.add(*size));
        let Shape { ranges, count, sum } = sizes.shape();
        assert_eq!((ranges, count, sum), (vec![(1.0, 2), (2.0, 3)], 4, 4.2));
    }
}
