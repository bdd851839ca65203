//! All that can happen, as one enum, and the function that reports it. Each event becomes a log line; one
//! that belongs to a message or a session also goes to the trace ([`sink`]), as transcripts do ([`talk`]).
//! Events are counted ([`count`]).
//!
//! A line is `event key=value ...` on stderr. What a peer sent is escaped, so that no line can be forged
//! (contract, "Log"); `time=` comes last, and only where systemd does not add one.
//!
//! Scripts rely on the names of events and keys. Decides nothing.

pub mod count;
pub mod line;
pub mod present;
pub mod recent;
pub mod repeats;
pub mod sink;
pub mod talk;

pub use talk::{About, Talk, Turn, tell_talk};

use crate::mail::envelope::TlsWish;
use crate::smtp::reply::Reply;
use jiff::Timestamp;
use line::Line;
use log::Level;
use sink::TraceRecord;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Something an administrator may want to know; borrowed, because an event is not kept.
#[derive(Debug)]
pub enum Event<'a> {
    /// An address is listened on; clients are answered from now on.
    Listening {
        service: &'a str,
        address: SocketAddr,
    },
    /// The configuration is used, sockets are bound, and privileges are dropped. `config`: the file, or
    /// that it is the demo. `sandbox`: which one is closed, or `none`.
    Started {
        version: &'a str,
        hostname: &'a str,
        config: &'a str,
        sandbox: &'a str,
    },
    /// A signal asked to stop; this many sessions have to end.
    Stopping {
        sessions: usize,
    },
    /// The last line: sessions are over, or their time is.
    Stopped,
    /// New sessions use what was read; running ones keep theirs.
    Reloaded {
        config: &'a str,
    },
    /// A reload failed: the old configuration stays, for new sessions too.
    ReloadFailed {
        reason: &'a str,
    },
    /// What a DKIM key does from now on: it waits, signs or is retired. `until`: how long, where that is known.
    Key {
        domain: &'a str,
        selector: &'a str,
        kind: &'a str,
        state: &'a str,
        until: Option<Timestamp>,
    },
    /// Something is not as it should be, and the server goes on.
    Warning {
        what: &'a str,
    },
    Connected {
        session: &'a str,
        client: IpAddr,
        service: &'a str,
    },
    /// A session goes on by TLS.
    Secured {
        session: &'a str,
        tls: &'a str,
    },
    /// The client has shown that it is this user.
    Authenticated {
        session: &'a str,
        user: &'a str,
    },
    /// A 4xx or 5xx reply. `user`: the one that has logged in, or that a failed login named. `command` is
    /// what the peer sent, and may hold any octet.
    Rejected {
        session: &'a str,
        client: IpAddr,
        user: Option<&'a str>,
        command: &'a [u8],
        reply: &'a Reply,
    },
    Disconnected {
        session: &'a str,
        reason: &'a str,
    },
    /// A message was accepted: every copy is durable, and a `Delivered` follows for each.
    Accepted {
        id: &'a str,
        session: &'a str,
        client: IpAddr,
        from: &'a str,
        /// Octets with LF line ends, without what delivery puts on top.
        size: u64,
        /// Accepted RCPTs; aliases may make another number of copies.
        recipients: usize,
        tls: TlsWish,
    },
    /// A message of a user of this machine was put into the queue.
    Submitted {
        id: &'a str,
        session: &'a str,
        uid: u32,
        from: &'a str,
        /// Octets with LF line ends.
        size: u64,
        recipients: usize,
        tls: TlsWish,
    },
    /// A program of this machine called sendmail, and nothing was sent.
    Unsent {
        session: &'a str,
        uid: u32,
        user: &'a str,
        from: &'a str,
        /// The first recipient that was refused, else the first one; empty where none was known.
        to: &'a str,
        recipients: usize,
        /// What the program ended with (sysexits(3)).
        status: u8,
        reason: &'a str,
    },
    /// What a stranger's message says of its sender was looked at. `id`: where it was taken; `found`: each voice
    /// that was asked, with its word (RFC 8601).
    Judged {
        id: Option<&'a str>,
        session: &'a str,
        found: &'a [(&'a str, &'a str)],
        verdict: &'a str,
        reason: &'a str,
    },
    /// Whether a message of ours is signed. `domain`: whose signature it is or waits for; none where it leaves
    /// without one. `selectors`: with commas between them; empty where it is not signed, and `reason` says why.
    Signed {
        id: &'a str,
        domain: Option<&'a str>,
        selectors: &'a str,
        reason: &'a str,
    },
    /// A list has a stranger's client, whose mail is refused for that. `text`: what the list says of it, any
    /// octets.
    Blocklisted {
        session: &'a str,
        client: IpAddr,
        list: &'a str,
        code: IpAddr,
        text: &'a [u8],
    },
    /// A stranger's mail has to come back. `by`: the domain or the network that is new; `wait`: seconds.
    Greylisted {
        session: &'a str,
        client: IpAddr,
        from: &'a str,
        by: &'a str,
        wait: u64,
    },
    /// A list of clients was tested, and is used from now on or is not.
    Blocklist {
        list: &'a str,
        is_on: bool,
        reason: &'a str,
    },
    /// A filter has done more than let a message go on. `id`: where the message was taken.
    Filtered {
        id: Option<&'a str>,
        session: &'a str,
        filter: &'a str,
        stage: &'a str,
        /// reject, tempfail, discard, quarantine, changed, undone or failed.
        action: &'a str,
        /// The filter's words, or what was changed or left undone, or how it failed.
        what: &'a str,
        /// How long its answer took.
        took: Duration,
    },
    /// A message waits in the queue until a person lets it go, as a filter wants.
    Held {
        id: &'a str,
        filter: &'a str,
        reason: &'a str,
    },
    /// One copy lies in `new/` of a Maildir, or of a folder in it.
    Delivered {
        id: &'a str,
        to: &'a str,
        maildir: &'a Path,
        /// None: the inbox.
        folder: Option<&'a str>,
    },
    /// A next hop has accepted the message for this recipient.
    Relayed {
        id: &'a str,
        to: &'a str,
        host: &'a str,
        tls: &'a str,
        reply: &'a str,
    },
    /// A next hop offers TLS that cannot be used; it is called once more without.
    InTheClear {
        host: &'a str,
        reason: &'a str,
    },
    /// A recipient waits in the queue; `next`: when it is tried again, if that is known.
    Deferred {
        id: &'a str,
        to: &'a str,
        reason: &'a str,
        next: Option<Timestamp>,
    },
    /// The message will never reach this recipient.
    Bounced {
        id: &'a str,
        to: &'a str,
        reason: &'a str,
    },
    /// A recipient was tried until `relay.expire`, and is given up.
    Expired {
        id: &'a str,
        to: &'a str,
        reason: &'a str,
    },
    /// A notice of ours about a message was put into the queue, as `notice`.
    Noticed {
        id: &'a str,
        notice: &'a str,
        to: &'a str,
        what: &'a str,
    },
    /// A report on TLS for a domain about a day went, or did not: `id` where it lies in the queue, `status` where a
    /// server took it by HTTPS, else `reason` says why not; beside an id why it is not signed.
    TlsReport {
        domain: &'a str,
        day: &'a str,
        /// The address, or empty where there is none.
        to: &'a str,
        id: Option<&'a str>,
        status: Option<u16>,
        reason: Option<&'a str>,
    },
    /// The reports of a day were tried: to so many domains, how many went, and how many are to be tried again.
    TlsReports {
        day: &'a str,
        domains: usize,
        sent: usize,
        failed: usize,
    },
    /// A command took the message out of the queue.
    Removed {
        id: &'a str,
    },
    /// A copy could not be written.
    Failed {
        id: &'a str,
        session: &'a str,
        to: &'a str,
        maildir: &'a Path,
        /// Our user, because a Maildir that belongs to another one is the likeliest reason.
        uid: u32,
        reason: &'a str,
    },
    /// Something on our side went wrong in a session; its client got a 4xx reply.
    Trouble {
        session: &'a str,
        what: &'a str,
    },
    /// A session's thread panicked; only that session ended.
    Panicked {
        session: &'a str,
        what: &'a str,
    },
    /// Leftovers of a crash were removed from a Maildir.
    Cleaned {
        maildir: &'a Path,
        files: usize,
    },
}

