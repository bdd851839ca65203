//! What `listen.metrics` answers: `/metrics` for Prometheus (text format 0.0.4), and pages for people. `/`
//! shows sessions, what waits and why, the last deliveries and refusals, and the mailboxes; links lead to
//! stories (`/trace/ID`) and to mail (`/mail`).
//!
//! Stories and mail lie in directories that only root and the server's user can read, so they are shown to
//! these two alone, by a connection within this machine ([`crate::net::peer`]).
//!
//! Changes nothing, and does not disturb mail: few connections at once, each with its own thread and bounds
//! ([`crate::net::http`]); the scheduler is asked at most once a second.

mod connections;
mod html;
mod mailboxes;
mod messages;
mod numbers;
mod page;
mod story;
mod text;
mod waiting;

use crate::event::{present, recent, warn};
use crate::handoff::{Census, Hints};
use crate::limits::{CENSUS_KEEP, DISKS_SHOWN, MAILBOXES_SHOWN};
use crate::net::http::{self, HttpAnswer, HttpRequest, Page};
use crate::net::peer::Peers;
use crate::net::registry::Registry;
use crate::net::tls::Acceptor;
use crate::site::{Current, Site};
use crate::store::disk::{Disk, DiskSpace};
use crate::store::locked;
use crate::store::queue::Queue;
use connections::HttpConnections;
use html::Html;
use jiff::Timestamp;
use mailboxes::MAIL;
use messages::MailboxPages;
use nix::unistd::geteuid;
use page::{TRACE, View};
use percent_encoding::percent_decode_str;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Instant, SystemTime};

/// Answers requests; shared by all listeners of `listen.metrics`.
pub struct Metrics {
    disk: Arc<dyn Disk>,
    current: Arc<Current>,
    registry: Arc<Registry>,
    hints: Hints,
    queue: Queue,
    started: SystemTime,
    /// Connections at this moment.
    connections: Arc<HttpConnections>,
    /// The last answer of the scheduler, and when it came.
    census: Mutex<Option<(Instant, Option<Census>)>>,
}

/// The target of a request.
struct PagePath {
    /// The segments of the path, decoded.
    path: Vec<String>,
    /// The page of a list, from 1.
    page: usize,
}

const HTML: &str = "text/html; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

impl Metrics {
    /// Answers nothing before [`Metrics::admit`].
    pub fn new(
        disk: Arc<dyn Disk>,
        current: Arc<Current>,
        registry: Arc<Registry>,
        hints: Hints,
        queue: Queue,
    ) -> Metrics {
        let (connections, census) = (Arc::default(), Mutex::new(None));
        let started = SystemTime::now();
        Metrics { disk, current, registry, hints, queue, started, connections, census }
    }

    /// Begins to keep what the pages show.
    pub fn open(&self) {
        recent::start();
    }

    /// Answers a connection in a thread of its own, or turns it away; never waits. `peers` tells which user
    /// connects; without it no client is trusted.
    pub fn admit(self: &Arc<Metrics>, stream: TcpStream, peers: Option<Arc<Peers>>) {
        let ends = stream.peer_addr().ok().zip(stream.local_addr().ok());
        let stream = Arc::new(stream);
        let client = ends.map(|(peer, _)| peer.ip().to_canonical());
        let now = Instant::now();
        let Some(own) = HttpConnections::enter(&self.connections, client, &stream, now) else {
            return http::turn_away(stream);
        };
        let (metrics, builder) = (self.clone(), thread::Builder::new().name("metrics".to_owned()));
        let serve = move || {
            let is_trusted = || {
                let uid = peers.zip(ends).and_then(|(peers, (peer, own))| peers.uid(peer, own));
                uid.is_some_and(|uid| uid == 0 || uid == geteuid().as_raw())
            };
            let site = metrics.current.get();
            let page = |request: &HttpRequest| {
                // While the answer is made, the connection is not closed for another one.
                own.set_working(true);
                let answer = metrics.answer(&site, request, is_trusted);
                own.set_working(false);
                answer
            };
            // A client that is gone or too slow is not logged.
            let _ = http::answer(stream, site.config.hostname.as_str(), page);
            drop(own);
        };
        if let Err(error) = builder.spawn(serve) {
            warn(&format!("no thread for listen.metrics: {error}"));
        }
    }

