//! A web server for tests: HTTPS on 127.0.0.x that gives for each name what it is told, however wrong.

use crate::hosts::tls::behind;
use crate::secrecy::Pair;
use crate::support::PATIENCE;
use rustls::ServerConfig;
use socket2::SockRef;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the server does behind a request.
#[derive(Clone)]
pub enum Page {
    /// Sends these octets, and closes.
    Octets(Vec<u8>),
    /// The same, but nothing behind them until the client goes.
    Held(Vec<u8>),
    /// Sends the first, then the others again and again, a piece every so many milliseconds.
    Drip(Vec<u8>, Vec<u8>, u64),
    /// Resets the connection once these octets are out.
    Reset(Vec<u8>),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name of the handshake.
    pub name: String,
    /// `GET /path`
    pub what: String,
    /// Lines of the header, in lower case.
    pub header: Vec<String>,
    pub body: Vec<u8>,
}

/// A listening server; gone when it is dropped, with all its connections.
pub struct Webd {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tls: Arc<ServerConfig>,
    pages: Mutex<HashMap<String, Page>>,
    asked: Mutex<Vec<Asked>>,
    streams: Mutex<Vec<TcpStream>>,
    is_over: AtomicBool,
}

impl Page {
    /// An answer as good servers send it.
    pub fn of(status: u16, media: &str, body: &str) -> Page {
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: {media}\r\nContent-Length: {length}\r\n\r\n"
        );
        Page::Octets(format!("{head}{body}").into_bytes())
    }

    /// A text that was found.
    pub fn text(body: &str) -> Page {
        Page::of(200, "text/plain", body)
    }
}

impl Webd {
    /// On a free port of 127.0.0.1; all names have no page.
    pub fn new(pair: &Pair) -> Webd {
        Webd::at(TcpListener::bind("127.0.0.1:0").unwrap(), pair)
    }

    /// Where somebody listens already.
    pub fn at(listener: TcpListener, pair: &Pair) -> Webd {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            tls: pair.server(),
            pages: Mutex::default(),
            asked: Mutex::default(),
            streams: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let own = shared.clone();
        thread::spawn(move || own.serve(&listener));
        Webd { address, shared }
    }

    /// From now on this name has this page, whatever the path.
    pub fn set(&self, name: &str, page: Page) {
        self.shared.pages.lock().unwrap().insert(name.to_owned(), page);
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often a name was asked.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|asked| asked.name == name).count()
    }
}

impl Drop for Webd {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(self: Arc<Shared>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(SeqCst) {
                return;
            }
            let (Ok(stream), shared) = (stream, self.clone()) else { continue };
            shared.streams.lock().unwrap().extend(stream.try_clone());
            thread::spawn(move || shared.connection(&stream));
        }
    }

    fn connection(&self, outside: &TcpStream) -> Option<()> {
        outside.set_read_timeout(Some(PATIENCE)).ok()?;
        let (inside, name) = behind(outside, self.tls.clone(), &[])?;
        let mut reader = BufReader::new(inside.try_clone().ok()?);
        let (mut lines, mut length) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            let small = line.to_ascii_lowercase();
            if let Some(number) = small.strip_prefix("content-length: ") {
                length = number.parse().ok()?;
            }
            lines.push(line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let what = lines.first()?.rsplit_once(' ')?.0.to_owned();
        let header = lines[1..].iter().map(|line| line.to_ascii_lowercase()).collect();
        let page = self.pages.lock().unwrap().get(&name).cloned();
        self.asked.lock().unwrap().push(Asked { name, what, header, body });
        let none = || Page::of(404, "text/plain", "");
        give(page.unwrap_or_else(none), outside, &inside, &mut reader)
    }
}

fn give(
    page: Page,
    outside: &TcpStream,
    mut inside: &TcpStream,
    reader: &mut impl Read,
) -> Option<()> {
    match page {
        Page::Octets(octets) => {
            inside.write_all(&octets).ok()?;
            inside.shutdown(Shutdown::Write).ok()?;
        }
        Page::Held(octets) => inside.write_all(&octets).ok()?,
        Page::Drip(first, again, pause) => {
            inside.write_all(&first).ok()?;
            loop {
                inside.write_all(&again).ok()?;
                thread::sleep(Duration::from_millis(pause));
            }
        }
        Page::Reset(octets) => {
            inside.write_all(&octets).ok()?;
            // What was sent has to be on its way, or it is lost with the rest.
            thread::sleep(Duration::from_millis(20));
            SockRef::from(outside).set_linger(Some(Duration::ZERO)).ok()?;
            outside.shutdown(Shutdown::Both).ok()?;
            return None;
        }
    }
    // Until the client goes.
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).map(drop).ok()
}
