//! What all tests share: places that are removed afterwards, Maildirs, waiting, skipping, children.
//!
//! Nothing here waits for a moment in the hope that something has happened by then: [`until`] looks
//! again and again, and fails after [`PATIENCE`].

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that should take no time, on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of one test, removed when it is dropped.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        Place::below(&std::env::temp_dir())
    }

    /// In memory, where a sync takes no time; on the disk where nothing is in memory.
    pub fn in_memory() -> Place {
        let memory = Path::new("/dev/shm");
        let is_good = nix::unistd::access(memory, nix::unistd::AccessFlags::W_OK).is_ok();
        match is_good {
            true => Place::below(memory),
            false => Place::new(),
        }
    }

    fn below(dir: &Path) -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("facteur-it-{}-{count}", std::process::id());
        let path = dir.join(name);
        fs::create_dir(&path).unwrap();
        // Children that run as another user have to get in.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Place(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, octets: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::write(&path, octets).unwrap();
        path
    }

    /// The Maildir of a user of mx.test, where [`config`] says that it is.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.0.join("mail/mx.test").join(user)
    }

    /// The octets of all mail in a user's `new/`, in order of the names.
    pub fn mail(&self, user: &str) -> Vec<Vec<u8>> {
        let paths = files(&self.maildir(user).join("new"));
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration for mx.test on a free port with any user, and more sections.
pub fn config(more: &str) -> String {
    format!(
        "hostname = \"mx.test\"\nspool = \"spool\"\n[listen]\nsmtp = [\"127.0.0.1:0\"]\n\
         [domain.\"mx.test\"]\nmaildir = \"mail/{{domain}}/{{user}}\"\nany_user = true\n{more}\n"
    )
}

/// What lies in a directory, in order; nothing where there is none.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// All files and directories under a directory, in order.
pub fn tree(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in files(dir) {
        found.push(path.clone());
        if path.is_dir() {
            found.extend(tree(&path));
        }
    }
    found
}

/// Nothing lies in any `tmp/` of a place.
pub fn assert_no_drafts(place: &Place) {
    let in_tmp = |path: &PathBuf| path.parent().is_some_and(|parent| parent.ends_with("tmp"));
    let drafts: Vec<_> = tree(place.path()).into_iter().filter(in_tmp).collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

/// Makes a Maildir, empty and whole.
pub fn make_maildir(maildir: &Path) {
    for name in ["tmp", "new", "cur"] {
        fs::create_dir_all(maildir.join(name)).unwrap();
    }
}

/// Looks until it is so.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    assert!(within(PATIENCE, is_so), "not within {PATIENCE:?}: {what}");
}

/// Looks until it is so; false when the time is over first.
pub fn within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Says that a test cannot run here; with FACTEUR_REQUIRE_ALL=1 it fails instead.
pub fn skip(why: &str) {
    assert!(std::env::var_os("FACTEUR_REQUIRE_ALL").is_none_or(|v| v != "1"), "skipped: {why}");
    say(&format!("skipped: {why}"));
    let test = thread::current().name().unwrap_or("?").to_owned();
    let file = skipped_in(std::os::unix::process::parent_id());
    // Another user may not write there; the line above stands in any case.
    if let Ok(mut file) = fs::File::options().create(true).append(true).open(file) {
        let _ = std::io::Write::write_all(&mut file, format!("{test}\t{why}\n").as_bytes());
    }
}

/// Where the skipped tests of one `cargo test` stand, by that process's id: tests/skipped.rs counts them.
pub fn skipped_in(cargo: u32) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("skipped.{cargo}"))
}

/// Says something past the capture of the test harness, so that it is seen without --nocapture.
pub fn say(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Whether a program is installed and starts.
pub fn has_program(name: &str, argument: &str) -> bool {
    let mut command = Command::new(name);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The text of octets, for messages of assertions and for searching.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// A small sequence of numbers that look random and are the same each time.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number below `end` (splitmix64).
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}
