//! Reads a dialog of `tests/dialogs/`, plays it against the core in memory or over a socket, and
//! says where it differs from what the file expects.
//!
//! A dialog is a text file of lines `key: text`, in the order in which things happen:
//!
//! ```text
//! # path     RFC sections         the first line; more lines with # say why. A line `# BUG ...`
//!                                 says what the server does wrong for now: the dialog has to fail
//! C: EHLO client.test             the client sends this line and CR LF; \ means itself
//! R: NOOP\n\x00                   the client sends these octets, no more
//! S: 250 2.0.0 Ok                 the server says this; `S: 250*` is a whole reply of any lines,
//! S: 250-one                      `S: 250-` one line of a reply whose every line is written out
//! S: (sent)                       what was said up to here is not held back for later replies
//! S: (closed)                     the server closes; where this does not stand it must not
//! C: (tls)                        the handshake; in memory it is skipped
//! C: (close)                      the client closes without a word (so it does at the end)
//! D: ann@mx.test                  a message lies in the new/ of this user: its whole text, or any
//!   | Return-Path: <x@y.test>     when no line with | follows. What no D names must not be there
//!   / no line end                 a last line without its LF
//! D: ann@mx.test/.Junk            the same in a folder of theirs
//! D: queue                        a message lies in the queue: its envelope and its text, in order
//! K: limit.errors = 2             a line of the configuration
//! A: team: ann, bob               a line of mx.test's aliases file, to the letter
//! P: 192.0.2.1                    the client's address; over a socket only 127.*
//! T: submission                   mail from our users: the session is of this service; with
//! T: submission tls               TLS has begun before it. Played in memory only
//! M: old.test/zoe                 a Maildir that is there before
//! ```
//!
//! `C*100:` and `S*100:` stand for a hundred such lines. In every text `{ab*3}` is `ababab`. In R, S
//! and D `\r \n \t \0 \xNN` and a backslash before any other sign are escapes; in S and D `*` is any
//! text, `{id}` a message's id that the server told, `{session}` its session's, `{date}` a date
//! with a numeric zone, of this very moment. The site is that of [`SITE`] and [`USERS`]. What holds
//! for every reply, [`is_well_formed`] looks at and no dialog need say. Who begins a dialog with C or
//! R speaks before the greeting; that and `(sent)` are played in memory only, where time is ours.

use crate::memory::MemoryDisk;
use crate::pattern::{Pattern, is_date, is_well_formed, octets, replies};
use crate::secrecy::{self, Line, Pair};
use crate::support::{PATIENCE, Place, tree};
use facteur::config::Config;
use facteur::conversation::bounds::Bounds;
use facteur::conversation::{Shared, converse};
use facteur::delivery::{Wakers, Writer};
use facteur::handoff::Hints;
use facteur::login::Login;
use facteur::mail::srs::SrsKeys;
use facteur::net::handed::Handed;
use facteur::net::listener::Service;
use facteur::net::registry::{Registry, Standing};
use facteur::net::stream::Wire;
use facteur::net::tls::{Protection, Side};
use facteur::policy::Facts;
use facteur::server::{Server, Spool, open};
use facteur::site::Site;
use facteur::smtp::auth::Bindings;
use facteur::store::body::Budget;
use facteur::store::disk::{Disk, RealDisk};
use facteur::store::queue::Queue;
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Instant;

/// The configuration of every dialog; `K:` adds to it and takes the place of a line of its key.
const SITE: [&str; 6] = [
    r#"hostname = "mx.test""#,
    // Nobody is there, so what is to be relayed stays in the queue.
    r#"relay.smarthost = "127.0.0.1:1""#,
    r#"listen.smtp = ["127.0.0.1:0"]"#,
    r#"domain."mx.test".users = "mx.users""#,
    r#"domain."open.test".any_user = true"#,
    r#"domain."old.test".subaddress = "+""#,
];

/// Where the spool of a dialog is, below its place.
const SPOOL: &str = "facteur-data/spool";
const QUEUE: &str = "facteur-data/spool/queue";

/// Octets that are free in memory; on a real disk it is not much more.
const ROOM: u64 = 1 << 40;

/// Who is at mx.test; at old.test it is whoever has a Maildir.
const USERS: &str = "ann:{PLAIN}x\nbob:{PLAIN}x\nCarol:{PLAIN}x\n";

/// The file of the `A:` lines; only named where there are any.
const ALIASES: &str = r#"domain."mx.test".aliases = "mx.aliases""#;

