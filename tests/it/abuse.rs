//! The server under load and abuse. Each test prints what it has measured, and by which bound it holds:
//! memory, processor time and counts where it can, as they are the same on a busy machine.

mod crowd;
mod floods;
mod full;
mod invented;
mod large;
mod logins;
mod scarce;
mod slow;
mod vanish;

use crate::client::Client;
use crate::servers::Binary;
use crate::support::{PATIENCE, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

const MAIL: &[u8] = b"Subject: x\r\n\r\nHello.\r\n";

const MIB: u64 = 1024;

/// Says one line past the capture of the test harness.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "abuse: {what}");
}

/// Says a measure with its bound, and fails past that.
fn at_most(what: &str, measured: u64, bound: u64, unit: &str) {
    say(&format!("{what}: {measured} {unit} (bound {bound} {unit})"));
    assert!(measured <= bound, "{what}: {measured} {unit}, not {bound} at most");
}

/// A line of /proc/PID/status in KiB, such as `VmHWM`: the most memory that it ever had.
pub fn memory(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{key}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// From now on `VmHWM` is counted anew.
pub fn forget_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// Processor time of a process so far, of all its threads.
fn processor_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// How many of a kind a process has: `fd`, `task`.
fn entries(pid: u32, what: &str) -> usize {
    fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

/// As many descriptors for this process as the system grants; whether that is so many.
fn has_descriptors(wanted: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    most >= wanted
}

/// A connection from that address of this machine.
pub fn connect_from(client: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((client, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The server takes mail again, as it did before.
fn until_served(server: &Binary) {
    until("mail is taken again", || {
        let mut client = Client::connect(server.address);
        if !client.reply().starts_with("220 ") || !client.ask("EHLO c").starts_with("250") {
            return false;
        }
        client.deliver(&["ann@mx.test"], MAIL).starts_with("250 2.0.0 ")
    });
}