/// Reports an event: counts it, and gives it to the log and the trace. Never fails, and waits a second at
/// most: then a line that the log's reader does not take is lost. The same warning is logged only a few
/// times a minute.
pub fn tell(event: &Event<'_>) {
    count::count(event);
    present::follow(event);
    recent::follow(event);
    let level = event.level();
    match event.words_that_repeat().map(|words| repeats::warning(words, Instant::now())) {
        None | Some(repeats::RepeatedLine::Tell(0)) => {}
        Some(repeats::RepeatedLine::Tell(more)) if log::log_enabled!(target: "facteur", level) => {
            let what = format!("the next line was left out {more} times");
            log::log!(target: "facteur", level, "{}", stamped(Event::Warning { what: &what }.text()));
        }
        Some(repeats::RepeatedLine::Tell(_)) => {}
        Some(repeats::RepeatedLine::LeaveOut) => return,
    }
    let sink = sink::current().filter(|_| event.is_of_a_story());
    let is_recent = recent::is_kept(event);
    let is_logged = log::log_enabled!(target: "facteur", level);
    // The line is only made where it is used.
    if !is_logged && sink.is_none() && !is_recent {
        return;
    }
    let (when, text) = (Timestamp::now(), event.text());
    if is_logged {
        match *STAMPED {
            true => log::log!(target: "facteur", level, "{text}"),
            false => log::log!(target: "facteur", level, "{}", with_time(&text, when)),
        }
    }
    if is_recent {
        recent::keep(when, &text);
    }
    if let Some(sink) = sink {
        sink.offer(TraceRecord::Line { when, text });
    }
}

