//! The first page: sessions, what waits and why, what happened last, the mailboxes, and the numbers with
//! their words.

use super::html::{Html, size, text};
use super::mailboxes::{Listing, MAIL};
use super::numbers::{Family, Sample, Values};
use super::waiting::WaitingRow;
use crate::event::line::values;
use crate::event::present::Present;
use crate::limits::{DISK_FREE_LEAST, SESSIONS_SHOWN};
use crate::net::tls::date;
use crate::store::disk::DiskSpace;
use jiff::Timestamp;
use std::path::PathBuf;
use std::time::SystemTime;

/// The first segment of the path of a story.
pub(super) const TRACE: &str = "trace";

/// What the page shows.
pub(super) struct View<'a> {
    pub hostname: &'a str,
    pub now: Timestamp,
    pub started: Timestamp,
    /// Sessions with their ids.
    pub sessions: Vec<(String, Present)>,
    /// Messages of the queue and how many more there are; or why they cannot be shown.
    pub waiting: Result<(Vec<WaitingRow>, usize), String>,
    /// Lines of the log, the last first.
    pub last: Vec<(Timestamp, String)>,
    pub mailboxes: Listing,
    /// When the certificate ends; none without one.
    pub certificate: Option<SystemTime>,
    /// What is wrong with it.
    pub flaws: Vec<String>,
    /// Directories where mail lies; none where the room there cannot be found out.
    pub disks: Vec<(PathBuf, Option<DiskSpace>)>,
    pub numbers: Vec<Family>,
}

/// The whole page.
pub(super) fn write(view: &View<'_>) -> Vec<u8> {
    let up = span(view.now.duration_since(view.started).as_secs());
    let way = Html::default()
        .raw(" · facteur ")
        .text(env!("CARGO_PKG_VERSION"))
        .text(format!(" · up {up} · {} (all times are UTC)", moment(view.now)));
    Html::default()
        .add(tiles(view))
        .add(waiting(&view.waiting))
        .add(last(&view.last, view.now))
        .add(sessions(&view.sessions, view.now))
        .add(mailboxes(&view.mailboxes))
        .add(certificate(view))
        .add(disks(&view.disks))
        .add(numbers(&view.numbers))
        .page(view.hostname, view.hostname, way)
}

/// The most important numbers.
fn tiles(view: &View<'_>) -> Html {
    let of = |name: &str, label: &str| {
        let family = view.numbers.iter().find(|family| family.name == name);
        family.map_or(0.0, |family| family.sample(label))
    };
    let queue = match &view.waiting {
        Ok((rows, more)) => (rows.len() + more).to_string(),
        Err(_) => "?".to_owned(),
    };
    let recipients = "facteur_recipients_total";
    let tiles = [
        (view.sessions.len().to_string(), "connected"),
        (queue, "waiting"),
        (of(recipients, "delivered").to_string(), "delivered here"),
        (of(recipients, "relayed").to_string(), "sent on"),
        ((of(recipients, "bounced") + of(recipients, "expired")).to_string(), "returned"),
        (of("facteur_logins_total", "failed").to_string(), "failed logins"),
        (of("facteur_warnings_total", "").to_string(), "warnings"),
    ];
    let mut html = Html::default().raw("<ul class=\"tiles\">\n");
    for (number, words) in tiles {
        html = html.raw("<li>").element("b", "", number).element("span", "", words).raw("</li>\n");
    }
    html.raw("</ul>\n")
}

fn waiting(waiting: &Result<(Vec<WaitingRow>, usize), String>) -> Html {
    let (rows, more) = match waiting {
        Ok((rows, more)) => (rows, *more),
        Err(words) => return section("Queue", "", text(words)),
    };
    if rows.is_empty() {
        return section("Queue", 0, text("Nothing waits."));
    }
    let count = rows.len() + more;
    let rows = rows.iter().map(|WaitingRow { id, from, to, reason, release, .. }| {
        let why = Html::default().element("span", "wait", reason);
        let why = why.raw("<br>").element("span", "dim", format!("released by: {release}"));
        [story(id), address(from), address(to), why]
    });
    let table = Html::default().table(["message", "from", "to", "why it waits"], rows);
    section("Queue", count, and_more(table, more))
}

