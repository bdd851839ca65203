//! Servers that are not ours: each on an address that is its own, waited for until it answers, and gone
//! with its test.

use crate::outside::{installed, program};
use crate::support::{PATIENCE, Place, files, text, until, within};
use nix::unistd::geteuid;
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

/// A loopback address that no other test has, nor another run of the tests: such programs cannot tell
/// which port they took, and on an address of their own nobody else takes it before them.
pub fn own_ip() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, COUNT.fetch_add(1, Ordering::Relaxed), high, low)
}

/// A port that is free there at this moment.
pub fn free_port(ip: Ipv4Addr) -> u16 {
    TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port()
}

/// An address of its own with a free port.
pub fn own_address() -> SocketAddr {
    let ip = own_ip();
    (ip, free_port(ip)).into()
}

/// The configuration of a library's own resolver (unbound) that asks this name server, for all names.
pub fn unbound_by(place: &Place, dns: SocketAddr) -> PathBuf {
    place.write(
        "unbound.conf",
        format!(
            "server:\n\tmodule-config: \"iterator\"\n\tdo-not-query-localhost: no\n\
             \tlocal-zone: \"test.\" nodefault\n\tdo-ip6: no\n\
             forward-zone:\n\tname: \".\"\n\tforward-addr: {}@{}\n",
            dns.ip(),
            dns.port()
        ),
    )
}

/// A server and all that it has started; ended when it is dropped.
pub struct Daemon {
    child: Child,
    said: PathBuf,
    /// Whether it is asked to end before it is made to.
    is_asked: bool,
}

impl Daemon {
    /// Starts it under that name, and waits until somebody takes connections there.
    pub fn start(place: &Place, name: &str, command: Command, there: SocketAddr) -> Daemon {
        Daemon::when(place, name, command, || TcpStream::connect(there).is_ok())
    }

    /// The same with a socket that is a file.
    pub fn at_file(place: &Place, name: &str, command: Command, there: &Path) -> Daemon {
        Daemon::when(place, name, command, || UnixStream::connect(there).is_ok())
    }

    fn when(place: &Place, name: &str, mut command: Command, is_up: impl Fn() -> bool) -> Daemon {
        let said = place.at(&format!("{name}.said"));
        let out = File::create(&said).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        // A group of its own: so its children end with it.
        let child = command.process_group(0).spawn().unwrap();
        let mut daemon = Daemon { child, said, is_asked: true };
        let came_up = within(PATIENCE, || {
            let ended = daemon.child.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?}: {ended:?}\n{}", daemon.said());
            is_up()
        });
        assert!(came_up, "{command:?} takes no connections\n{}", daemon.said());
        daemon
    }

    /// The processes of this kind that it has started, by the beginning of their command line.
    pub fn workers(&self, kind: &str) -> Vec<u32> {
        let ids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.parse::<u32>().ok());
        let is_it = |id: &u32| {
            let pid = nix::unistd::Pid::from_raw(*id as i32);
            let group = nix::unistd::getpgid(Some(pid)).map(|group| group.as_raw() as u32);
            let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            group == Ok(self.child.id()) && command.starts_with(kind.as_bytes())
        };
        ids.filter(is_it).collect()
    }

    /// To be ended at once: libmilter looks only every 5 seconds whether it was asked to end.
    pub fn without_asking(mut self) -> Daemon {
        self.is_asked = false;
        self
    }

    fn signal_all(&self, name: &str) {
        let command = format!("kill -s {name} -- -{} 2>/dev/null", self.child.id());
        let _ = Command::new("sh").args(["-c", &command]).status();
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        text(&fs::read(&self.said).unwrap_or_default())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal_all(if self.is_asked { "TERM" } else { "KILL" });
        let mut is_over = || self.child.try_wait().is_ok_and(|status| status.is_some());
        let ended = within(PATIENCE, &mut is_over);
        // Whoever of them is left.
        self.signal_all("KILL");
        if !ended {
            let _ = self.child.wait();
        }
    }
}

/// Postfix's smtp-sink, which keeps what it takes.
pub struct Sink {
    _daemon: Daemon,
    dumps: PathBuf,
    pub address: SocketAddr,
}

/// A message as smtp-sink has taken it.
pub struct Dump {
    /// What stood behind `MAIL FROM:` and `RCPT TO:`.
    pub mail: String,
    pub rcpt: Vec<String>,
    /// With LF, without doubled dots.
    pub octets: Vec<u8>,
}

impl Sink {
    /// On that address, with more options; nothing where it is not installed, which is said.
    pub fn start(place: &Place, address: SocketAddr, options: &[&str]) -> Option<Sink> {
        if !installed(&["smtp-sink"]) {
            return None;
        }
        let name = format!("sink-{}", address.ip());
        let dumps = place.at(&name);
        fs::create_dir(&dumps).unwrap();
        let mut command = program(place, "smtp-sink");
        if geteuid().is_root() {
            // It does not serve as root.
            fs::set_permissions(&dumps, Permissions::from_mode(0o777)).unwrap();
            command.args(["-u", "nobody"]);
        }
        command.arg("-d").arg(dumps.join("mail.")).args(options);
        command.args([&address.to_string(), "100"]);
        let daemon = Daemon::start(place, &name, command, address);
        Some(Sink { _daemon: daemon, dumps, address })
    }

    /// All that it has taken.
    pub fn mail(&self) -> Vec<Dump> {
        files(&self.dumps).iter().map(|path| Dump::parse(&fs::read(path).unwrap())).collect()
    }

    /// The same, once there are so many.
    pub fn wait_for(&self, count: usize) -> Vec<Dump> {
        until(&format!("{count} messages at {}", self.address), || {
            files(&self.dumps).len() >= count
        });
        self.mail()
    }
}

impl Dump {
    /// Its own fields, the message, an empty line.
    fn parse(dump: &[u8]) -> Dump {
        let mut end = 0;
        let (mut mail, mut rcpt) = (String::new(), Vec::new());
        let mut lines = dump.split_inclusive(|&octet| octet == b'\n');
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no dump: {}", text(dump)));
            end += line.len();
            let line = text(line);
            if let Some(arguments) = line.strip_prefix("X-Mail-Args: ") {
                mail = arguments.trim_end().to_owned();
            } else if let Some(arguments) = line.strip_prefix("X-Rcpt-Args: ") {
                rcpt.push(arguments.trim_end().to_owned());
            } else if line.starts_with("Received: ") {
                break;
            }
        }
        // Two more lines of its Received.
        end += lines.take(2).map(<[u8]>::len).sum::<usize>();
        let octets = dump[end..].strip_suffix(b"\n").unwrap().to_vec();
        Dump { mail, rcpt, octets }
    }

    /// What stands below our own Received field.
    pub fn as_sent(&self) -> &[u8] {
        below_received(&self.octets, 1)
    }
}

/// What stands below the first Received fields of a message with LF, as many as that.
pub fn below_received(message: &[u8], count: usize) -> &[u8] {
    let mut rest = message;
    for _ in 0..count {
        assert!(rest.starts_with(b"Received: "), "{}", text(rest));
        let mut end = 0;
        for line in rest.split_inclusive(|&octet| octet == b'\n') {
            if end > 0 && !line.starts_with(b"\t") {
                break;
            }
            end += line.len();
        }
        rest = &rest[end..];
    }
    rest
}
