//! Mail servers that are not ours: Dovecot, which keeps the mail, and Postfix, which hands it on or delivers it as
//! facteur does. Each runs in a directory of its own, with nothing of the machine's own configuration.

use crate::Outcome;
use crate::peer::Peer;
use nix::unistd::{Group, User, geteuid};
use std::env;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Where a mailbox of Dovecot's has its messages: sdbox, a file for each, which costs it the least.
pub const FOLDER: &str = "mailboxes/INBOX/dbox-Mails";

/// Processes of one kind that either may have: more than there are connections.
const PROCESSES: usize = 100;

/// Accounts that every Debian has: Postfix's queue is the first's, the mail is the last's.
const QUEUE: (&str, &str) = ("list", "irc");
pub const MAIL: &str = "news";

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

/// Takes mail for anybody at bench.test.
pub struct Postfix {
    peer: Peer,
    pub address: SocketAddr,
}

/// What Postfix does with it.
pub struct Duty {
    /// Lines of its main.cf.
    pub main: String,
    /// Lines of its master.cf.
    pub services: String,
}

impl Duty {
    /// Hands it to a socket by LMTP.
    pub fn hand_on(socket: &Path) -> Duty {
        let main = format!(
            "virtual_mailbox_maps = static:all\nvirtual_transport = lmtp:unix:{}\n",
            socket.display()
        );
        Duty { main, services: String::new() }
    }

    /// Delivers it below `mail` of a directory, into so many Maildirs, which it makes.
    pub fn deliver(dir: &Path, boxes: usize) -> Outcome<Duty> {
        let owner = user(MAIL)?;
        let mail = dir.join("mail");
        fs::create_dir(&mail)?;
        chown(&mail, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
        let known: String =
            (0..boxes).map(|number| format!(" {{ u{number}@bench.test = u{number}/ }}")).collect();
        let main = format!(
            "virtual_mailbox_base = {}\nvirtual_mailbox_maps = inline:{{{known} }}\n\
             virtual_minimum_uid = 1\nvirtual_uid_maps = static:{}\nvirtual_gid_maps = static:{}\n",
            mail.display(),
            owner.uid,
            owner.gid
        );
        Ok(Duty { main, services: "virtual unix - n n - - virtual\n".to_owned() })
    }
}

impl Postfix {
    /// Where it is installed or unpacked, with its `master`; else what is missing.
    pub fn found() -> Result<PathBuf, String> {
        let root = env::var_os("FACTEUR_POSTFIX").map_or_else(|| "/".into(), PathBuf::from);
        let master = root.join("usr/lib/postfix/sbin/master");
        match master.is_file() {
            true => Ok(root),
            false => Err(format!("{} is not installed", master.display())),
        }
    }

    /// `world`: where its programs run, as a command that starts another one.
    pub fn start(dir: &Path, duty: &Duty, world: fn(&Path, &Path) -> Command) -> Outcome<Postfix> {
        let root = Postfix::found()?;
        let libraries = root.join("usr/lib/postfix");
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
             default_process_limit = {PROCESSES}\nvirtual_mailbox_domains = bench.test\n\
             maillog_file = {dir}/data/log\nmaillog_file_prefixes = {dir}\n{duty}",
            dir = dir.display(),
            root = root.display(),
            libraries = libraries.display(),
            duty = duty.main,
        );
        fs::write(dir.join("etc/main.cf"), main)?;
        fs::write(
            dir.join("etc/master.cf"),
            format!("{address} inet n - n - - smtpd\n{SERVICES}{}", duty.services),
        )?;
        let mut command = world(dir, &libraries.join("sbin/master"));
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
