//! Other hosts for tests: SMTP servers on 127.0.0.x that do what a few lines say, however wrong.
//!
//! A script is a text of lines `WHEN: WHAT`. WHEN is the beginning of a command (`RCPT TO:<bob@`), or
//! `greeting`, or `.` for the end of a message; `MAIL*2` only counts for the first two such commands
//! of all connections. The first line that fits is taken; what none speaks of is answered by
//! [`DEFAULTS`], so that `Host::start("")` is a good host. WHAT is, separated by ` | `:
//!
//! ```text
//! 250 ok            this line; \xNN and {x*100} as in dialogs (crate::pattern)
//! (raw 25)          these octets and no line end
//! (pieces 1)        from here on octets go out so many at a time
//! (wait 100)        so many milliseconds
//! (take 1000)       reads so many octets
//! (silent)          says and reads nothing more until the client goes
//! (endless 250-x)   this line again and again until the client goes
//! (drip x)          the same, an octet every 20 ms
//! (note tired)      seen as the command `tired`, once what stands before it was said
//! (close) (reset)   the connection
//! (tls)             the handshake, with the certificate of [`Host::with`]; seen as the command
//!                   `(tls NAME)` with the name that was asked for
//! (tls 250 ok)      the same, with this line in one write with our part of the handshake
//! ```
//!
//! Nothing at all (`MAIL: `) leaves the command without a reply. Lines up to the next act go out in
//! one write.

pub mod tls;

use crate::pattern::octets;
use crate::secrecy::Pair;
use crate::support::PATIENCE;
use rustls::ServerConfig;
use socket2::SockRef;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// What a good host says.
const DEFAULTS: &str = "\
    greeting: 220 host.test ESMTP
    EHLO: 250-host.test | 250-PIPELINING | 250-SIZE 10000000 | 250-8BITMIME | 250-SMTPUTF8 | 250 DSN
    HELO: 250 host.test
    MAIL: 250 2.1.0 ok
    RCPT: 250 2.1.5 ok
    DATA: 354 go
    .: 250 2.0.0 taken
    RSET: 250 2.0.0 ok
    QUIT: 221 2.0.0 bye | (close)
    : 502 5.5.1 what";

/// A listening host; gone when it is dropped, with all its connections.
pub struct Host {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

/// A message that came up to its final dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// What stood between the angle brackets.
    pub from: String,
    /// Those that were answered with 2xx.
    pub to: Vec<String>,
    /// With CR LF, without doubled dots.
    pub octets: Vec<u8>,
    /// Whether it was answered with 2xx.
    pub is_taken: bool,
}

/// What a host has seen so far.
#[derive(Clone, Default)]
pub struct Seen {
    pub connections: usize,
    /// All command lines, of all connections.
    pub commands: Vec<String>,
    pub mail: Vec<Mail>,
}

struct Shared {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Seen>,
    streams: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

struct Rule {
    when: String,
    /// How often it still counts.
    times: usize,
    what: Vec<Act>,
}

#[derive(Clone)]
enum Act {
    Say(Vec<u8>),
    Pieces(usize),
    Wait(Duration),
    Take(usize),
    Silent,
    Endless(Vec<u8>),
    Drip(Vec<u8>),
    Note(String),
    Close,
    Reset,
    Tls(Vec<u8>),
}

impl Host {
    /// On a free port of 127.0.0.1.
    pub fn start(script: &str) -> Host {
        Host::on("127.0.0.1:0", script)
    }

    /// On a free port of 127.0.0.1, with a certificate; it offers STARTTLS unless the script says
    /// something else.
    pub fn with(pair: &Pair, script: &str) -> Host {
        let script = format!("{script}\n{}", tls::DEFAULTS);
        Host::of("127.0.0.1:0", &script, Some(pair.server()))
    }

    /// On another address, such as 127.0.0.2, and the port of a host that is there already: all MX
    /// hosts listen on one.
    pub fn beside(other: &Host, ip: &str, script: &str) -> Host {
        Host::on(&format!("{ip}:{}", other.address.port()), script)
    }

    /// On an address and port; 0 is a free one.
    pub fn on(address: &str, script: &str) -> Host {
        Host::of(address, script, None)
    }

    /// Where somebody listens already.
    pub fn at(listener: TcpListener, script: &str) -> Host {
        Host::listening(listener, script, None)
    }

    /// The same with a certificate.
    pub fn secure_at(listener: TcpListener, tls: Arc<ServerConfig>, script: &str) -> Host {
        Host::listening(listener, &format!("{script}\n{}", tls::DEFAULTS), Some(tls))
    }