/// `mx.pem` and `mx.key`, for dialogs with a line `K: tls.`, and who believes them.
static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::of(&["mx.test"]));
static CLIENT: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(secrecy::client);

/// One file of `tests/dialogs/`.
pub struct Dialog {
    pub path: String,
    /// It has to fail: it shows what is wrong in the server.
    pub is_bug: bool,
    config: Vec<String>,
    aliases: Vec<String>,
    client: IpAddr,
    maildirs: Vec<String>,
    service: Service,
    /// TLS has begun already.
    tls: bool,
    steps: Vec<(usize, Step)>,
    deliveries: Vec<Delivery>,
}

#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Expect(Pattern),
    Sent,
    Closed,
    Tls,
    Close,
}

struct Delivery {
    line: usize,
    user: String,
    text: Option<String>,
}

/// How the client of a dialog in memory brings its octets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Waits for the replies that the dialog shows, in pieces of at most so many octets.
    InTurn(usize),
    /// All at once, without waiting for anything.
    AtOnce,
    /// So many octets at once, then it is gone.
    Cut(usize),
}

/// What came of playing a dialog.
pub struct Played {
    /// The lines of each joined by LF.
    replies: Vec<String>,
    /// How many replies there were after each write; none where nobody saw the writes.
    writes: Option<Vec<usize>>,
    closed: bool,
    /// In order of the paths, which are below the site's folder, or absolute where that was left.
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// A place where dialogs may be played: any number in memory, one over a socket.
pub fn stage() -> Place {
    let place = Place::new();
    place.write("mx.users", USERS);
    place
}

impl Dialog {
    /// Fails with file and line on what is not written as the head of this file says.
    pub fn parse(path: &str, text: &str) -> Result<Dialog, String> {
        let client = Ipv4Addr::LOCALHOST.into();
        let (config, aliases, maildirs, steps, deliveries) = Default::default();
        let (path, is_bug) = (path.to_owned(), text.lines().any(|line| line.starts_with("# BUG ")));
        let (service, tls) = (Service::Smtp, false);
        let mut dialog = Dialog {
            path,
            is_bug,
            config,
            aliases,
            client,
            maildirs,
            service,
            tls,
            steps,
            deliveries,
        };
        let mut reply = String::new();
        for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.starts_with('#')) {
            let read = dialog.line(line, text, &mut reply);
            read.map_err(|what| format!("{}:{line}: {what}: {text}", dialog.path))?;
        }
        match reply.is_empty() {
            true => Ok(dialog),
            false => Err(format!("{}: a reply without a last line: {reply}", dialog.path)),
        }
    }

    /// `reply`: the lines so far of one that is written out.
    fn line(&mut self, line: usize, text: &str, reply: &mut String) -> Result<(), String> {
        if let Some((end, text)) = content(text) {
            let last = self.deliveries.last_mut().ok_or("no D: before it")?;
            let whole = last.text.get_or_insert_default();
            whole.push_str(text.strip_prefix(' ').unwrap_or(text));
            whole.push_str(end);
            return Ok(());
        }
        let (key, text) = text.split_once(':').ok_or("no key")?;
        let text = text.strip_prefix(' ').unwrap_or(text);
        let (key, times) = key.split_once('*').unwrap_or((key, "1"));
        let step = match (key, text) {
            ("C", "(close)") => Step::Close,
            ("C", "(tls)") => Step::Tls,
            ("S", "(closed)") => Step::Closed,
            ("S", "(sent)") => Step::Sent,
            ("C", _) => Step::Send([octets(text, false)?, b"\r\n".to_vec()].concat()),
            ("R", _) => Step::Send(octets(text, true)?),
            ("S", _) => {
                reply.push_str(text);
                if text.as_bytes().get(3) == Some(&b'-') {
                    reply.push('\n');
                    return Ok(());
                }
                Step::Expect(Pattern::parse(&std::mem::take(reply))?)
            }
            ("D", _) => {
                self.deliveries.push(Delivery { line, user: text.to_owned(), text: None });
                return Ok(());
            }
            _ => return self.before(key, text),
        };
        let times = times.parse().map_err(|_| "no number of times")?;
        self.steps.extend(std::iter::repeat_n((line, step), times));
        Ok(())
    }

