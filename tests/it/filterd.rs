//! Filters for tests: milters on 127.0.0.1 or at a Unix socket that do what a few lines say, however wrong.
//!
//! A script is a text of lines `WHEN: WHAT`. WHEN is the beginning of what the filter hears, as [`Filter::seen`] has
//! it: `connect`, `helo`, `mail <ann@`, `rcpt <bob@`, `data`, `header Subject`, `eoh`, `body`, `end`; or
//! `negotiate`. `rcpt*2` counts for the first two only. The first line that fits is taken; what none speaks of is
//! answered `continue`. WHAT is, separated by ` | `:
//!
//! ```text
//! continue accept reject tempfail discard skip progress shutdown connfail
//! reply 550 5.7.1 no         an answer in these words
//! add X-A: b                 a field at the end of the header
//! insert 0 X-A: b            a field at a place
//! change 1 Subject: x        the first Subject; without a value it goes
//! body text                  a part of another body; \n is CR LF
//! rcpt+ <a@b> rcpt- <a@b>    a recipient
//! from <a@b>                 the sender
//! quarantine why
//! options 6 511 0            version, actions and steps of the negotiation
//! (raw 00000000)             these octets, as they are
//! (wait 100) (silent) (close)
//! ```

use crate::support::Place;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What is offered and wanted where the script says nothing: version 6, all actions, all steps with the space
/// behind a field's colon.
const OPTIONS: &str = "options 6 511 1048576";

/// A listening filter; gone when it is dropped, with all its connections.
pub struct Filter {
    /// As the configuration names it.
    pub socket: String,
    address: Address,
    shared: Arc<Shared>,
}

enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<String>>,
    ends: Mutex<Vec<Box<dyn Stream>>>,
    connections: Mutex<usize>,
    is_over: AtomicBool,
}

#[derive(Clone)]
struct Rule {
    when: String,
    times: usize,
    what: Vec<String>,
}

trait Stream: Read + Write + Send {
    fn another(&self) -> Box<dyn Stream>;
    fn end(&self);
}

