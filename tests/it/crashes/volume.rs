//! A GlusterFS volume of two bricks, each with a copy of everything, mounted twice as on two machines. It lives in
//! namespaces of its own, whose first process ends when the test does: nothing of it is left, mounts included.

use crate::support::{PATIENCE, Place, has_program, skip, text};
use nix::unistd::geteuid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;

/// Bricks, and mounts of the volume.
pub const BRICKS: [&str; 2] = ["brick1", "brick2"];
pub const MOUNTS: [&str; 2] = ["mount1", "mount2"];

/// What the first process of the namespaces does. GlusterFS refuses bricks at 127.0.0.1, so the loopback interface
/// has one more address, which nobody outside of the namespace sees.
const SCRIPT: &str = r#"
set -e
cd "$1"
ip link set lo up
ip address add 198.51.100.1/32 dev lo
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/gluster
mount -t tmpfs tmpfs /var/lib/glusterd
mount -t tmpfs tmpfs /var/log/glusterfs
glusterd -N -f "$1/glusterd.vol" -l "$1/glusterd.log" -p "$1/glusterd.pid" &
until gluster --mode=script pool list >/dev/null 2>&1; do sleep 0.1; done
gluster --mode=script volume create mail replica 2 "198.51.100.1:$1/brick1" "198.51.100.1:$1/brick2" force
gluster --mode=script volume start mail
for mount in mount1 mount2; do
    glusterfs -N --volfile-server=198.51.100.1 --volfile-id=mail -l "$1/$mount.log" "$1/$mount" &
    until mountpoint -q "$1/$mount"; do sleep 0.1; done
done
echo ready
exec cat
"#;

/// The volume, gone when it is dropped.
pub struct Volume {
    holder: Child,
    /// Its end is the end of the first process.
    _stdin: ChildStdin,
    place: PathBuf,
    /// The first process, as its number is outside.
    first: u32,
}

impl Volume {
    /// A volume in a place; nothing where this machine cannot have one.
    pub fn new(place: &Place) -> Option<Volume> {
        if !geteuid().is_root() {
            skip("a GlusterFS volume needs root");
            return None;
        }
        if !has_program("glusterd", "--version") || !Path::new("/dev/fuse").exists() {
            skip("GlusterFS (glusterfs-server) is not installed, or there is no /dev/fuse");
            return None;
        }
        BRICKS.iter().chain(&MOUNTS).for_each(|dir| fs::create_dir(place.at(dir)).unwrap());
        let (work, run) = (place.at("work"), place.at("run"));
        [&work, &run].iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let glusterd = format!(
            "volume management\n type mgmt/glusterd\n option working-directory {}\n \
             option run-directory {}\n option transport-type socket\n \
             option transport.address-family inet\n option transport.socket.listen-port 24007\n\
             end-volume\n",
            work.display(),
            run.display()
        );
        place.write("glusterd.vol", glusterd);
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", SCRIPT, "sh"]).arg(place.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(fs::File::create(place.at("volume.log")).unwrap());
        let mut holder = command.spawn().unwrap();
        let (stdin, stdout) = (holder.stdin.take().unwrap(), holder.stdout.take().unwrap());
        let mut volume = Volume { holder, _stdin: stdin, place: place.path().to_owned(), first: 0 };
        let (tell, told) = channel();
        // Read to its end, because bricks have it too.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let mut said = Vec::new();
        while said.last().is_none_or(|line| line != "ready") {
            let line = told.recv_timeout(4 * PATIENCE).unwrap_or_else(|_| {
                let log = text(&fs::read(place.at("volume.log")).unwrap());
                panic!("no volume: {said:?} {log}")
            });
            said.push(line);
        }
        let unshare = volume.holder.id();
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"));
        volume.first = children.unwrap().trim().parse().unwrap();
        Some(volume)
    }

    /// A program that sees the mounts; its network and its number are those of the test, and so is its `/proc`.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.first)).args(["unshare", "--mount"]);
        let become_it = "mount -t proc proc /proc && exec \"$0\" \"$@\"";
        command.args(["sh", "-c", become_it, program]);
        command
    }

    /// A path in the volume as this process reaches it.
    pub fn seen(&self, mount: &str) -> PathBuf {
        let place = self.place.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.first.to_string()).join("root").join(place).join(mount)
    }

    /// The process that keeps a brick.
    pub fn keeper(&self, brick: &str) -> u32 {
        let brick = self.place.join(brick);
        let is_its = |pid: &u32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|octet| *octet == 0).collect();
            let name = words.iter().position(|word| *word == b"--brick-name");
            name.is_some_and(|at| {
                words.get(at + 1).is_some_and(|word| *word == brick.as_os_str().as_encoded_bytes())
            })
        };
        let entries = fs::read_dir("/proc").unwrap();
        let mut pids =
            entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.find(is_its).unwrap()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // The first process ends with it, and all others with that one.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
