//! The sandbox of a running server (Landlock): once it is closed, the process reaches only what the
//! configuration names and starts no program, even when an attacker has come to control it.
//!
//! Closed before the first thread, because a thread inherits it from the one that starts it, and never
//! opened again: a place that a reload names outside of it needs a restart. A kernel without Landlock is no
//! error; [`Sandbox::gap`] says what is missing.
//!
//! Holds for files, for signals and abstract sockets (from ABI 6 on), and for binding TCP ports (from ABI 4
//! on); not for outgoing connections, because a reload may name any host.

use crate::config::Config;
use crate::limits::keys::KEY_NAMES_MAX;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope,
};
use nix::errno::Errno;
use std::env;
use std::path::{Path, PathBuf};

/// What libraries read when they first need it, which may be after the start: names of hosts and users,
/// time zones, certificate authorities. Secrets that lie there can be read by root only.
const SYSTEM: [&str; 13] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/run/NetworkManager",
    "/run/resolvconf",
    "/var/lib/sss/mc",
    "/dev/urandom",
    "/proc/locks",
    "/sys/devices/system/cpu",
];

/// The files and directories that stay in reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxPaths {
    /// Paths to read; a directory with all below it.
    pub read: Vec<PathBuf>,
    /// Directories to read and write, with all below them.
    pub write: Vec<PathBuf>,
    /// The spool: to read and write, and besides, anything that other users put there may be moved aside.
    pub spool: PathBuf,
}

/// The sandbox of this process.
#[derive(Debug)]
pub struct Sandbox {
    /// Writable directories as they were when it was closed; none where there is no sandbox.
    write: Option<Vec<PathBuf>>,
    /// How far it holds: "Landlock V7".
    pub how: String,
    /// What this kernel leaves open, if anything.
    pub gap: Option<String>,
}

impl SandboxPaths {
    /// What a server with this configuration needs, now and after each reload that names no other places.
    pub fn of(config: &Config) -> SandboxPaths {
        let mut read: Vec<PathBuf> = SYSTEM.map(PathBuf::from).to_vec();
        let file = config.file.clone().unwrap_or_else(|| PathBuf::from("facteur.toml"));
        let mut named = vec![file, PathBuf::from("/etc/resolv.conf")];
        if let Some(tls) = &config.tls {
            named.extend([tls.certificate.clone(), tls.key.clone()]);
        }
        for domain in &config.domains {
            named.extend(domain.users.iter().chain(&domain.aliases).cloned());
        }
        let backups = config.relay.backup.iter();
        named.extend(backups.filter_map(|backup| backup.recipients.clone()));
        read.extend(config.signing().iter().flat_map(|domain| places_of_keys(&domain.dir)));
        named.extend(config.relay.smarthost_auth.iter().map(|auth| auth.password_file.clone()));
        named.extend(env::var_os("SSL_CERT_FILE").map(PathBuf::from));
        read.extend(env::var_os("SSL_CERT_DIR").map(PathBuf::from));
        read.extend(named.iter().flat_map(|file| places_of(file)));
        read.sort();
        read.dedup();
        let with_maildirs = config.domains.iter().filter(|domain| domain.lmtp.is_none());
        let roots = with_maildirs.map(|domain| maildir_root(&domain.maildir));
        let mut write: Vec<PathBuf> = roots.collect();
        write.sort();
        write.dedup();
        SandboxPaths { read, write, spool: config.spool.clone() }
    }

