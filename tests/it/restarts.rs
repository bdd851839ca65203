//! A new version without a gap: the server is restarted while mail comes, and the socket is somebody else's. Nobody is
//! refused, everybody is greeted, and what was acknowledged is there once. The manager is this test, and systemd in a
//! container of its own.

use crate::activation::with;
use crate::client::Client;
use crate::crashes::{Promises, counted, send};
use crate::servers::{Binary, FACTEUR};
use crate::support::{PATIENCE, Place, config, files, has_program, skip, text, until, within};
use nix::unistd::geteuid;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

const RESTARTS: usize = 20;

/// Clients at once.
const CLIENTS: usize = 4;

/// Messages between two restarts at least.
const BETWEEN: usize = 5;

/// Connects again and again, a message each, while `restart` is done so often. Returns what was promised. Fails where a
/// connection is refused, or not greeted.
fn mail_over_restarts(address: SocketAddr, mut restart: impl FnMut()) -> Vec<usize> {
    let (promises, is_over) = (Promises::default(), AtomicBool::new(false));
    let keep_sending = || {
        while !is_over.load(SeqCst) {
            let mut client = Client::of(TcpStream::connect(address).expect("nobody is refused"));
            let banner = client.reply();
            assert!(banner.starts_with("220 "), "greeted by {banner:?}");
            let is_there = client.try_send(b"EHLO client.test\r\n").is_ok();
            if !is_there || !client.reply().starts_with("250") {
                continue; // it is about to end, and has said 421
            }
            let number = promises.next();
            if send(&mut client, &["ann@mx.test"], number) == Some(true) {
                promises.promised(number);
            }
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(keep_sending)).collect();
        for _ in 0..RESTARTS {
            let before = promises.all().len();
            let is_failed = || clients.iter().any(|client| client.is_finished());
            until("mail comes", || promises.all().len() >= before + BETWEEN || is_failed());
            if is_failed() {
                break;
            }
            restart();
        }
        is_over.store(true, SeqCst);
    });
    promises.all()
}

/// What was promised is below that Maildir once, and nothing is twice.
fn assert_kept(promised: &[usize], maildir: &Path) {
    let new = files(&maildir.join("new"));
    let kept = counted(new.iter().map(|path| text(&fs::read(path).unwrap())));
    let lost: Vec<_> = promised.iter().filter(|number| !kept.contains_key(number)).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(kept.values().all(|count| *count == 1), "{kept:?}");
    assert!(promised.len() >= RESTARTS * BETWEEN, "{}", promised.len());
}

#[test]
fn twenty_restarts_refuse_nobody() {
    let place = Place::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    place.write("facteur.toml", config("").replace("127.0.0.1:0", &address.to_string()));
    let start = || {
        let handed = [&socket, &other].map(|socket| socket.try_clone().unwrap().into());
        Binary::start_with_streams(with(&place, handed, "smtp:submission"))
    };
    let mut server = Some(start());
    let promised = mail_over_restarts(address, || {
        server.take().unwrap().stop();
        server = Some(start());
    });
    server.take().unwrap().stop();
    assert_kept(&promised, &place.maildir("ann"));
}

