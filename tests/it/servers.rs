//! Servers for tests: the real binary as a child whose log is read, and one inside this process.

use crate::client::Client;
use crate::support::{PATIENCE, Place, within};
use facteur::config::Config;
use facteur::net::handed::Handed;
use facteur::server::{Server, Spool, open};
use facteur::site::Site;
use facteur::store::disk::{Disk, RealDisk};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// The binary under test.
pub const FACTEUR: &str = env!("CARGO_BIN_EXE_facteur");

/// The binary, serving; killed when it is dropped.
pub struct Binary {
    child: Child,
    log: Arc<Log>,
    pub address: SocketAddr,
}

#[derive(Default)]
struct Log {
    /// With whether stderr has ended.
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

impl Binary {
    /// Writes the configuration to `facteur.toml` in that place and serves it.
    pub fn serve(place: &Place, config: &str) -> Binary {
        let file = place.write("facteur.toml", config);
        let mut command = Command::new(FACTEUR);
        command.arg("-c").arg(file).arg("serve");
        Binary::start(command)
    }

    /// Starts a command that becomes a serving facteur, and waits until it listens.
    pub fn start(mut command: Command) -> Binary {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Binary::start_with_streams(command)
    }

    /// The same, with the stdin and stdout that the command has.
    pub fn start_with_streams(mut command: Command) -> Binary {
        command.env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let copy = log.clone();
        thread::spawn(move || copy.read(stderr));
        let address = SocketAddr::from(([0; 4], 0));
        let mut binary = Binary { child, log, address };
        let line = binary.wait_for(&["listening service=smtp "]);
        binary.address = value(&line, "address").unwrap().parse().unwrap();
        binary
    }

    /// Waits for a log line that holds all these texts, and gives it.
    pub fn wait_for(&self, texts: &[&str]) -> String {
        let fits = |line: &&String| texts.iter().all(|text| line.contains(text));
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.lines.lock().unwrap();
        loop {
            if let Some(line) = state.0.iter().find(fits) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!state.1 && !left.is_zero(), "no log line with {texts:?} in {:#?}", state.0);
            state = self.log.more.wait_timeout(state, left).unwrap().0;
        }
    }

    /// All log lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().0.clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its short name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.pid());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }

    /// Waits until it has ended, and its log with it.
    pub fn wait_end(&mut self, time: Duration) -> ExitStatus {
        let mut ended = None;
        let in_time = within(time, || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(in_time, "still running after {time:?}: {:#?}", self.lines());
        assert!(within(PATIENCE, || self.log.lines.lock().unwrap().1));
        ended.unwrap()
    }

    /// SIGTERM, and an end without complaint.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait_end(PATIENCE);
        assert_eq!(status.code(), Some(0), "{:#?}", self.lines());
    }

    /// A session that has said EHLO.
    pub fn client(&self) -> Client {
        Client::greeted(self.address)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn read(&self, stderr: impl BufRead) {
        for line in stderr.split(b'\n') {
            let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
            self.lines.lock().unwrap().0.push(line);
            self.more.notify_all();
        }
        self.lines.lock().unwrap().1 = true;
        self.more.notify_all();
    }
}

/// A value of a log line as it stands there, without the quotes around it.
pub fn value(line: &str, key: &str) -> Option<String> {
    let start = line.find(&format!(" {key}="))? + key.len() + 2;
    let rest = &line[start..];
    let Some(quoted) = rest.strip_prefix('"') else {
        return Some(rest.split(' ').next().unwrap_or_default().to_owned());
    };
    let (mut value, mut letters) = (String::new(), quoted.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Some(value),
            '\\' => value.extend(['\\'].into_iter().chain(letters.next())),
            letter => value.push(letter),
        }
    }
    None
}

/// A server in this process, stopped when it is dropped.
pub struct Inside {
    server: Option<Server>,
    pub address: SocketAddr,
}

impl Inside {
    /// On the disk of this machine.
    pub fn serve(place: &Place, config: &str) -> Inside {
        Inside::on(Arc::new(RealDisk), place.path(), config)
    }

    /// On any disk; relative paths of the configuration are those of `folder`.
    pub fn on(disk: Arc<dyn Disk>, folder: &Path, config: &str) -> Inside {
        let config = Config::parse(config, &folder.join("facteur.toml")).unwrap();
        let listeners = open(&config, Handed::default()).unwrap();
        let spool = Spool::open(disk, &config.spool).unwrap();
        let (site, bad) = Site::read(config).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        let server = Server::start(listeners, site, spool).unwrap();
        let address = server.addresses()[0];
        Inside { server: Some(server), address }
    }

    /// Attempts all that waits, whatever backs off.
    pub fn flush(&self) {
        self.server.as_ref().unwrap().flush();
    }

    pub fn sessions(&self) -> usize {
        self.server.as_ref().map_or(0, Server::sessions)
    }

    /// A session that has said EHLO.
    pub fn client(&self) -> Client {
        Client::greeted(self.address)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}
