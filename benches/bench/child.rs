//! A server under load: facteur or the floor, each a process of its own, killed when it is dropped.

use crate::Outcome;
use nix::unistd::{SysconfVar, sysconf};
use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);

/// As a host has it that takes mail from gateways, which loopback is by default; but for the bounds that
/// would stop a crowd of clients with one address.
const CONFIG: &str = r#"
hostname = "mx.bench.test"
spool = "spool"
[listen]
smtp = ["127.0.0.1:0"]
submission = ["127.0.0.1:0"]
[limit]
sessions_per_client = 1000
[domain."bench.test"]
any_user = true
"#;

/// Who keeps the mail: facteur itself.
pub const MAILDIR: &str = "maildir = \"mail/{user}\"\n";

pub struct Child {
    process: process::Child,
    pub address: SocketAddr,
    /// Where facteur listens to users.
    pub users: Option<SocketAddr>,
}

impl Child {
    /// The real server, with its spool and its mail below `dir`.
    /// `keeper`: the line of its domain that says who keeps the mail; `more`: sections of its configuration.
    pub fn facteur(dir: &Path, keeper: &str, more: &str) -> Outcome<Child> {
        let config = dir.join("facteur.toml");
        fs::write(&config, format!("{CONFIG}{keeper}{more}"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_facteur"));
        command.arg("-c").arg(config).arg("serve");
        Child::start(command, &dir.join("log"), true)
    }

    /// The floor, with its mail at the same place.
    pub fn floor(dir: &Path, syncfs_from: usize) -> Outcome<Child> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("floor").arg(dir.join("mail")).arg(syncfs_from.to_string());
        Child::start(command, &dir.join("log"), false)
    }

    /// Each names its ports in a line of their log. It goes to a file: a pipe would have to be read, and
    /// that would be time of ours on the processor that is measured.
    fn start(mut command: Command, log: &Path, has_users: bool) -> Outcome<Child> {
        command.env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").stderr(File::create(log)?);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        // Held from here on, so that it is killed on every way out.
        let mut child = Child { process, address: SocketAddr::from(([0; 4], 0)), users: None };
        let deadline = Instant::now() + START;
        loop {
            let said = fs::read_to_string(log)?;
            let listening = |service| said.lines().find_map(|line| listening(line, service));
            child.users = listening("submission");
            if let Some(address) = listening("smtp").filter(|_| child.users.is_some() == has_users)
            {
                child.address = address;
                return Ok(child);
            }
            if child.process.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("{command:?} does not listen; it said: {said}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Time on processors so far, its own and the kernel's for it.
    pub fn cpu(&self) -> Outcome<Duration> {
        let stat = PathBuf::from(format!("/proc/{}/stat", self.process.id()));
        let text = fs::read_to_string(&stat)?;
        ticks(stat_field(&text, TIMES).take(2).sum())
    }
}

/// Fields of /proc/PID/stat (proc(5)), counted from the one behind the name: the parent; the process group; and the
/// time on processors, its own and the kernel's for it, then that of its children that have ended.
pub const PARENT: usize = 1;
pub const GROUP: usize = 2;
pub const TIMES: usize = 11;

/// The numbers from a field on. The name in brackets before them may hold anything.
pub fn stat_field(stat: &str, first: usize) -> impl Iterator<Item = u64> {
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
    numbers.skip(first).map_while(|number| number.parse().ok())
}

/// A time of the kernel's clock.
pub fn ticks(count: u64) -> Outcome<Duration> {
    let in_a_second = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(Duration::from_secs_f64(count as f64 / in_a_second as f64))
}

/// The address in "… listening service=smtp address=127.0.0.1:2525".
fn listening(line: &str, service: &str) -> Option<SocketAddr> {
    let (_, told) = line.split_once(&format!("listening service={service} "))?;
    let (_, address) = told.split_once("address=")?;
    address.split(' ').next()?.parse().ok()
}

impl Drop for Child {
    fn drop(&mut self) {
        // Killed, not stopped: what was acknowledged needs no goodbye, and is counted after this.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