/// A container whose root is this machine's, with what is written there in memory. It has our units.
const CONTAINER: &str = r#"
set -e
cd "$1"
mount --make-rprivate /
mount -t tmpfs tmpfs memory
mkdir memory/upper memory/work
mount -t overlay overlay -o "lowerdir=/,upperdir=memory/upper,workdir=memory/work" root
rm -rf root/etc/systemd/system/*.wants root/etc/systemd/system/*.requires
mkdir -p root/etc/facteur root/etc/sysusers.d
cp "$2" root/usr/bin/facteur.new
chmod 755 root/usr/bin/facteur.new
mv root/usr/bin/facteur.new root/usr/bin/facteur
cp facteur.service facteur.socket root/etc/systemd/system/
cp facteur.toml root/etc/facteur/
echo 'u facteur - -' >root/etc/sysusers.d/facteur.conf
exec systemd-nspawn --quiet --register=no --keep-unit --directory=root --console=read-only --boot "$3"
"#;

/// What the container boots: no more than sockets and files need.
const TARGET: &str = "systemd.unit=basic.target";

/// The container, halted when this is dropped.
struct Container {
    nspawn: Child,
    /// Its first process, as its number is here.
    first: u32,
}

/// The first child of a process.
fn child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

impl Container {
    fn boot(place: &Place) -> Option<Container> {
        for dir in ["memory", "root"] {
            fs::create_dir(place.at(dir)).unwrap();
        }
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", CONTAINER, "sh"])
            .arg(place.path())
            .args([FACTEUR, TARGET]);
        // The kernel may have no filter of system calls, and the container is ours.
        command.env("SYSTEMD_SECCOMP", "0").stdin(Stdio::null());
        let log = fs::File::create(place.at("container.log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let mut container = Container { nspawn: command.spawn().unwrap(), first: 0 };
        let is_up = within(4 * PATIENCE, || {
            container.first = child(container.nspawn.id()).unwrap_or_default();
            let state = container.systemctl(&["is-system-running"]).output().unwrap().stdout;
            let is_gone = container.nspawn.try_wait().unwrap().is_some();
            is_gone || ["running", "degraded"].contains(&text(&state).trim())
        });
        if is_up && container.nspawn.try_wait().unwrap().is_none() {
            return Some(container);
        }
        let said = text(&fs::read(place.at("container.log")).unwrap());
        skip(&format!("no container boots here: {}", said.lines().last().unwrap_or_default()));
        None
    }

    /// `systemctl` in the container.
    fn systemctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let first = self.first.to_string();
        command.args(["--target", &first, "--mount", "--pid", "--ipc", "--uts", "systemctl"]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn done(&self, arguments: &[&str]) {
        let output = self.systemctl(arguments).output().unwrap();
        let status = || {
            let mut status = self.systemctl(&["status", "facteur.service", "facteur.socket"]);
            text(&status.output().unwrap().stdout)
        };
        let said = text(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}{}", status());
    }

    /// A path of the container as this process reaches it.
    fn seen(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.first))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It outlives who has started it, and all others end with it. Its number is another's where nothing was booted.
        let words = fs::read_to_string(format!("/proc/{}/cmdline", self.first)).unwrap_or_default();
        if self.first > 0 && words.contains(TARGET) {
            let _ = Command::new("kill").args(["-KILL", &self.first.to_string()]).status();
        }
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

#[ignore = "boots a container with systemd: .ci/run --all runs it"]
#[test]
fn systemctl_restart_refuses_nobody() {
    if !geteuid().is_root() {
        return skip("a container with systemd needs root");
    }
    if !has_program("systemd-nspawn", "--version") {
        return skip("systemd-nspawn (systemd-container) is not installed");
    }
    let place = Place::new();
    // The container has our network: a port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unit = |name: &str| fs::read_to_string(format!("packaging/{name}")).unwrap();
    let socket = unit("facteur.socket");
    let listen = |line: &&str| !line.starts_with("ListenStream=");
    let others: Vec<&str> = socket.lines().filter(listen).collect();
    let listens = format!("[Socket]\nListenStream={address}");
    place.write("facteur.socket", others.join("\n").replace("[Socket]", &listens));
    place.write("facteur.service", unit("facteur.service"));
    let state = config("").replace("127.0.0.1:0", &address.to_string());
    let state = state.replace("\"spool\"", "\"/var/lib/facteur/spool\"");
    place.write("facteur.toml", state.replace("\"mail/", "\"/var/lib/facteur/mail/"));
    let Some(container) = Container::boot(&place) else { return };
    container.done(&["start", "facteur.socket", "facteur.service"]);
    let promised = mail_over_restarts(address, || container.done(&["restart", "facteur.service"]));
    container.done(&["stop", "facteur.service"]);
    assert_kept(&promised, &container.seen("/var/lib/facteur/mail/mx.test/ann"));
}