    /// Closes the sandbox around this thread and all that it will start. Where it cannot be closed, mail is
    /// served without it, and the gap says what the kernel has answered.
    pub fn close(&self) -> Sandbox {
        let ruleset = match usable() {
            Ok(ruleset) => ruleset,
            Err(gap) => return Sandbox::none(gap),
        };
        let status = match self.restrict(ruleset.set_compatibility(CompatLevel::BestEffort)) {
            Ok(status) => status,
            Err(error) => {
                return Sandbox::none(format!(
                    "no sandbox: the kernel has Landlock and does not let it be used: {error}{CONTAINER}"
                ));
            }
        };
        let how = match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => {
                format!("Landlock {effective_abi:?}")
            }
            _ => "none".to_owned(),
        };
        let gap = match status.ruleset {
            _ if self.writable().any(|dir| dir == Path::new("/")) => Some(
                "Maildirs begin in the root directory: the sandbox keeps no file from being written"
                    .to_owned(),
            ),
            RulesetStatus::FullyEnforced => None,
            RulesetStatus::PartiallyEnforced => Some(format!(
                "{how} of this kernel holds for files, not for all of devices, ports and signals"
            )),
            RulesetStatus::NotEnforced => Some("the kernel has closed no sandbox".to_owned()),
        };
        Sandbox { write: Some(self.canonical_writable()), how, gap }
    }

    /// The sandbox as [`SandboxPaths::close`] would make it, for `facteur check`; closes nothing.
    pub fn rehearse(&self) -> Sandbox {
        match usable() {
            Ok(_) => Sandbox {
                write: Some(self.canonical_writable()),
                how: "rehearsed".to_owned(),
                gap: None,
            },
            Err(gap) => Sandbox::none(gap),
        }
    }

    fn canonical_writable(&self) -> Vec<PathBuf> {
        self.writable().filter_map(|dir| dir.canonicalize().ok()).collect()
    }

    /// All directories where files can be made.
    fn writable(&self) -> impl Iterator<Item = &PathBuf> {
        std::iter::once(&self.spool).chain(&self.write)
    }

    fn restrict(&self, ruleset: Ruleset) -> Result<RestrictionStatus, RulesetError> {
        let mut created = ruleset
            // What is handled here and not granted below is denied: above all, to execute.
            .handle_access(AccessFs::from_all(ABI::V5))?
            // The listeners are open, and no other socket of ours is bound to a TCP port.
            .handle_access(AccessNet::BindTcp)?
            .scope(Scope::from_all(ABI::V6))?
            .create()?;
        let read = self.read.iter().map(|path| (path, read_access()));
        let write = self.write.iter().map(|path| (path, write_access()));
        let spool = (&self.spool, write_access() | moved_access());
        for (path, access) in read.chain(write).chain([spool]) {
            // A path that does not exist needs no rule.
            let Ok(opened) = PathFd::new(path) else { continue };
            let access = if path.is_dir() { access } else { access & AccessFs::from_file(ABI::V5) };
            created = created.add_rule(PathBeneath::new(opened, access))?;
        }
        created.restrict_self()
    }
}

/// Advice where a container may have denied the system calls.
const CONTAINER: &str = "; in a container its seccomp profile has to let landlock_create_ruleset, \
     landlock_add_rule and landlock_restrict_self through";

/// A ruleset with the least that is needed, or the words for [`Sandbox::gap`].
fn usable() -> Result<Ruleset, String> {
    Errno::clear();
    let ruleset = Ruleset::default();
    // The answer to the question for the version, which `default` has just asked.
    let answered = Errno::last();
    // Without this right (before Linux 5.19), a sandbox would forbid links from tmp/ to new/.
    let needed =
        ruleset.set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer);
    needed.map_err(|_| gap_of(answered))
}

fn gap_of(answered: Errno) -> String {
    match answered {
        Errno::ENOSYS => "no sandbox: this kernel has no Landlock (Linux 5.19 or later)".to_owned(),
        Errno::EOPNOTSUPP => {
            "no sandbox: Landlock is switched off in this kernel (lsm=)".to_owned()
        }
        Errno::UnknownErrno => {
            "no sandbox: the Landlock of this kernel is too old (Linux 5.19 or later)".to_owned()
        }
        errno => format!("no sandbox: asked for Landlock, the system answered {errno}{CONTAINER}"),
    }
}