fn last(last: &[(Timestamp, String)], now: Timestamp) -> Html {
    if last.is_empty() {
        let words = "Nothing has been delivered or refused since the server started.";
        return section("Last deliveries and refusals", "", text(words));
    }
    let rows = last.iter().map(|(when, line)| {
        let event = line.split(' ').next().unwrap_or_default();
        let first = Html::default().element("b", class(event), event);
        let (mut about, mut what) = (Html::default(), first);
        for (key, value) in values(line) {
            match key {
                "id" | "session" => about = story(&value),
                // These are shown in the story.
                "maildir" | "uid" => {}
                key => {
                    let value = Html::default().text(" ").text(&value);
                    what = what.text(" ").element("span", "dim", key).add(value);
                }
            }
        }
        [time(*when, now), what, about]
    });
    let table = Html::default().table(["when", "what", "story"], rows);
    section("Last deliveries and refusals", "", table)
}

/// The CSS class for what became of mail.
pub(super) fn class(fate: &str) -> &'static str {
    match fate {
        "delivered" | "relayed" => "good",
        "deferred" | "accepted" => "wait",
        _ => "bad",
    }
}

fn sessions(sessions: &[(String, Present)], now: Timestamp) -> Html {
    if sessions.is_empty() {
        return section("Sessions", 0, text("Nobody is connected."));
    }
    let rows = sessions.iter().take(SESSIONS_SHOWN).map(|(id, present)| {
        let Present { since, client, service, tls, user } = present;
        let tls = match tls.as_str() {
            "" => Html::default().element("span", "wait", "in the clear"),
            tls => text(tls),
        };
        [text(client), text(service), tls, text(user), time(*since, now), story(id)]
    });
    let heads = ["client", "service", "TLS", "user", "since", "story"];
    let more = sessions.len().saturating_sub(SESSIONS_SHOWN);
    let table = Html::default().table(heads, rows);
    section("Sessions", sessions.len(), and_more(table, more))
}

fn mailboxes(listing: &Listing) -> Html {
    let all = match listing.has_more {
        true => Html::default().raw("<p>").link(&[MAIL], "all mailboxes").raw("</p>\n"),
        false => Html::default(),
    };
    section("Mailboxes", "", listing.html().add(all))
}

/// Until when the certificate is good, and what is wrong with it; nothing without one.
fn certificate(view: &View<'_>) -> Html {
    let Some(until) = view.certificate else { return Html::default() };
    let ends = Html::default().element("p", "", format!("It is good until {}.", date(until)));
    let flaws = view.flaws.iter().fold(ends, |html, words| html.element("p", "bad", words));
    section("Certificate", "", flaws)
}

fn disks(disks: &[(PathBuf, Option<DiskSpace>)]) -> Html {
    let rows = disks.iter().map(|(dir, space)| {
        let bad = |words| Html::default().element("span", "bad", words);
        let short = |free: u64, all: u64, words: String| match free < all / 100 * DISK_FREE_LEAST {
            true => bad(words),
            false => text(words),
        };
        match space {
            Some(DiskSpace { free, all, free_inodes, all_inodes }) => {
                let room = if *all == 0 { "not counted".to_owned() } else { size(*free) };
                let files = match all_inodes {
                    0 => "not counted".to_owned(),
                    _ => free_inodes.to_string(),
                };
                let room = short(*free, *all, room);
                [text(dir.display()), room, short(*free_inodes, *all_inodes, files)]
            }
            None => [text(dir.display()), bad("cannot be seen".to_owned()), Html::default()],
        }
    });
    section("Disk", "", Html::default().table(["directory", "room", "room for files"], rows))
}

/// The numbers of Prometheus, without zeros of labels.
fn numbers(families: &[Family]) -> Html {
    let rows = families.iter().flat_map(|Family { help, values, .. }| {
        let row = |what: String, value: f64| {
            [text(help), text(what), Html::default().element("span", "number", value)]
        };
        match values {
            Values::Counter(samples) | Values::Gauge(samples) => samples
                .iter()
                .filter(|sample| sample.labels.is_empty() || sample.value != 0.0)
                .map(|Sample { labels, value }| {
                    let what = labels.iter().map(|(label, is)| format!("{label} {is}"));
                    row(what.collect::<Vec<_>>().join(", "), *value)
                })
                .collect(),
            Values::Histogram(shape) if shape.count > 0 => {
                vec![row("mean".to_owned(), shape.sum / shape.count as f64)]
            }
            Values::Histogram(_) => Vec::new(),
        }
    });
    Html::default()
        .raw("<section><details><summary>Numbers since the start</summary>\n")
        .table(["what", "of which", "number"], rows)
        .raw("<p><a href=\"/metrics\">the same for Prometheus</a></p></details></section>\n")
}