    /// What holds before anybody speaks.
    fn before(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "K" => self.config.push(text.to_owned()),
            "A" => self.aliases.push(text.to_owned()),
            "T" => {
                (self.service, self.tls) = match text {
                    "submission" => (Service::Submission, false),
                    "submission tls" => (Service::Submission, true),
                    _ => return Err("no service".to_owned()),
                }
            }
            "M" => self.maildirs.push(text.to_owned()),
            "P" => self.client = text.parse().map_err(|_| "no address")?,
            _ => return Err("unknown key".to_owned()),
        }
        Ok(())
    }

    /// Whether it can be played over a socket: one of this machine can have the client's address, and
    /// the client waits for the greeting, as nobody knows when the server looks for early octets.
    pub fn has_socket(&self) -> bool {
        let is_smtp = self.service == Service::Smtp;
        self.client.is_ipv4() && self.client.is_loopback() && !self.is_early() && is_smtp
    }

    fn is_early(&self) -> bool {
        matches!(self.steps.first(), Some((_, Step::Send(_))))
    }

    /// All that the client says, in one piece.
    pub fn said(&self) -> Vec<u8> {
        let said = self.steps.iter().filter_map(|(_, step)| match step {
            Step::Send(octets) => Some(&octets[..]),
            Step::Expect(_) | Step::Sent | Step::Closed | Step::Tls | Step::Close => None,
        });
        said.collect::<Vec<_>>().concat()
    }

    /// How much of it is said before TLS begins; all of it where there is none.
    fn clear(&self) -> usize {
        let said = |(_, step): &(usize, Step)| match step {
            Step::Send(octets) => octets.len(),
            _ => 0,
        };
        let is_clear = |(_, step): &&(usize, Step)| !matches!(step, Step::Tls);
        self.steps.iter().take_while(is_clear).map(said).sum()
    }

    /// The site as a session sees it; `place` holds its users and aliases files.
    pub fn site(&self, place: &Place) -> Arc<Site> {
        self.write_aliases(place);
        let config = Config::parse(&self.config(), &place.at("facteur.toml"));
        let (site, _) = Site::read(config.expect("a configuration")).expect("a site");
        Arc::new(site.with_keys(Arc::new(SrsKeys::new(&[7; 32], &[]))))
    }

    /// Plays against the core: no socket, no disk.
    pub fn in_memory(&self, place: &Place, site: &Arc<Site>, pace: Pace) -> Played {
        let memory = MemoryDisk::new();
        memory.set_room(ROOM);
        let disk: Arc<dyn Disk> = Arc::new(memory.clone());
        self.make_maildirs(&*disk, place);
        let (delivery, accepted) = crossbeam_channel::bounded(16);
        let (delivered, _names) = crossbeam_channel::bounded(16);
        let queue = Queue::new(disk.clone(), &place.at(SPOOL));
        queue.make().unwrap();
        let writer = Arc::new(Writer::new(disk.clone(), queue.clone(), "mx.test"));
        let worker = writer.clone();
        let (hints, _hints) = Hints::new(16);
        let wakers = Wakers::new(delivered, hints.clone());
        let (budget, spill) = (Budget::new(1 << 20), "/".into());
        let (login, bounds) = (Login::start().unwrap(), Bounds::default());
        let shared = Shared {
            disk,
            writer: Some(writer),
            delivery,
            budget,
            spill,
            queue,
            hints,
            login,
            bounds,
            gates: Default::default(),
            current: None,
        };
        let (id, client, service) = ("s0123456789abc".to_owned(), self.client, self.service);
        let facts = Facts::new(id, client, service);
        let ticket =
            Arc::new(Registry::default()).enter(None, self.client, Standing::Known, 1, 1).unwrap();
        let mut script = Script::new(&self.steps, pace, self.said(), self.clear(), self.is_early());
        script.tls = self.tls;
        thread::scope(|scope| {
            scope.spawn(|| worker.run(&accepted, &wakers));
            converse(&shared, site, &facts, &ticket, &mut script);
            drop(shared); // ends the delivery thread
        });
        let writes = script.writes.iter().map(|&end| replies(&script.out[..end]).len());
        let writes = Some(writes.collect());
        Played { writes, ..Played::new(&script.out, !script.gone, memory.files(), place) }
    }

    /// Plays against a server of its own.
    pub fn over_a_socket(&self, place: &Place) -> Played {
        self.write_aliases(place);
        self.make_maildirs(&RealDisk, place);
        let config = Config::parse(&self.config(), &place.at("facteur.toml"));
        let config = config.expect("a configuration");
        let listeners = open(&config, Handed::default()).expect("a listener");
        let spool = Spool::open(Arc::new(RealDisk), &config.spool).expect("a spool");
        let (site, _) = Site::read(config).expect("a site");
        let server = Server::start(listeners, site, spool).expect("a server");
        let connection = self.connect(server.addresses()[0]).expect("a connection");
        let (out, closed) = self.talk(connection);
        server.stop();
        let paths = tree(place.path()).into_iter().filter(|path| path.is_file());
        let files = paths.map(|path| (path.clone(), fs::read(&path).unwrap()));
        let tables = ["mx.users", "mx.aliases", "mx.pem", "mx.key"];
        let is_table = |path: &Path| tables.iter().any(|table| path.ends_with(table));
        let files = files.filter(|(path, _)| !is_table(path));
        Played::new(&out, closed, files.collect(), place)
    }

    fn config(&self) -> String {
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        let is_replaced = |line: &str| self.config.iter().any(|other| key(other) == key(line));
        let aliases = Some(ALIASES).filter(|_| !self.aliases.is_empty());
        let lines = SITE.into_iter().chain(aliases).filter(|line| !is_replaced(line));
        lines.chain(self.config.iter().map(String::as_str)).collect::<Vec<_>>().join("\n")
    }

    fn write_aliases(&self, place: &Place) {
        if self.config.iter().any(|line| line.starts_with("tls.")) {
            PAIR.write(place);
        }
        if !self.aliases.is_empty() {
            place.write("mx.aliases", format!("{}\n", self.aliases.join("\n")));
        }
    }

    fn make_maildirs(&self, disk: &dyn Disk, place: &Place) {
        for name in &self.maildirs {
            let cur = place.at("facteur-data/mail").join(name).join("cur");
            let dirs: Vec<&Path> = cur.ancestors().collect();
            for dir in dirs.into_iter().rev() {
                let _ = disk.make_dir(dir); // most are there
            }
        }
    }

    fn connect(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.client, 0).into())?;
        socket.connect(&server.into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_tcp_nodelay(true)?;
        Ok(socket.into())
    }

    /// What the server said, and whether it closed where it should.
    fn talk(&self, stream: TcpStream) -> (Vec<u8>, bool) {
        let mut line = Line::Clear(stream);
        let (mut out, mut expected) = (Vec::new(), 0);
        let mut piece = [0; 4096];
        let mut more = |out: &mut Vec<u8>, line: &mut Line| {
            let read = line.read(&mut piece);
            out.extend_from_slice(&piece[..*read.as_ref().unwrap_or(&0)]);
            read.ok()
        };
        for (_, step) in &self.steps {
            match step {
                // Where the server is gone, replies will be missing.
                Step::Send(octets) => drop(line.write_all(octets)),
                Step::Expect(_) => {
                    expected += 1;
                    while replies(&out).len() < expected && more(&mut out, &mut line) > Some(0) {}
                }
                Step::Closed => {
                    let closed = more(&mut out, &mut line) == Some(0);
                    return (out, closed);
                }
                Step::Sent => {}
                // Where it fails, what is said next is missing.
                Step::Tls => drop(line.secure(&CLIENT)),
                Step::Close => return (out, false),
            }
        }
        let _ = line.tcp().shutdown(Shutdown::Write);
        while more(&mut out, &mut line) > Some(0) {} // what nobody expected
        (out, false)
    }

    /// Compares with what the file expects; says file, line, what was expected and what came.
    pub fn check(&self, played: &Played) -> Result<(), String> {
        let path = &self.path;
        let mut replies = played.replies.iter();
        for (line, step) in &self.steps {
            let Step::Expect(pattern) = step else {
                let so_far = played.replies.len() - replies.len();
                let is_held = |writes: &Vec<usize>| !writes.contains(&so_far);
                if matches!(step, Step::Sent) && played.writes.as_ref().is_some_and(is_held) {
                    return Err(format!("{path}:{line}: the reply before this was held back"));
                }
                continue;
            };
            let reply = replies.next().map_or("(no reply)", String::as_str);
            if !pattern.fits(reply.as_bytes(), &[]) {
                let text = &pattern.text;
                return Err(format!("{path}:{line}: expected\n  {text}\ncame\n  {reply}"));
            }
            if !is_well_formed(reply, !pattern.text.is_ascii()) {
                return Err(format!("{path}:{line}: no reply should look like this:\n  {reply}"));
            }
        }
        if let Some(extra) = replies.next() {
            return Err(format!("{path}: a reply too many:\n  {extra}"));
        }
        match self.steps.iter().any(|(_, step)| matches!(step, Step::Closed)) {
            closed if closed == played.closed => self.check_files(played),
            true => Err(format!("{path}: the server did not close")),
            false => Err(format!("{path}: the server closed")),
        }
    }

    fn check_files(&self, played: &Played) -> Result<(), String> {
        let mut left: Vec<_> = played.files.iter().collect();
        for Delivery { line, user, text } in &self.deliveries {
            let (local, domain) = user.rsplit_once('@').unwrap_or_default();
            let new = match user.as_str() {
                "queue" => format!("{SPOOL}/queue"),
                _ => match domain.split_once('/') {
                    None => format!("facteur-data/mail/{domain}/{local}/new"),
                    Some((domain, folder)) => {
                        format!("facteur-data/mail/{domain}/{local}/{folder}/new")
                    }
                },
            };
            let new = PathBuf::from(new);
            let at = left.iter().position(|(path, _)| path.parent() == Some(&new));
            let at = at.ok_or_else(|| format!("{}:{line}: no message for {user}", self.path))?;
            let (name, found) = left.remove(at);
            let expected = Pattern::parse(text.as_deref().unwrap_or("*"))?;
            let size = format!(",S={}", found.len());
            let is_sized = user == "queue" || name.to_string_lossy().ends_with(&size);
            if !is_sized || !expected.fits(found, &played.ids()) {
                let (path, text, name) = (&self.path, &expected.text, name.display());
                let found = found.escape_ascii().to_string().replace("\\n", "\n");
                return Err(format!("{path}:{line}: expected\n{text}\ncame\n{found}in {name}"));
            }
        }
        match left.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("{}: nobody expected {}", self.path, name.display())),
        }
    }
}