    fn of(address: &str, script: &str, tls: Option<Arc<ServerConfig>>) -> Host {
        Host::listening(TcpListener::bind(address).unwrap(), script, tls)
    }

    fn listening(listener: TcpListener, script: &str, tls: Option<Arc<ServerConfig>>) -> Host {
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            rules: Mutex::new(rules(script).chain(rules(DEFAULTS)).collect()),
            seen: Mutex::default(),
            streams: Mutex::default(),
            is_over: AtomicBool::new(false),
            tls,
        };
        let shared = Arc::new(shared);
        let host = Host { address, shared: shared.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
                shared.seen().connections += 1;
                let shared = shared.clone();
                thread::spawn(move || Talk::new(&shared, stream).run());
            }
        });
        host
    }

    /// From now on these lines stand before all others: a host that comes to its senses.
    pub fn change(&self, script: &str) {
        let mut all = self.shared.rules.lock().unwrap();
        all.splice(0..0, rules(script));
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// All messages that were answered with 2xx.
    pub fn mail(&self) -> Vec<Mail> {
        self.seen().mail.into_iter().filter(|mail| mail.is_taken).collect()
    }

    /// How many commands began so.
    pub fn count(&self, start: &str) -> usize {
        self.shared.seen().commands.iter().filter(|line| line.starts_with(start)).count()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(self.address); // wakes the accepting thread
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// What to do about this command.
    fn what(&self, command: &str) -> Vec<Act> {
        let command = command.to_ascii_uppercase();
        let mut rules = self.rules.lock().unwrap();
        let fits = |rule: &&mut Rule| command.starts_with(&rule.when) && rule.times > 0;
        let rule = rules.iter_mut().find(fits).expect("the last default fits all");
        rule.times -= 1;
        rule.what.clone()
    }
}

/// One connection; an error ends it.
struct Talk<'a> {
    shared: &'a Shared,
    stream: TcpStream,
    input: BufReader<TcpStream>,
    pieces: usize,
}

type Ended = Option<()>;