impl Sandbox {
    fn none(gap: String) -> Sandbox {
        Sandbox { write: None, how: "none".to_owned(), gap: Some(gap) }
    }

    /// Whether files may be made at this path: below a directory that the sandbox leaves open. For a path
    /// that does not exist, the nearest directory above it that does is looked at.
    pub fn may_write(&self, path: &Path) -> bool {
        let Some(write) = &self.write else { return true };
        let there = path.ancestors().find_map(|dir| dir.canonicalize().ok());
        there.is_some_and(|there| write.iter().any(|dir| there.starts_with(dir)))
    }
}

/// Where a domain's Maildirs are: the directory above the first part of the path that differs from user
/// to user.
pub fn maildir_root(template: &str) -> PathBuf {
    let fixed = template.split('{').next().unwrap_or_default();
    let (above, _) = fixed.rsplit_once('/').unwrap_or((".", ""));
    PathBuf::from(if above.is_empty() { "/" } else { above })
}

/// The directories of a file and of the file that it is a link to: to renew it, another file is put there.
/// For a file in the root directory only the file itself, because everything is below that directory.
fn places_of(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().ok();
    let both = [Some(file.to_owned()), real].into_iter().flatten();
    let place = |file: PathBuf| match file.parent() {
        Some(dir) if dir == Path::new("") => PathBuf::from("."),
        Some(dir) if dir != Path::new("/") => dir.to_owned(),
        _ => file,
    };
    both.map(place).collect()
}

/// The directory of keys, and those where its files lie that are links. One that is not there yet may be made later:
/// then the directory above it.
fn places_of_keys(dir: &Path) -> Vec<PathBuf> {
    let Ok(names) = dir.read_dir() else { return places_of(dir) };
    let links = names.take(KEY_NAMES_MAX).flatten().map(|entry| entry.path());
    let links = links.filter(|path| path.is_symlink()).flat_map(|link| places_of(&link));
    [Some(dir.to_owned()), dir.canonicalize().ok()].into_iter().flatten().chain(links).collect()
}

fn read_access() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Files and directories, and links from one directory to another; no devices, pipes, sockets or symbolic
/// links.
fn write_access() -> BitFlags<AccessFs> {
    let names = AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile | AccessFs::RemoveDir;
    read_access() | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::Refer | names
}