/// Logs something that an administrator should mend.
pub fn warn(what: &str) {
    tell(&Event::Warning { what });
}

/// Waits until the log has written all lines before, or its reader takes nothing. Called before the process
/// ends.
pub fn flush() {
    log::logger().flush();
}

/// The beginning of a line of that level: its priority where systemd reads the log (sd-daemon(3)), else
/// nothing.
pub fn priority(level: Level) -> &'static str {
    match level {
        _ if !*STAMPED => "",
        Level::Error => "<3>",
        Level::Warn => "<4>",
        Level::Info => "<6>",
        Level::Debug | Level::Trace => "<7>",
    }
}

/// A warning as a whole line, for the log itself, which cannot call [`tell`].
pub fn warning_line(what: &str) -> String {
    format!("{}{}\n", priority(Level::Warn), stamped(Event::Warning { what }.text()))
}

fn stamped(text: String) -> String {
    if *STAMPED { text } else { with_time(&text, Timestamp::now()) }
}

/// The line with its time (RFC 3339, in UTC, to the millisecond).
fn with_time(text: &str, when: Timestamp) -> String {
    format!("{text} time={when:.3}")
}

impl Event<'_> {
    /// A warning is for an administrator to act on; a refused client is normal.
    fn level(&self) -> Level {
        match self {
            Event::Warning { .. }
            | Event::Failed { .. }
            | Event::Trouble { .. }
            | Event::Blocklist { is_on: false, .. } => Level::Warn,
            Event::Filtered { action: "failed", .. } => Level::Warn,
            // Something that was asked for was not done.
            Event::Panicked { .. } | Event::ReloadFailed { .. } => Level::Error,
            _ => Level::Info,
        }
    }

    /// The words of an event that may come again and again while nothing changes.
    fn words_that_repeat(&self) -> Option<&str> {
        match self {
            Event::Warning { what } => Some(what),
            Event::ReloadFailed { reason } => Some(reason),
            _ => None,
        }
    }

    /// Whether it belongs to the story of a message or a session. Refusals do not, because the transcript
    /// has them.
    fn is_of_a_story(&self) -> bool {
        match self {
            Event::Connected { .. }
            | Event::Secured { .. }
            | Event::Authenticated { .. }
            | Event::Disconnected { .. }
            | Event::Accepted { .. }
            | Event::Judged { .. }
            | Event::Signed { .. }
            | Event::Blocklisted { .. }
            | Event::Greylisted { .. }
            | Event::Filtered { .. }
            | Event::Held { .. }
            | Event::Submitted { .. }
            | Event::Unsent { .. }
            | Event::Delivered { .. }
            | Event::Relayed { .. }
            | Event::Deferred { .. }
            | Event::Bounced { .. }
            | Event::Expired { .. }
            | Event::Noticed { .. }
            | Event::TlsReport { id: Some(_), .. }
            | Event::Removed { .. }
            | Event::Failed { .. }
            | Event::Trouble { .. }
            | Event::Panicked { .. } => true,
            Event::Listening { .. }
            | Event::Started { .. }
            | Event::Stopping { .. }
            | Event::Stopped
            | Event::Reloaded { .. }
            | Event::ReloadFailed { .. }
            | Event::Key { .. }
            | Event::Warning { .. }
            | Event::Rejected { .. }
            | Event::TlsReport { id: None, .. }
            | Event::TlsReports { .. }
            | Event::Blocklist { .. }
            | Event::InTheClear { .. }
            | Event::Cleaned { .. } => false,
        }
    }

    /// The log line without its time and its LF; no value can put an LF inside.
    pub fn text(&self) -> String {
        match self {
            Event::Listening { service, address } => {
                Line::new("listening").add("service", service).add("address", address)
            }
            Event::Started { version, hostname, config, sandbox } => Line::new("started")
                .add("version", version)
                .add("hostname", hostname)
                .add("config", config)
                .add("sandbox", sandbox),
            Event::Stopping { sessions } => Line::new("stopping").add("sessions", sessions),
            Event::Stopped => Line::new("stopped"),
            Event::Reloaded { config } => Line::new("reloaded").add("config", config),
            Event::ReloadFailed { reason } => Line::new("reload-failed").add("reason", reason),
            Event::Key { domain, selector, kind, state, until } => {
                let line = Line::new("key").add("domain", domain).add("selector", selector);
                let line = line.add("type", kind).add("state", state);
                match until {
                    Some(until) => line.add("until", until),
                    None => line,
                }
            }
            Event::Warning { what } => Line::new("warning").add("what", what),
            Event::Connected { session, client, service } => Line::new("connected")
                .add("session", session)
                .add("client", client)
                .add("service", service),
            Event::Secured { session, tls } => {
                Line::new("secured").add("session", session).add("tls", tls)
            }
            Event::Authenticated { session, user } => {
                Line::new("authenticated").add("session", session).add("user", user)
            }
            Event::Rejected { session, client, user, command, reply } => {
                let line = Line::new("rejected").add("session", session).add("client", client);
                let line = match user {
                    Some(user) => line.octets("user", user.as_bytes()),
                    None => line,
                };
                line.octets("command", command).add("reply", reply)
            }
            Event::Disconnected { session, reason } => {
                Line::new("disconnected").add("session", session).add("reason", reason)
            }
            Event::Accepted { id, session, client, from, size, recipients, tls } => {
                let line = Line::new("accepted")
                    .add("id", id)
                    .add("session", session)
                    .add("client", client)
                    .add("from", from)
                    .add("size", size)
                    .add("recipients", recipients);
                wished(line, *tls)
            }
            // Logged under the same name: a search for accepted mail should find both.
            Event::Submitted { id, session, uid, from, size, recipients, tls } => {
                let line = Line::new("accepted")
                    .add("id", id)
                    .add("session", session)
                    .add("client", "local")
                    .add("uid", uid)
                    .add("from", from)
                    .add("size", size)
                    .add("recipients", recipients);
                wished(line, *tls)
            }
            // Logged like a refusal of a session.
            Event::Unsent { session, uid, user, from, to, recipients, status, reason } => {
                Line::new("rejected")
                    .add("session", session)
                    .add("client", "local")
                    .add("uid", uid)
                    .add("user", user)
                    .add("from", from)
                    .add("to", to)
                    .add("recipients", recipients)
                    .add("status", status)
                    .add("reason", reason)
            }
            Event::Judged { id, session, found, verdict, reason } => {
                let line = Line::new("judged");
                let line = match id {
                    Some(id) => line.add("id", id),
                    None => line,
                };
                let line = line.add("session", session);
                let line = found.iter().fold(line, |line, (voice, word)| line.add(voice, word));
                line.add("verdict", verdict).add("reason", reason)
            }
            Event::Signed { id, domain, selectors, reason } => {
                let line = Line::new("signed").add("id", id);
                let line = match domain {
                    Some(domain) => line.add("domain", domain),
                    None => line,
                };
                match *selectors {
                    "" => line.add("reason", reason),
                    selectors => line.add("selectors", selectors),
                }
            }
            Event::Blocklisted { session, client, list, code, text } => Line::new("blocklisted")
                .add("session", session)
                .add("client", client)
                .add("list", list)
                .add("code", code)
                .octets("text", text),
            Event::Greylisted { session, client, from, by, wait } => Line::new("greylisted")
                .add("session", session)
                .add("client", client)
                .add("from", from)
                .add("by", by)
                .add("wait", &format_args!("{wait}s")),
            Event::Blocklist { list, is_on, reason } => Line::new("blocklist")
                .add("list", list)
                .add("state", if *is_on { "on" } else { "off" })
                .add("reason", reason),
            Event::Filtered { id, session, filter, stage, action, what, took } => {
                let line = Line::new("filtered");
                let line = match id {
                    Some(id) => line.add("id", id),
                    None => line,
                };
                let line = line.add("session", session).add("filter", filter);
                let line = line.add("stage", stage).add("action", action).add("what", what);
                line.add("ms", &took.as_millis())
            }
            Event::Held { id, filter, reason } => {
                Line::new("held").add("id", id).add("filter", filter).add("reason", reason)
            }
            Event::Delivered { id, to, maildir, folder } => {
                let line = Line::new("delivered").add("id", id).add("to", to);
                let line = line.path("maildir", maildir);
                match folder {
                    Some(folder) => line.add("folder", folder),
                    None => line,
                }
            }
            Event::Relayed { id, to, host, tls, reply } => Line::new("relayed")
                .add("id", id)
                .add("to", to)
                .add("host", host)
                .add("tls", tls)
                .add("reply", reply),
            Event::InTheClear { host, reason } => {
                Line::new("in-the-clear").add("host", host).add("reason", reason)
            }
            Event::Deferred { id, to, reason, next } => {
                let line = Line::new("deferred").add("id", id).add("to", to).add("reason", reason);
                match next {
                    Some(next) => line.add("next", &format_args!("{next:.0}")),
                    None => line.add("next", "now"),
                }
            }
            Event::Bounced { id, to, reason } => {
                Line::new("bounced").add("id", id).add("to", to).add("reason", reason)
            }
            Event::Expired { id, to, reason } => {
                Line::new("expired").add("id", id).add("to", to).add("reason", reason)
            }
            Event::Noticed { id, notice, to, what } => Line::new("noticed")
                .add("id", id)
                .add("notice", notice)
                .add("to", to)
                .add("what", what),
            Event::TlsReport { domain, day, to, id, status, reason } => {
                let mut line = Line::new("tls-report");
                if let Some(id) = id {
                    line = line.add("id", id);
                }
                line = line.add("domain", domain).add("day", day).add("to", to);
                if let Some(status) = status {
                    line = line.add("status", status);
                }
                match reason {
                    Some(reason) => line.add("reason", reason),
                    None => line,
                }
            }
            Event::TlsReports { day, domains, sent, failed } => Line::new("tls-reports")
                .add("day", day)
                .add("domains", domains)
                .add("sent", sent)
                .add("failed", failed),
            Event::Removed { id } => Line::new("removed").add("id", id),
            Event::Failed { id, session, to, maildir, uid, reason } => Line::new("failed")
                .add("id", id)
                .add("session", session)
                .add("to", to)
                .path("maildir", maildir)
                .add("uid", uid)
                .add("reason", reason),
            Event::Trouble { session, what } => {
                Line::new("trouble").add("session", session).add("what", what)
            }
            Event::Panicked { session, what } => {
                Line::new("panicked").add("session", session).add("what", what)
            }
            Event::Cleaned { maildir, files } => {
                Line::new("cleaned").path("maildir", maildir).add("files", files)
            }
        }
        .finish()
    }
}

