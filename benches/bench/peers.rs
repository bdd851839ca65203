//! Programs that are not ours: Dovecot, which keeps the mail, and Postfix, which hands it on as facteur does.
//! Each runs in a directory of its own, in the foreground, and ends with all its processes when it is dropped.

use crate::Outcome;
use crate::child::{GROUP, TIMES, stat_field, ticks};
use nix::unistd::{Group, User, geteuid};
use std::env;
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one may take until it listens, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where a mailbox of Dovecot's has its messages: sdbox, a file for each, which costs it the least.
pub const FOLDER: &str = "mailboxes/INBOX/dbox-Mails";

/// Processes of one kind that either may have: more than there are connections.
const PROCESSES: usize = 100;

/// Accounts that every Debian has: Postfix's queue is the first's, the mail is the last's.
const QUEUE: (&str, &str) = ("list", "irc");
const MAIL: &str = "news";

/// A program with all that it has started, in a process group of its own.
struct Peer(process::Child);

impl Peer {
    fn start(mut command: Command, log: &Path, is_up: impl Fn() -> bool) -> Outcome<Peer> {
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
    fn cpu(&self) -> Outcome<Duration> {
        let mut sum = Duration::ZERO;
        for process in fs::read_dir("/proc")? {
            // Who is no process, or ends now, has nothing to read.
            if let Ok(stat) = fs::read_to_string(process?.path().join("stat"))
                && stat_field(&stat, GROUP).next() == Some(u64::from(self.0.id()))
            {
                sum += ticks(stat_field(&stat, TIMES).take(4).sum())?;
            }
        }
        Ok(sum)
    }

    fn signal_all(&self, name: &str) {
        let line = format!("kill -s {name} -- -{} 2>/dev/null", self.0.id());
        let _ = Command::new("sh").args(["-c", &line]).status();
    }
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

/// Takes mail for anybody by LMTP, into `mail/` of its directory. What it syncs and when is as it comes.
pub struct Dovecot {
    peer: Peer,
    /// Where it listens for LMTP.
    pub socket: PathBuf,
}

impl Dovecot {
    pub fn start(dir: &Path) -> Outcome<Dovecot> {
        if !geteuid().is_root() || !Path::new("/usr/lib/dovecot/lmtp").is_file() {
            return Err("Dovecot with LMTP has to be installed, and is started by root".into());
        }
        let owner = user(MAIL)?;
        let (uid, gid) = (owner.uid.as_raw(), owner.gid.as_raw());
        for name in ["mail", "home"] {
            fs::create_dir(dir.join(name))?;
            chown(dir.join(name), Some(uid), Some(gid))?;
        }
        let config = dir.join("dovecot.conf");
        // A process serves one connection at a time. As many as there may be connections, and none ends after
        // its first: so Dovecot starts none while the clock runs.
        let settings = format!(
            "base_dir = {dir}/run\nstate_dir = {dir}/run\nlog_path = {dir}/dovecot.said\nssl = no\n\
             protocols = lmtp\nlisten = 127.0.0.1\nhostname = kept.bench.test\nmail_location = sdbox:{dir}/mail/%n\n\
             first_valid_uid = {uid}\nfirst_valid_gid = {gid}\ndefault_client_limit = 2000\n\
             passdb {{\n driver = static\n args = nopassword=y\n}}\n\
             userdb {{\n driver = static\n args = uid={uid} gid={gid} home={dir}/home/%n allow_all_users=yes\n}}\n\
             service lmtp {{\n user = {MAIL}\n service_count = 0\n process_limit = {PROCESSES}\n\
             \x20process_min_avail = {PROCESSES}\n}}\n\
             service auth {{\n unix_listener auth-userdb {{\n  mode = 0666\n }}\n}}\n\
             protocol lmtp {{\n postmaster_address = postmaster@bench.test\n}}\n",
            dir = dir.display(),
        );
        fs::write(&config, settings)?;
        let mut command = Command::new("/usr/sbin/dovecot");
        command.arg("-F").arg("-c").arg(config);
        let socket = dir.join("run/lmtp");
        let peer = Peer::start(command, &dir.join("dovecot.out"), || {
            UnixStream::connect(&socket).is_ok()
        })?;
        Ok(Dovecot { peer, socket })
    }

    pub fn cpu(&self) -> Outcome<Duration> {
        self.peer.cpu()
    }
}

/// Takes mail for anybody at bench.test, and hands it to a socket by LMTP.
pub struct Postfix {
    peer: Peer,
    pub address: SocketAddr,
}

impl Postfix {
    pub fn start(dir: &Path, socket: &Path) -> Outcome<Postfix> {
        let root = env::var_os("FACTEUR_POSTFIX").map_or_else(|| "/".into(), PathBuf::from);
        let libraries = root.join("usr/lib/postfix");
        let master = libraries.join("sbin/master");
        if !master.is_file() {
            return Err(format!("{} is not installed", master.display()).into());
        }
        directories(dir)?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (owner, group) = QUEUE;
        let main = format!(
            "compatibility_level = 3.6\nmyhostname = mx.bench.test\n\
             mail_owner = {owner}\nsetgid_group = {group}\n\
             config_directory = {dir}/etc\nmeta_directory = {dir}/etc\n\
             queue_directory = {dir}/queue\ndata_directory = {dir}/data\n\
             daemon_directory = {libraries}/sbin\ncommand_directory = {root}/usr/sbin\n\
             shlib_directory = {libraries}\nimport_environment = MAIL_CONFIG LD_LIBRARY_PATH\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             smtpd_tls_security_level = none\nmydestination =\nalias_maps =\nalias_database =\n\
             default_process_limit = {PROCESSES}\n\
             virtual_mailbox_domains = bench.test\nvirtual_mailbox_maps = static:all\n\
             virtual_transport = lmtp:unix:{socket}\n\
             maillog_file = {dir}/data/log\nmaillog_file_prefixes = {dir}\n",
            dir = dir.display(),
            root = root.display(),
            libraries = libraries.display(),
            socket = socket.display(),
        );
        fs::write(dir.join("etc/main.cf"), main)?;
        fs::write(
            dir.join("etc/master.cf"),
            format!("{address} inet n - n - - smtpd\n{SERVICES}"),
        )?;
        let mut command = Command::new(master);
        command.env("LD_LIBRARY_PATH", libraries).arg("-d").arg("-c").arg(dir.join("etc"));
        let is_up = || TcpStream::connect(address).is_ok();
        Ok(Postfix { peer: Peer::start(command, &dir.join("postfix.out"), is_up)?, address })
    }

    pub fn cpu(&self) -> Outcome<Duration> {
        self.peer.cpu()
    }
}

/// Its master.cf, as Debian has it, but without chroot.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";

/// The directories that its package makes.
fn directories(dir: &Path) -> Outcome<()> {
    for name in ["queue", "queue/pid", "etc"] {
        fs::create_dir(dir.join(name))?;
    }
    let owner = user(QUEUE.0)?;
    let group = Group::from_name(QUEUE.1)?.ok_or_else(|| format!("no group {}", QUEUE.1))?;
    let queues = "active bounce corrupt defer deferred flush hold incoming private saved trace";
    let queues = queues.split(' ').map(|name| (format!("queue/{name}"), 0o700));
    let others = [("data", 0o700), ("queue/public", 0o710), ("queue/maildrop", 0o730)];
    for (name, mode) in queues.chain(others.map(|(name, mode)| (name.to_owned(), mode))) {
        let path = dir.join(name);
        fs::create_dir(&path)?;
        chown(&path, Some(owner.uid.as_raw()), Some(group.gid.as_raw()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn user(name: &str) -> Outcome<User> {
    Ok(User::from_name(name)?.ok_or_else(|| format!("no user {name}"))?)
}