impl Played {
    fn new(out: &[u8], closed: bool, files: Vec<(PathBuf, Vec<u8>)>, place: &Place) -> Played {
        let below =
            |path: PathBuf| path.strip_prefix(place.path()).map(Path::to_owned).unwrap_or(path);
        let files = files.into_iter().map(|(path, text)| (below(path), text));
        // All else of the spool counts: nothing may be left there.
        let is_own = |path: &Path| {
            let own = ["lock", "srs.secret", "login.secret"];
            own.iter().any(|name| path == Path::new(SPOOL).join(name))
                || path.ends_with(".Junk/maildirfolder")
        };
        let files = files.filter(|(path, _)| !is_own(path)).map(|(path, text)| {
            let text = if path.starts_with(QUEUE) { without_journal(text) } else { text };
            (path, text)
        });
        let files = files.collect();
        Played { replies: replies(out), writes: None, closed, files }
    }

    /// Ids of the messages that the server took, in order.
    fn ids(&self) -> Vec<&[u8]> {
        let told = self.replies.iter().filter_map(|reply| reply.split_once(" queued as "));
        told.map(|(_, id)| id.as_bytes()).collect()
    }

    /// Whether what lies on the disk is what was promised, no less and no more.
    pub fn keeps_its_promises(&self) -> bool {
        let is_in = |id: &[u8], text: &[u8]| text.windows(id.len()).any(|part| part == id);
        let (ids, files) = (self.ids(), &self.files);
        ids.iter().all(|id| files.iter().any(|(_, text)| is_in(id, text)))
            && files.iter().all(|(path, text)| {
                path.parent().is_some_and(|dir| dir.ends_with("new") || dir.ends_with("queue"))
                    && ids.iter().any(|id| is_in(id, text))
            })
    }