    /// The answer to a request. `is_trusted`: whether the client may read stories and mail; never so by a
    /// proxy, whose user is not the client's.
    fn answer(
        &self,
        site: &Site,
        asked: &HttpRequest,
        is_trusted: impl FnOnce() -> bool,
    ) -> HttpAnswer {
        let Some(PagePath { path, page }) = PagePath::parse(&asked.target) else {
            return HttpAnswer::Missing;
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_private = matches!(path[..], [MAIL | TRACE, ..]);
        if is_private && (asked.is_forwarded || !is_trusted()) {
            return HttpAnswer::Forbidden(Page { kind: HTML, body: forbidden(site) });
        }
        let disk = &*self.disk;
        let mailbox = |address| MailboxPages::find(site, disk, address);
        // No key of a message begins with a dot.
        let folder = |address, name| mailbox(address).and_then(|mailbox| mailbox.folder(name));
        let (kind, body) = match path[..] {
            [""] => (HTML, Some(self.first(site))),
            ["metrics"] => {
                let kind = "text/plain; version=0.0.4; charset=utf-8";
                (kind, Some(text::write(&numbers::all(self.moment(site))).into_bytes()))
            }
            ["style.css"] => ("text/css; charset=utf-8", Some(html::STYLE.into())),
            [TRACE, handle] => (HTML, story::page(site, disk, &self.queue, handle)),
            [MAIL] => (HTML, Some(mailboxes::page(site, disk, page))),
            [MAIL, address] => (HTML, mailbox(address).map(|mailbox| mailbox.page(page))),
            [MAIL, address, name] if name.starts_with('.') => {
                (HTML, folder(address, name).map(|folder| folder.page(page)))
            }
            [MAIL, address, name, key] if name.starts_with('.') => {
                (HTML, folder(address, name).and_then(|folder| folder.message(key)))
            }
            [MAIL, address, name, key, "raw"] if name.starts_with('.') => {
                (PLAIN, folder(address, name).and_then(|folder| folder.octets(key)))
            }
            [MAIL, address, key] => {
                (HTML, mailbox(address).and_then(|mailbox| mailbox.message(key)))
            }
            [MAIL, address, key, "raw"] => {
                (PLAIN, mailbox(address).and_then(|mailbox| mailbox.octets(key)))
            }
            _ => return HttpAnswer::Missing,
        };
        body.map_or(HttpAnswer::Missing, |body| HttpAnswer::Page(Page { kind, body }))
    }

    fn first(&self, site: &Site) -> Vec<u8> {
        let moment = self.moment(site);
        page::write(&View {
            hostname: site.config.hostname.as_str(),
            now: Timestamp::now(),
            started: Timestamp::try_from(self.started).unwrap_or_default(),
            sessions: present::all(),
            waiting: waiting::rows(site, &self.queue),
            last: recent::last(),
            mailboxes: mailboxes::list(site, &*self.disk, 0, MAILBOXES_SHOWN),
            certificate: moment.certificate,
            flaws: site.flaws(SystemTime::now()).into_iter().map(|(_, words)| words).collect(),
            disks: moment.disks.clone(),
            numbers: numbers::all(moment),
        })
    }

    fn moment(&self, site: &Site) -> numbers::MetricsMoment {
        numbers::MetricsMoment {
            started: self.started,
            sessions: self.registry.count(),
            census: self.census(),
            unpublished: site.signing().unpublished(),
            certificate: site.acceptor().and_then(Acceptor::expires),
            disks: disks(site, &*self.disk),
            silent: site.silent_filters(),
        }
    }

    /// Locked while waiting for the scheduler, because other requests need the same answer.
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
}

/// The spool and the directories of Maildirs above the part that differs by user, with the room there.
fn disks(site: &Site, disk: &dyn Disk) -> Vec<(PathBuf, Option<DiskSpace>)> {
    let mut dirs = vec![site.config.spool.clone()];
    for local in site.domains().filter(|local| local.config.lmtp.is_none()) {
        let maildir = local.maildir("{user}");
        let fixed = maildir.ancestors().find(|dir| !dir.to_string_lossy().contains("{user}"));
        let dir = fixed.map(Path::to_owned).unwrap_or_default();
        if !dirs.contains(&dir) && dirs.len() < DISKS_SHOWN {
            dirs.push(dir);
        }
    }
    // A directory that does not exist yet will lie on the file system of the one above.
    let space = |dir: &PathBuf| dir.ancestors().find_map(|dir| disk.space(dir).ok());
    dirs.into_iter().map(|dir| (dir.clone(), space(&dir))).collect()
}

impl PagePath {
    /// None where it is no target of ours.
    fn parse(target: &str) -> Option<PagePath> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let decoded = |segment: &str| {
            let text = percent_decode_str(segment).decode_utf8().ok()?;
            Some(text.into_owned())
        };
        let path = path.strip_prefix('/')?.split('/').map(decoded).collect::<Option<_>>()?;
        let page = query.split('&').find_map(|part| part.strip_prefix("page=")?.parse().ok());
        Some(PagePath { path, page: page.filter(|page| *page > 0).unwrap_or(1) })
    }
}

/// The page that says who may see stories and mail, and how.
fn forbidden(site: &Site) -> Vec<u8> {
    let html = Html::default().raw(
        "<h1>Only for root and the server's user</h1>\n<section>\
         <p>Mail and stories are shown to root and to the user that the server runs as, who can read \
         their files as well, and only over a connection within this machine, without a proxy.</p>\
         <p>There: <code>sudo curl http://127.0.0.1:9025/mail</code>, or <code>facteur mail list</code> \
         and <code>facteur trace</code> as one of them.</p>\
         <p>From elsewhere, on a machine that only you use, as it opens the port there to everybody: \
         <code>ssh -L 9025:127.0.0.1:9025 root@this-host</code>, and then \
         <code>http://localhost:9025/</code> in your browser.</p></section>\n",
    );
    html.page(site.config.hostname.as_str(), "Only for root and the server's user", Html::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let parse =
            |target| PagePath::parse(target).map(|target| (target.path.join("|"), target.page));
        for (target, path, page) in [
            ("/", "", 1),
            ("/mail/a%40b?page=3", "mail|a@b", 3),
            ("/mail?x=1&page=2", "mail", 2),
            ("/mail?page=0", "mail", 1),
            ("/mail?page=99999999999999999999", "mail", 1),
            ("/mail/..%2fx/", "mail|../x|", 1),
        ] {
            assert_eq!(parse(target), Some((path.to_owned(), page)), "{target}");
        }
        assert_eq!(parse("mail"), None);
        assert_eq!(parse("/%ff"), None);
    }
}
