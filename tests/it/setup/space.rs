//! A machine of a test's own, as far as `facteur setup` sees one: its own /etc, /run and /var, its own network, and the
//! programs of this one.

use crate::servers::FACTEUR;
use crate::support::{PATIENCE, Place, skip, text, within};
use nix::unistd::geteuid;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Says "ready" once all is there, and lasts until its standard input ends.
const SCRIPT: &str = r#"
set -e
ip link set lo up
ip address add 192.0.2.9/32 dev lo
echo box >/proc/sys/kernel/hostname
mkdir "$1/etc"
mount -t tmpfs -o mode=755 none "$1/etc"
cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
for table in passwd group shadow gshadow subuid subgid; do
    [ ! -e /etc/$table ] || sed -i '/^facteur:/d' /etc/$table
done
rm -rf /etc/facteur /etc/dovecot/local.conf /etc/systemd/system/facteur* /etc/resolv.conf
echo 'nameserver 127.0.0.1' >/etc/resolv.conf
echo '127.0.0.1 localhost' >/etc/hosts
for dir in /run /var; do mount -t tmpfs -o mode=755 none $dir; done
mkdir -p /run/dovecot /var/spool /var/log /var/lib/dovecot
echo ready
cat >/dev/null
"#;

/// The machine; gone with all that is mounted when it is dropped.
pub struct Space {
    pub place: Place,
    holder: Child,
}

impl Space {
    /// Nothing where this machine cannot have one, which is said.
    pub fn new() -> Option<Space> {
        if !geteuid().is_root() {
            skip("a user of the system is made by root only");
            return None;
        }
        let place = Place::in_memory();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--uts", "sh", "-c", SCRIPT, "sh"]).arg(place.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(fs::File::create(place.at("space.log")).unwrap());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let space = Space { place, holder };
        if line != "ready\n" {
            skip(&format!(
                "no space of our own for mounts and networks: {}",
                text(&fs::read(space.place.at("space.log")).unwrap())
            ));
            return None;
        }
        Some(space)
    }

    /// A program in it.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let id = self.holder.id();
        command.args(["mnt", "net", "uts"].map(|kind| {
            let name = if kind == "mnt" { "mount" } else { kind };
            format!("--{name}=/proc/{id}/ns/{kind}")
        }));
        command.arg(program).current_dir("/").env("LC_ALL", "C.UTF-8").env_remove("JOURNAL_STREAM");
        command
    }

    /// Runs a program to its end; its status, and what it said on stdout and stderr.
    pub fn run(&self, words: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(words[0]);
        command.args(&words[1..]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that reads nothing has closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Runs facteur, which has to succeed; what it said on stdout.
    pub fn facteur(&self, words: &[&str], input: &str) -> String {
        let (status, out, err) = self.run(&[&[FACTEUR], words].concat(), input);
        assert_eq!(status, 0, "{words:?}: {out}{err}");
        out
    }

    /// Runs a line of a shell that has to succeed; what it said.
    pub fn shell(&self, line: &str) -> String {
        let (status, out, err) = self.run(&["sh", "-c", line], "");
        assert_eq!(status, 0, "{line}: {out}{err}");
        out
    }

    /// A path in it, as this process reaches it.
    pub fn seen(&self, path: &str) -> PathBuf {
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(&path[1..])
    }

    /// All that lies at these paths: mode, owner, group, time of change, and the text of each file.
    pub fn state(&self, paths: &str) -> String {
        self.shell(&format!(
            "find {paths} -printf '%p %m %u %g %C@ %l\\n' | sort; \
             find {paths} -type f -exec sha256sum {{}} + | sort"
        ))
    }

    /// A Dovecot that reads /etc/dovecot.
    pub fn dovecot(&self) -> RunningDovecot {
        let mut command = self.command("/usr/sbin/dovecot");
        let log = fs::File::create(self.place.at("dovecot.log")).unwrap();
        command.args(["-F", "-o", "log_path=/dev/stderr"]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let dovecot = RunningDovecot(child);
        let pid = self.seen("/run/dovecot/master.pid");
        let is_there = within(PATIENCE, || pid.exists());
        assert!(is_there, "{}", text(&fs::read(self.place.at("dovecot.log")).unwrap()));
        dovecot
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir(self.place.at("etc"));
    }
}

/// Ended, with its processes, when it is dropped.
pub struct RunningDovecot(Child);

impl Drop for RunningDovecot {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