    /// All that is the same each time: no ids, no dates, no names of files.
    pub fn essence(&self) -> String {
        let files = self.files.iter().map(|(path, text)| {
            let lines = text.split(|&octet| octet == b'\n');
            // A message without a Message-ID gets one of our own.
            let is_new = |line: &[u8]| {
                let date = line.strip_prefix(b"Date: ").unwrap_or(line);
                is_date(date.trim_ascii_start())
                    || line.starts_with(b"queued: ")
                    || line.starts_with(b"Message-ID: <m")
            };
            let lines = lines.filter(|line| !is_new(line));
            let text: String = lines.map(|line| format!("{}\n", line.escape_ascii())).collect();
            format!("{}\n{text}", path.parent().unwrap_or(path).display())
        });
        let all = self.replies.iter().cloned().chain(files).collect::<Vec<_>>().join("\n");
        self.ids().iter().fold(all, |all, id| all.replace(&*String::from_utf8_lossy(id), "ID"))
    }
}

/// A queue file up to the end of its message: what comes behind depends on who has tried meanwhile. Without its
/// checksum and the size on the wire, which are others with each id and date; maildir-fixtures/queue has those
/// that fit.
fn without_journal(mut text: Vec<u8>) -> Vec<u8> {
    let all = String::from_utf8_lossy(&text);
    let header = all.split("\n\n").next().unwrap_or_default();
    let size = header.lines().find_map(|line| line.strip_prefix("size: "));
    let end = header.len() + 2 + size.map_or(0, |size| size.parse().unwrap());
    let is_other = |line: &&str| line.starts_with("checksum: ") || line.starts_with("wire: ");
    let others = header.lines().filter(is_other);
    let others: Vec<_> =
        others.map(|line| (all.find(line).unwrap_or_default(), line.len() + 1)).collect();
    text.truncate(end);
    for (at, length) in others.into_iter().rev() {
        text.drain(at..at + length);
    }
    text
}