/// Symbolic links, pipes and sockets: to the kernel, moving one means making it in another directory.
fn moved_access() -> BitFlags<AccessFs> {
    AccessFs::MakeSym | AccessFs::MakeFifo | AccessFs::MakeSock
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::ErrorKind::PermissionDenied;
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    /// Only the thread that closes the sandbox is inside.
    #[test]
    fn inside_nothing_else_can_be_done() {
        let place = env::temp_dir().join(format!("facteur-sandbox-{}", std::process::id()));
        let at = |name: &str| place.join(name);
        for dir in ["spool/tmp", "spool/queue", "mail", "config", "outside"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        for file in ["config/users", "outside/secret", "spool/tmp/a"] {
            fs::write(at(file), "x").unwrap();
        }
        let reach =
            SandboxPaths { read: vec![at("config")], write: vec![at("mail")], spool: at("spool") };
        let inside = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let sandbox = reach.close();
                let denied = |done: std::io::Result<()>| {
                    done.is_err_and(|error| error.kind() == PermissionDenied)
                };
                let is_closed = [
                    denied(fs::read(at("outside/secret")).map(drop)),
                    denied(fs::write(at("outside/new"), "x")),
                    denied(fs::remove_file(at("outside/secret"))),
                    denied(fs::write(at("config/users"), "x")),
                    denied(fs::write(at("config/new"), "x")),
                    denied(std::os::unix::fs::symlink("/", at("mail/link"))),
                    denied(TcpListener::bind("127.0.0.1:0").map(drop)),
                    denied(Command::new("/bin/true").status().map(drop)),
                ];
                let is_open = [
                    fs::read(at("config/users")).is_ok(),
                    fs::write(at("mail/new"), "x").is_ok(),
                    fs::create_dir(at("mail/ann")).is_ok(),
                    fs::hard_link(at("spool/tmp/a"), at("spool/queue/a")).is_ok(),
                    fs::rename(at("spool/tmp/a"), at("spool/queue/b")).is_ok(),
                    fs::remove_file(at("spool/queue/b")).is_ok(),
                ];
                let reaches = ["mail/x/y", "spool", "config", "outside/x"];
                (
                    sandbox.how.clone(),
                    is_closed,
                    is_open,
                    reaches.map(|to| sandbox.may_write(&at(to))),
                )
            });
            inside.join().unwrap()
        });
        let (how, is_closed, is_open, reaches) = inside;
        // The thread of the test is outside.
        assert!(fs::write(at("outside/new"), "x").is_ok());
        fs::remove_dir_all(&place).unwrap();
        if how == "none" {
            return eprintln!("skipped: this kernel has no Landlock");
        }
        assert_eq!((is_closed, is_open), ([true; 8], [true; 6]), "{how}");
        assert_eq!(reaches, [true, true, false, false]);
    }

    #[test]
    fn what_was_answered_is_told() {
        for (answered, words) in [
            (Errno::EPERM, "answered EPERM: Operation not permitted; in a container its seccomp"),
            (Errno::ENOSYS, "this kernel has no Landlock"),
            (Errno::EOPNOTSUPP, "switched off"),
            (Errno::UnknownErrno, "too old"),
        ] {
            let gap = gap_of(answered);
            assert!(gap.starts_with("no sandbox: ") && gap.contains(words), "{gap}");
        }
    }

    #[test]
    fn the_part_of_a_path_that_is_the_same_for_all() {
        for (template, root) in [
            ("/var/mail/{domain}/{user}", "/var/mail"),
            ("/home/{user}/Maildir", "/home"),
            ("/srv/mail-{domain}/{user}", "/srv"),
            ("/srv/everybody", "/srv"),
            ("/{user}", "/"),
            ("{user}", "."),
        ] {
            assert_eq!(maildir_root(template), Path::new(root), "{template}");
        }
    }

    #[test]
    fn the_places_of_files() {
        let places = |file: &str| places_of(Path::new(file));
        assert_eq!(places("/no/such.pem"), [Path::new("/no")]);
        assert_eq!(places("/no-such.pem"), [Path::new("/no-such.pem")]);
        assert_eq!(places("no-such.pem"), [Path::new(".")]);
    }

    #[test]
    fn the_places_of_keys() {
        let place = env::temp_dir().join(format!("facteur-places-{}", std::process::id()));
        let place = {
            fs::create_dir_all(place.join("keys")).unwrap();
            fs::create_dir_all(place.join("secrets")).unwrap();
            place.canonicalize().unwrap()
        };
        let (keys, secrets) = (place.join("keys"), place.join("secrets"));
        fs::write(secrets.join("a"), "x").unwrap();
        std::os::unix::fs::symlink("../secrets/a", keys.join("a.rsa.pem")).unwrap();
        std::os::unix::fs::symlink("keys", place.join("link")).unwrap();
        let of = |name: &str| {
            let mut places = places_of_keys(&place.join(name));
            places.sort();
            places.dedup();
            places
        };
        let (direct, by_link) = (of("keys"), of("link"));
        let missing = of("none");
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(direct, [keys.clone(), secrets.clone()]);
        assert_eq!(by_link, [keys, place.join("link"), secrets]);
        assert_eq!(missing, [place]);
    }

    #[test]
    fn nothing_is_executed_and_no_device_made() {
        assert!(!(read_access() | write_access()).contains(AccessFs::Execute));
        let made =
            AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSym | AccessFs::MakeSock;
        assert!((write_access() & (made | AccessFs::IoctlDev)).is_empty());
    }
}