/// The line with what a message says about TLS, where it says anything.
fn wished(line: Line, tls: TlsWish) -> Line {
    match tls {
        TlsWish::Usual => line,
        TlsWish::Required => line.add("requiretls", "yes"),
        TlsWish::NotRequired => line.add("tls-required", "no"),
    }
}

/// systemd's journal stamps each line itself.
static STAMPED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("JOURNAL_STREAM").is_some());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged() {
        let reply = Reply::new(500, "5.5.1", "no");
        let command = b"X\r\naccepted id=1 \xff";
        let client = IpAddr::from([192, 0, 2, 1]);
        let user = Some("ann client=x");
        let event = Event::Rejected { session: "s1", client, user, command, reply: &reply };
        let line = event.text();
        let expected = "rejected session=s1 client=192.0.2.1 user=\"ann client=x\" command=\"X\\u{d}\\u{a}accepted id=1 \u{fffd}\" ";
        assert!(line.starts_with(expected) && line.ends_with(" reply=\"500 5.5.1 no\""), "{line}");
    }

    #[test]
    fn only_a_wish_about_tls_is_told() {
        for (tls, told) in [
            (TlsWish::Usual, "recipients=1"),
            (TlsWish::Required, "recipients=1 requiretls=yes"),
            (TlsWish::NotRequired, "recipients=1 tls-required=no"),
        ] {
            let (id, session, from, size, recipients) = ("m1", "s1", "<>", 3, 1);
            let client = IpAddr::from([192, 0, 2, 1]);
            let accepted = Event::Accepted { id, session, client, from, size, recipients, tls };
            let submitted = Event::Submitted { id, session, uid: 0, from, size, recipients, tls };
            [accepted, submitted].iter().for_each(|event| assert!(event.text().ends_with(told)));
        }
    }
}