/// The client of a dialog as the core sees it.
struct Script<'a> {
    steps: &'a [(usize, Step)],
    pace: Pace,
    input: Vec<u8>,
    /// What is said after the handshake, where nobody waits for turns.
    later: Vec<u8>,
    /// Octets of `input` that were read.
    read: usize,
    out: Vec<u8>,
    /// Length of `out` after each write.
    writes: Vec<usize>,
    expected: usize,
    /// It does not wait for the greeting.
    early: bool,
    /// TLS has begun.
    tls: bool,
    /// It has closed.
    gone: bool,
}

impl Script<'_> {
    fn new(
        steps: &[(usize, Step)],
        pace: Pace,
        mut input: Vec<u8>,
        clear: usize,
        early: bool,
    ) -> Script<'_> {
        match pace {
            Pace::InTurn(_) => input.clear(),
            Pace::AtOnce => {}
            Pace::Cut(octets) => input.truncate(octets),
        }
        let later = input.split_off(clear.min(input.len()));
        let (read, out, writes, expected, gone, tls) = Default::default();
        Script { steps, pace, input, later, read, out, writes, expected, early, tls, gone }
    }

    /// Takes what is said next, if all that is expected before it has come.
    fn go_on(&mut self) {
        while let [(_, step), rest @ ..] = self.steps {
            match step {
                Step::Send(octets) if replies(&self.out).len() >= self.expected => {
                    self.input.extend(octets);
                    self.steps = rest;
                    return;
                }
                Step::Expect(_) => self.expected += 1,
                Step::Sent => {}
                Step::Send(_) | Step::Closed | Step::Tls | Step::Close => return,
            }
            self.steps = rest;
        }
    }
}

impl Wire for Script<'_> {
    fn read(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        let mut count = buffer.len();
        if let Pace::InTurn(piece) = self.pace {
            count = count.min(piece);
            if self.read == self.input.len() {
                self.go_on();
            }
        }
        let left = &self.input[self.read..];
        count = count.min(left.len());
        buffer[..count].copy_from_slice(&left[..count]);
        self.read += count;
        self.gone |= count == 0;
        Ok(count)
    }

    fn write_all(&mut self, octets: &[u8], _: Instant) -> io::Result<()> {
        self.out.extend_from_slice(octets);
        self.writes.push(self.out.len());
        Ok(())
    }

    fn poll_input(&mut self) -> bool {
        match self.out.is_empty() {
            true => self.early,
            false => self.read < self.input.len(),
        }
    }

    fn secure(&mut self, _: Side<'_>, _: Instant) -> io::Result<Protection> {
        let is_tls = |(_, step): &(usize, Step)| matches!(step, Step::Tls);
        let Some(at) = self.steps.iter().position(is_tls) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let before = self.steps[..at].iter();
        self.expected += before.filter(|(_, step)| matches!(step, Step::Expect(_))).count();
        self.steps = &self.steps[at + 1..];
        self.input.append(&mut self.later);
        self.tls = true;
        let suite = "TLS_AES_256_GCM_SHA384".to_owned();
        Ok(Protection { version: "TLSv1.3", suite, group: None, proof: None, flaw: None })
    }

    fn bindings(&self) -> Option<Bindings> {
        self.tls.then(Bindings::default)
    }

    fn finish(&mut self) {}
}

/// What ends a line of a message, and the line; none when the text is no such line.
fn content(text: &str) -> Option<(&'static str, &str)> {
    let text = text.trim_start();
    let ended = text.strip_prefix('|').map(|line| ("\n", line));
    ended.or_else(|| text.strip_prefix('/').map(|line| ("", line)))
}
