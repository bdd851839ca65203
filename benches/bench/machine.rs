//! On what all this runs, as far as Linux tells it: figures without it are hearsay.

use facteur::store::order;
use std::fs;
use std::path::Path;
use std::thread;

/// Processor, cores and kernel, on one line.
pub fn facts() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("processor unknown", |(_, model)| model);
    let cores = thread::available_parallelism().map_or(0, |cores| cores.get());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "debug: no figure counts" } else { "release" };
    let version = env!("CARGO_PKG_VERSION");
    let kernel = kernel.trim();
    format!("facteur {version} ({profile}); {model}, {cores} cores; Linux {kernel}")
}

/// Where the mail is, and how facteur makes a batch of it durable there, which decide more than all else.
pub fn disk(dir: &Path) -> String {
    let (shown, commits) = (dir.display(), order::learn(dir));
    format!("mail in {shown}: {}\nfacteur there: {commits}", file_system(dir))
}

/// The file system that holds a directory.
fn file_system(dir: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    // The longest mount point above it; of two on one place the later, which hides the other.
    let above = mounts.lines().filter_map(Mount::read).filter(|mount| dir.starts_with(mount.point));
    match above.max_by_key(|mount| mount.point.len()) {
        Some(mount) => mount.told(),
        None => "a file system that /proc/self/mountinfo does not name".to_owned(),
    }
}

struct Mount<'a> {
    point: &'a str,
    kind: &'a str,
    device: &'a str,
}

impl<'a> Mount<'a> {
    /// "27 1 254:0 / /point rw,relatime - ext4 /dev/vda rw" (proc(5)).
    fn read(line: &'a str) -> Option<Mount<'a>> {
        let (place, source) = line.split_once(" - ")?;
        let mut source = source.split(' ');
        let (kind, device) = (source.next()?, source.next()?);
        Some(Mount { point: place.split(' ').nth(4)?, kind, device })
    }

    fn told(&self) -> String {
        let Mount { kind, device, .. } = self;
        let more = match *kind {
            "ext4" | "ext3" => self.journal(),
            "tmpfs" | "ramfs" => "; that is memory, where a sync costs nothing: choose a disk",
            _ => "",
        };
        format!("{kind} on {device}{more}")
    }

    /// jbd2 has a directory for each file system with a journal, named by the device and an inode.
    fn journal(&self) -> &'static str {
        let device = self.device.rsplit('/').next().unwrap_or_default();
        let Ok(journals) = fs::read_dir("/proc/fs/jbd2") else { return ", journal unknown" };
        let mut names = journals.flatten().map(|entry| entry.file_name());
        let is_its = |name: &str| name.rsplit_once('-').is_some_and(|(of, _)| of == device);
        let is_known = Path::new("/proc/fs/ext4").join(device).exists();
        match names.any(|name| name.to_str().is_some_and(is_its)) {
            true => ", with a journal",
            false if is_known => ", without a journal",
            false => ", journal unknown",
        }
    }
}