impl Stream for TcpStream {
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for UnixStream {
    fn another(&self) -> Box<dyn Stream> {
        Box::new(self.try_clone().unwrap())
    }

    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

fn rules(script: &str) -> Vec<Rule> {
    let line = |line: &str| {
        let (when, what) = line.trim().split_once(": ").unwrap_or_else(|| panic!("{line}"));
        let (when, times) = match when.rsplit_once('*') {
            Some((when, times)) => (when, times.parse().unwrap()),
            None => (when, usize::MAX),
        };
        let what = what.split(" | ").map(|act| act.trim().to_owned()).collect();
        Rule { when: when.to_owned(), times, what }
    };
    script.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

impl Filter {
    /// On a free port of 127.0.0.1.
    pub fn start(script: &str) -> Filter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { rules: Mutex::new(rules(script)), ..Shared::default() });
        let all = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                if !serve(&all, Box::new(stream)) {
                    return;
                }
            }
        });
        Filter { socket: format!("inet:{address}"), address: Address::Inet(address), shared }
    }

    /// At a Unix socket in that place.
    pub fn unix(place: &Place, name: &str, script: &str) -> Filter {
        let path = place.at(name);
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let shared = Arc::new(Shared { rules: Mutex::new(rules(script)), ..Shared::default() });
        let all = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if !serve(&all, Box::new(stream.unwrap())) {
                    return;
                }
            }
        });
        Filter { socket: format!("unix:{}", path.display()), address: Address::Unix(path), shared }
    }

    /// Its table in the configuration, with more lines.
    pub fn table(&self, name: &str, more: &str) -> String {
        format!("[[milter]]\nname = \"{name}\"\nsocket = \"{}\"\n{more}\n", self.socket)
    }

    /// All that it heard: commands with their arguments, and before each the macros, `macros mail i=... `.
    pub fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The commands that begin so.
    pub fn heard(&self, start: &str) -> Vec<String> {
        self.seen().into_iter().filter(|line| line.starts_with(start)).collect()
    }

    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// From now on these lines stand before all others.
    pub fn change(&self, script: &str) {
        self.shared.rules.lock().unwrap().splice(0..0, rules(script));
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.ends.lock().unwrap().drain(..).for_each(|stream| stream.end());
        // Wakes the accepting thread.
        match &self.address {
            Address::Inet(address) => drop(TcpStream::connect(address)),
            Address::Unix(path) => {
                drop(UnixStream::connect(path));
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// False when the filter is gone.
fn serve(shared: &Arc<Shared>, stream: Box<dyn Stream>) -> bool {
    if shared.is_over.load(Ordering::SeqCst) {
        return false;
    }
    *shared.connections.lock().unwrap() += 1;
    shared.ends.lock().unwrap().push(stream.another());
    let shared = shared.clone();
    thread::spawn(move || {
        let ended = Talk { shared: &shared, stream: stream.another() }.run();
        drop(ended);
        stream.end();
    });
    true
}

struct Talk<'a> {
    shared: &'a Shared,
    stream: Box<dyn Stream>,
}

/// The stages by their letters.
fn stage(letter: u8) -> &'static str {
    match letter {
        b'O' => "negotiate",
        b'C' => "connect",
        b'H' => "helo",
        b'M' => "mail",
        b'R' => "rcpt",
        b'T' => "data",
        b'L' => "header",
        b'N' => "eoh",
        b'B' => "body",
        b'E' => "end",
        b'A' => "abort",
        b'Q' => "quit",
        b'K' => "next",
        _ => "unknown",
    }
}

impl Talk<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let mut packet = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut packet)?;
            let (letter, data) = (packet[0], &packet[1..]);
            if letter == b'D' {
                let text =
                    words(&data[1..]).chunks(2).map(|pair| pair.join("=")).collect::<Vec<_>>();
                self.note(format!("macros {} {}", stage(data[0]), text.join(" ")));
                continue;
            }
            let line = match letter {
                b'O' => "negotiate".to_owned(),
                b'B' => format!("body {}", String::from_utf8_lossy(data)),
                b'L' => {
                    let words = words(data);
                    format!("header {}:{}", words[0], words[1])
                }
                b'C' => connected(data),
                _ => [&[stage(letter).to_owned()], &words(data)[..]].concat().join(" "),
            };
            self.note(line.clone());
            match letter {
                b'Q' => return Ok(()),
                b'A' | b'K' => continue,
                _ => {}
            }
            for act in self.what(&line) {
                self.act(&act)?;
            }
        }
    }

    fn note(&self, line: String) {
        self.shared.seen.lock().unwrap().push(line.trim_end().to_owned());
    }

    fn what(&self, line: &str) -> Vec<String> {
        let mut rules = self.shared.rules.lock().unwrap();
        match rules.iter_mut().find(|rule| rule.times > 0 && line.starts_with(&rule.when)) {
            Some(rule) => {
                rule.times -= 1;
                rule.what.clone()
            }
            None if line == "negotiate" => vec![OPTIONS.to_owned()],
            None => vec!["continue".to_owned()],
        }
    }

    fn act(&mut self, act: &str) -> io::Result<()> {
        let (word, rest) = act.split_once(' ').unwrap_or((act, ""));
        let field = |rest: &str| {
            let (name, value) = rest.split_once(':').unwrap_or((rest, ""));
            let value = value.replace("\\n", "\n");
            [name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat()
        };
        let placed = |rest: &str| {
            let (at, rest) = rest.split_once(' ').unwrap();
            [&at.parse::<u32>().unwrap().to_be_bytes()[..], &field(rest)].concat()
        };
        let text = [rest.as_bytes(), b"\0"].concat();
        let (letter, data) = match word {
            "continue" => (b'c', vec![]),
            "accept" => (b'a', vec![]),
            "reject" => (b'r', vec![]),
            "tempfail" => (b't', vec![]),
            "discard" => (b'd', vec![]),
            "skip" => (b's', vec![]),
            "progress" => (b'p', vec![]),
            "shutdown" => (b'4', vec![]),
            "connfail" => (b'f', vec![]),
            "reply" => (b'y', text),
            "add" => (b'h', field(rest)),
            "insert" => (b'i', placed(rest)),
            "change" => (b'm', placed(rest)),
            "body" => (b'b', rest.replace("\\n", "\r\n").into_bytes()),
            "rcpt+" => (b'+', text),
            "rcpt-" => (b'-', text),
            "from" => (b'e', text),
            "quarantine" => (b'q', text),
            "options" => {
                let numbers = rest.split(' ').map(|n| n.parse::<u32>().unwrap().to_be_bytes());
                (b'O', numbers.collect::<Vec<_>>().concat())
            }
            "(raw" => {
                let hex = rest.trim_end_matches(')');
                let octet = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
                let octets: Vec<u8> = (0..hex.len()).step_by(2).map(octet).collect();
                return self.stream.write_all(&octets);
            }
            "(wait" => {
                let time = rest.trim_end_matches(')').parse().unwrap();
                thread::sleep(Duration::from_millis(time));
                return Ok(());
            }
            // Until the other side goes.
            "(silent)" => return self.stream.read_exact(&mut vec![0; 1 << 24]),
            "(close)" => return Err(io::ErrorKind::ConnectionAborted.into()),
            other => panic!("{other:?} is nothing that a filter does"),
        };
        let length = u32::try_from(1 + data.len()).unwrap().to_be_bytes();
        self.stream.write_all(&[&length[..], &[letter], &data].concat())
    }
}

/// What stands between NULs.
fn words(data: &[u8]) -> Vec<String> {
    let data = data.strip_suffix(b"\0").unwrap_or(data);
    data.split(|octet| *octet == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Name, family and address of a client; its port is another one each time.
fn connected(data: &[u8]) -> String {
    let end = data.iter().position(|octet| *octet == 0).unwrap();
    let (name, rest) = (String::from_utf8_lossy(&data[..end]), &data[end + 1..]);
    match rest[0] {
        b'U' => format!("connect {name} U"),
        family => format!("connect {name} {} {}", char::from(family), words(&rest[3..])[0]),
    }
}