impl Talk<'_> {
    fn new(shared: &Shared, stream: TcpStream) -> Talk<'_> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let input = BufReader::new(stream.try_clone().unwrap());
        Talk { shared, stream, input, pieces: usize::MAX }
    }

    /// None when it is over, as in all that follows.
    fn run(&mut self) -> Ended {
        self.act("greeting")?;
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = String::from_utf8_lossy(&self.line()?).trim_end().to_owned();
            self.shared.seen().commands.push(line.clone());
            let code = self.act(&line)?;
            let path = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match (line.get(..4).unwrap_or_default().to_ascii_uppercase().as_str(), code) {
                ("MAIL", b'2') => (from, to) = (path, Vec::new()),
                ("RCPT", b'2') => to.push(path),
                ("DATA", b'3') => self.message(&from, std::mem::take(&mut to))?,
                _ => {}
            }
        }
    }

    fn message(&mut self, from: &str, to: Vec<String>) -> Ended {
        let mut octets = Vec::new();
        loop {
            let line = self.line()?;
            if line == b".\r\n" {
                break;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        // Seen before it is answered: who hears the answer finds it there.
        let what = self.shared.what(".");
        let is_taken = what.iter().any(|act| matches!(act, Act::Say(text) if is_yes(text)));
        let mail = Mail { from: from.to_owned(), to, octets, is_taken };
        self.shared.seen().mail.push(mail);
        self.do_all(&what).map(|_| ())
    }

    /// A line with its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.input.read_until(b'\n', &mut line).ok()?;
        line.ends_with(b"\n").then_some(line)
    }

    /// Does what is to be done; gives the first digit of what was said.
    fn act(&mut self, command: &str) -> Option<u8> {
        let what = self.shared.what(command);
        self.do_all(&what)
    }

    fn do_all(&mut self, what: &[Act]) -> Option<u8> {
        let mut code = 0;
        for act in what {
            match act {
                Act::Say(text) => {
                    code = if code == 0 { text.first().copied().unwrap_or(0) } else { code };
                    self.say(text)?;
                }
                Act::Pieces(size) => self.pieces = *size,
                Act::Wait(time) => drop(self.is_gone_after(*time)),
                Act::Take(count) => self.input.read_exact(&mut vec![0; *count]).ok()?,
                Act::Silent => while !self.is_gone_after(PATIENCE) {},
                Act::Endless(line) => {
                    let many = line.repeat(1000);
                    while self.stream.write_all(&many).is_ok() {}
                    return None;
                }
                Act::Drip(text) => {
                    let mut drops = text.iter().cycle();
                    while !self.is_gone_after(Duration::from_millis(20)) {
                        self.stream.write_all(&[*drops.next()?]).ok()?;
                    }
                    return None;
                }
                Act::Note(text) => self.shared.seen().commands.push(text.clone()),
                Act::Close => return self.close(),
                Act::Tls(early) => {
                    let config = self.shared.tls.clone()?;
                    let (stream, name) = tls::behind(&self.stream, config, early)?;
                    self.shared.seen().commands.push(format!("(tls {name})"));
                    self.stream = stream;
                    self.input = BufReader::new(self.stream.try_clone().ok()?);
                    // Ends with the host as well.
                    self.shared.streams.lock().unwrap().push(self.stream.try_clone().ok()?);
                }
                Act::Reset => {
                    let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    // All copies have to go for the kernel to reset it.
                    self.shared.streams.lock().unwrap().clear();
                    return None;
                }
            }
        }
        Some(code)
    }

    fn say(&mut self, text: &[u8]) -> Ended {
        text.chunks(self.pieces.min(text.len().max(1)))
            .try_for_each(|piece| self.stream.write_all(piece))
            .ok()
    }

    /// Waits without reading; true when the client has closed by then.
    fn is_gone_after(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            let _ = self.stream.set_nonblocking(true);
            let peeked = self.stream.peek(&mut [0]);
            let _ = self.stream.set_nonblocking(false);
            let is_gone = match peeked {
                Ok(octets) => octets == 0,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if is_gone || self.shared.is_over.load(Ordering::SeqCst) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    /// Without a reset: what the client has sent is read away.
    fn close(&mut self) -> Option<u8> {
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = std::io::copy(&mut self.input, &mut std::io::sink());
        let _ = self.stream.shutdown(Shutdown::Both);
        None
    }
}

/// Whether a text begins with a whole reply of 2xx.
fn is_yes(text: &[u8]) -> bool {
    let mut lines = text.split_inclusive(|octet| *octet == b'\n');
    let is_last = |line: &&[u8]| line.ends_with(b"\n") && line.get(3) == Some(&b' ');
    text.starts_with(b"2") && lines.any(|line| is_last(&line))
}

fn rules(script: &str) -> impl Iterator<Item = Rule> {
    script.lines().map(str::trim_start).filter(|line| !line.is_empty()).map(|line| {
        // The last default is for every command: nothing stands before its colon.
        let (when, what) = match line.strip_prefix(": ") {
            Some(what) => ("", what),
            None => line.split_once(": ").unwrap_or((line.trim_end().trim_end_matches(':'), "")),
        };
        let (when, times) = match when.rsplit_once('*') {
            Some((when, times)) => (when, times.parse().expect("WHEN*times")),
            None => (when, usize::MAX),
        };
        Rule { when: when.to_ascii_uppercase(), times, what: acts(what) }
    })
}

fn acts(what: &str) -> Vec<Act> {
    let mut acts: Vec<Act> = Vec::new();
    for part in what.split(" | ").map(str::trim).filter(|part| !part.is_empty()) {
        let act = part.strip_prefix('(').and_then(|part| part.strip_suffix(')'));
        let (verb, text) = act.map_or(("", part), |act| act.split_once(' ').unwrap_or((act, "")));
        let number = || text.parse().unwrap_or_else(|_| panic!("{part}: no number"));
        let raw = || octets(text, true).unwrap();
        let line = || [raw(), b"\r\n".to_vec()].concat();
        let act = match verb {
            "" => Act::Say(line()),
            "raw" => Act::Say(raw()),
            "pieces" => Act::Pieces(number()),
            "wait" => Act::Wait(Duration::from_millis(number() as u64)),
            "take" => Act::Take(number()),
            "silent" => Act::Silent,
            "endless" => Act::Endless(line()),
            "drip" => Act::Drip(raw()),
            "note" => Act::Note(text.to_owned()),
            "close" => Act::Close,
            "reset" => Act::Reset,
            "tls" if text.is_empty() => Act::Tls(Vec::new()),
            "tls" => Act::Tls(line()),
            _ => panic!("{part}: no act of a host"),
        };
        match (acts.last_mut(), act) {
            (Some(Act::Say(before)), Act::Say(text)) => before.extend(text),
            (_, act) => acts.push(act),
        }
    }
    acts
}