/// A part of a page, with its title and a count.
pub(super) fn section(title: &'static str, count: impl std::fmt::Display, inner: Html) -> Html {
    let html = Html::default().raw("<section><h2>").raw(title).element("b", "", count);
    html.raw("</h2>\n").add(inner).raw("</section>\n")
}

fn and_more(html: Html, more: usize) -> Html {
    match more {
        0 => html,
        more => html.element("p", "dim", format!("and {more} more")),
    }
}

/// A link to the story of a message or a session.
pub(super) fn story(id: &str) -> Html {
    Html::default().raw("<span class=\"number\">").link(&[TRACE, id], id).raw("</span>")
}

/// An address, in an element that gives it room.
fn address(address: &str) -> Html {
    Html::default().element("span", "address", address)
}

/// A moment, without the day when that is today.
pub(super) fn time(when: Timestamp, now: Timestamp) -> Html {
    let whole = moment(when);
    let today = moment(now);
    let shown = match (whole.split_once(' '), today.split_once(' ')) {
        (Some((day, clock)), Some((today, _))) if day == today => clock.to_owned(),
        _ => whole,
    };
    Html::default().element("time", "", shown)
}

/// A moment to the second, in UTC.
pub(super) fn moment(when: Timestamp) -> String {
    when.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A span of time in its two largest units.
fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {} min", minutes % 60),
        (days, hours, _) => format!("{days} d {} h", hours % 24),
    }
}

impl Listing {
    /// The mailboxes as a table, and why it is not complete.
    pub fn html(&self) -> Html {
        if self.rows.is_empty() && self.stopped.is_none() {
            return text("There are none yet.");
        }
        let rows = self.rows.iter().map(|row| {
            let number = |number: usize, is_cut: bool| {
                let more = if is_cut { "+" } else { "" };
                Html::default().element("span", "number", format!("{number}{more}"))
            };
            let link = Html::default().link(&[MAIL, &row.address], &row.address);
            match &row.count {
                Some(Ok(count)) => {
                    let more = if count.is_cut || count.has_more_octets { "+" } else { "" };
                    let size = format!("{}{more}", size(count.octets));
                    let cut = count.is_cut;
                    let (all, new) = (number(count.all, cut), number(count.new, cut));
                    [link, all, new, number(count.seen, cut), text(size)]
                }
                Some(Err(words)) => {
                    let words = Html::default().element("span", "bad", words);
                    [link, words, Html::default(), Html::default(), Html::default()]
                }
                None => {
                    let words = text("not counted: that would take too long");
                    [link, words, Html::default(), Html::default(), Html::default()]
                }
            }
        });
        let heads = ["mailbox", "messages", "new", "seen", "size"];
        let table = Html::default().table(heads, rows);
        match &self.stopped {
            Some(words) => table.element("p", "wait", words),
            None => table,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn nothing_a_peer_says_is_markup() {
        let bad = || "<script>alert('1')</script>&\u{202e}".to_owned();
        let (id, from, to, reason, release) = (bad(), bad(), bad(), bad(), bad());
        let row = WaitingRow { id, from, to, reason, release };
        let (since, client) = (Timestamp::UNIX_EPOCH, IpAddr::from([192, 0, 2, 1]));
        let present = Present { since, client, service: bad(), tls: bad(), user: bad() };
        let line = format!("rejected session=s1 command=\"{}\"", bad());
        let page = write(&View {
            hostname: "mx.test",
            now: since,
            started: since,
            sessions: vec![(bad(), present)],
            waiting: Ok((vec![row], 0)),
            last: vec![(since, line)],
            mailboxes: Listing::default(),
            certificate: Some(std::time::SystemTime::UNIX_EPOCH),
            flaws: vec![bad()],
            disks: Vec::new(),
            numbers: Vec::new(),
        });
        let page = String::from_utf8(page).unwrap();
        assert!(!page.contains("<script") && !page.contains("('1')"), "{page}");
        let shown = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;\\u{202e}";
        assert_eq!(page.matches(shown).count(), 11, "{page}");
    }

    #[test]
    fn how_long() {
        for (seconds, words) in
            [(-1, "0 s"), (59, "59 s"), (600, "10 min"), (7260, "2 h 1 min"), (90000, "1 d 1 h")]
        {
            assert_eq!(span(seconds), words);
        }
    }
}
