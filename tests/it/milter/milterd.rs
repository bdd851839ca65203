//! A scripted filter: it listens, notes each packet that it gets, and answers as a test wants.

use crate::support::Place;
use facteur::config::{Milter, MilterRights, MilterService, MilterSocket, MilterTimeout};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Longer than a busy machine takes.
pub const LONG: Duration = Duration::from_secs(20);

/// What a filter does with a packet.
pub enum Does {
    /// Sends these octets.
    Says(Vec<u8>),
    /// Sends these octets, each by itself.
    Drips(Vec<u8>),
    /// Sends these octets and closes.
    Closes(Vec<u8>),
    /// Sends these octets, and nothing more for ever.
    Hangs(Vec<u8>),
}

/// Which connection, the letter, and the data.
pub type Script = dyn Fn(usize, u8, &[u8]) -> Does + Send + Sync;

/// The packets of one connection.
pub type Packets = Vec<(u8, Vec<u8>)>;

pub struct Milterd {
    pub socket: MilterSocket,
    heard: Arc<Mutex<Vec<Packets>>>,
}

/// A packet with this letter and data.
pub fn packet(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat()
}

/// The answer to an offer.
pub fn options(version: u32, actions: u32, steps: u32) -> Vec<u8> {
    packet([b"O", &[version, actions, steps].map(u32::to_be_bytes).concat()[..]].concat())
}

/// What a filter says to steps that no test is about.
pub fn usual(letter: u8) -> Does {
    match letter {
        b'O' => Does::Says(options(6, 0x1ff, 0)),
        b'D' | b'A' | b'K' => Does::Says(Vec::new()),
        b'Q' => Does::Closes(Vec::new()),
        _ => Does::Says(packet("c")),
    }
}

impl Milterd {
    /// On a Unix socket in a place.
    pub fn unix(
        place: &Place,
        name: &str,
        script: impl Fn(usize, u8, &[u8]) -> Does + Send + Sync + 'static,
    ) -> Milterd {
        let path: PathBuf = place.at(name);
        let listener = UnixListener::bind(&path).unwrap();
        let accept = move || listener.accept().map(|(stream, _)| stream).ok();
        Milterd::run(MilterSocket::Unix(path), accept, script)
    }

    /// On a port of this machine.
    pub fn tcp(script: impl Fn(usize, u8, &[u8]) -> Does + Send + Sync + 'static) -> Milterd {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accept = move || listener.accept().map(|(stream, _)| stream).ok();
        let host = facteur::config::HostPort { host: "127.0.0.1".to_owned(), port: address.port() };
        Milterd::run(MilterSocket::Inet(host), accept, script)
    }

    fn run<S: Read + Write + Send + 'static>(
        socket: MilterSocket,
        accept: impl Fn() -> Option<S> + Send + 'static,
        script: impl Fn(usize, u8, &[u8]) -> Does + Send + Sync + 'static,
    ) -> Milterd {
        let heard = Arc::new(Mutex::new(Vec::<Packets>::new()));
        let (noted, script): (_, Arc<Script>) = (heard.clone(), Arc::new(script));
        let count = AtomicUsize::new(0);
        thread::spawn(move || {
            while let Some(stream) = accept() {
                let index = count.fetch_add(1, Ordering::Relaxed);
                noted.lock().unwrap().push(Vec::new());
                let (noted, script) = (noted.clone(), script.clone());
                thread::spawn(move || serve(stream, index, &noted, &*script));
            }
        });
        Milterd { socket, heard }
    }

    /// All packets up to now, by connections.
    pub fn heard(&self) -> Vec<Packets> {
        self.heard.lock().unwrap().clone()
    }

    /// The letters of a connection's packets, without macros.
    pub fn letters(&self, connection: usize) -> String {
        let heard = self.heard();
        let letters = heard.get(connection).into_iter().flatten().map(|(letter, _)| *letter);
        letters.filter(|letter| *letter != b'D').map(char::from).collect()
    }

    /// The configuration of this filter: it may do everything.
    pub fn config(&self, name: &str) -> Milter {
        Milter {
            name: name.to_owned(),
            socket: self.socket.clone(),
            services: MilterService::ALL.to_vec(),
            timeout: MilterTimeout { connect: LONG, command: LONG, message: LONG },
            is_passed: false,
            may: MilterRights {
                header: true,
                body: true,
                recipients: true,
                sender: true,
                quarantine: true,
            },
        }
    }
}

fn serve(
    mut stream: impl Read + Write,
    index: usize,
    noted: &Mutex<Vec<Packets>>,
    script: &Script,
) {
    let mut length = [0; 4];
    while stream.read_exact(&mut length).is_ok() {
        let mut packet = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut packet).is_err() {
            return;
        }
        let (letter, data) = packet.split_first().unwrap();
        noted.lock().unwrap()[index].push((*letter, data.to_vec()));
        let (octets, is_over) = match script(index, *letter, data) {
            Does::Says(octets) => (octets, false),
            Does::Closes(octets) => (octets, true),
            Does::Drips(octets) => {
                if octets.chunks(1).any(|octet| stream.write_all(octet).is_err()) {
                    return;
                }
                (Vec::new(), false)
            }
            Does::Hangs(octets) => {
                let _ = stream.write_all(&octets);
                // Until the server gives it up.
                let _ = stream.read(&mut [0]);
                return;
            }
        };
        if stream.write_all(&octets).is_err() || is_over {
            return;
        }
    }
}
