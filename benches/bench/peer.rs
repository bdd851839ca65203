//! A program that is not ours, with all that it has started: in the foreground, and ended with all its processes
//! when it is dropped.

use crate::Outcome;
use crate::child::{GROUP, PARENT, TIMES, stat_field, ticks};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one may take until it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// It leads a process group. Of what it has started, some have groups of their own: those end when nobody speaks to
/// them any more.
pub struct Peer(process::Child);

impl Peer {
    pub fn start(mut command: Command, log: &Path, is_up: impl Fn() -> bool) -> Outcome<Peer> {
        let out = File::create(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let mut peer = Peer(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        let deadline = Instant::now() + PATIENCE;
        while !is_up() {
            if peer.0.try_wait()?.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(log)?;
                return Err(format!("{command:?} does not listen; it said: {said}").into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(peer)
    }

    /// Time on processors so far, of all of them, and of those that have ended.
    pub fn cpu(&self) -> Outcome<Duration> {
        let all = stats()?;
        let mut sum = 0;
        for (process, stat) in &all {
            if self.is_of(*process, &all) {
                sum += stat_field(stat, TIMES).take(4).sum::<u64>();
            }
        }
        ticks(sum)
    }

    /// Whether it is a process of this program: of its group, or below it in the tree of processes.
    fn is_of(&self, process: u64, all: &BTreeMap<u64, String>) -> bool {
        let own = u64::from(self.0.id());
        let field = |at: u64, which| all.get(&at).and_then(|stat| stat_field(stat, which).next());
        if field(process, GROUP) == Some(own) {
            return true;
        }
        // The first process has no parent. Read one after the other, two may seem to be each other's: so no longer
        // than there are processes.
        let above = std::iter::successors(Some(process), |&at| field(at, PARENT));
        above.take(all.len()).any(|at| at == own)
    }

    fn signal_all(&self, name: &str) {
        let line = format!("kill -s {name} -- -{} 2>/dev/null", self.0.id());
        let _ = Command::new("sh").args(["-c", &line]).status();
    }
}

/// What the kernel says of each process.
fn stats() -> Outcome<BTreeMap<u64, String>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        // Who is no process, or ends now, has nothing to read.
        if let Some(number) = number
            && let Ok(stat) = fs::read_to_string(entry.path().join("stat"))
        {
            all.insert(number, stat);
        }
    }
    Ok(all)
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.signal_all("TERM");
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // Whoever of them is left.
        self.signal_all("KILL");
        let _ = self.0.wait();
    }
}
