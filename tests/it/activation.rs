//! Sockets that somebody else has opened, and words to who started us: the test is the service manager
//! (sd_listen_fds(3), sd_notify(3)).

use crate::client::Client;
use crate::servers::{Binary, FACTEUR};
use crate::support::{PATIENCE, Place, config, text, until, within};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::process::{Command, Stdio};

/// Becomes its arguments, with what it has as stdin and stdout as descriptors 3 and 4.
const HAND_OVER: &str = "exec 3<&0 4<&1 </dev/null >/dev/null; \
                         export LISTEN_PID=${LISTEN_PID:-$$}; exec \"$@\"";

fn listener() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A facteur that serves the `facteur.toml` of a place and is handed these, by these names.
pub fn with(place: &Place, handed: [OwnedFd; 2], names: &str) -> Command {
    let [first, second] = handed.map(Stdio::from);
    let mut command = Command::new("sh");
    command.args(["-c", HAND_OVER, "sh", FACTEUR, "-c"]).arg(place.at("facteur.toml")).arg("serve");
    command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", names).stdin(first).stdout(second);
    command
}

fn shared(socket: &TcpListener) -> OwnedFd {
    socket.try_clone().unwrap().into()
}

fn at(address: SocketAddr) -> String {
    config("").replace("127.0.0.1:0", &address.to_string())
}

/// What it says when it does not start.
fn refusal(mut command: Command) -> String {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    if !within(PATIENCE, || child.try_wait().unwrap().is_some()) {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn sockets_are_found_by_address_and_by_name() {
    let place = Place::new();
    let ((smtp, smtp_at), (submission, submission_at)) = (listener(), listener());
    place.write("facteur.toml", at(smtp_at));
    let handed = [shared(&smtp), shared(&submission)];
    let server = Binary::start_with_streams(with(&place, handed, "facteur.socket:submission"));
    assert_eq!(server.address, smtp_at);
    server.wait_for(&[&format!("listening service=submission address={submission_at}")]);
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    let mut user = Client::greeted(submission_at);
    user.expect("MAIL FROM:<ann@mx.test>", "530 5.7.0 ");
    drop(user);
    server.stop();
    // It stays the manager's: whoever comes now waits for the next server.
    let _waits = TcpStream::connect(smtp_at).unwrap();
    smtp.set_nonblocking(true).unwrap();
    until("the client is there", || smtp.accept().is_ok());
    let handed = [shared(&smtp), shared(&submission)];
    let server = Binary::start_with_streams(with(&place, handed, "facteur.socket:submission"));
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    assert_eq!(place.mail("ann").len(), 2);
    server.stop();
}

#[test]
fn a_part_stands_for_all_addresses_of_its_port() {
    let place = Place::new();
    let ((smtp, smtp_at), (other, _)) = (listener(), listener());
    place.write("facteur.toml", at(SocketAddr::from(([0; 4], smtp_at.port()))));
    let server = Binary::start_with_streams(with(&place, [smtp.into(), other.into()], "smtp:smtp"));
    let lines = server.lines();
    let count = lines.iter().filter(|line| line.starts_with("listening ")).count();
    assert!(count <= 2 && !lines.iter().any(|line| line.contains("0.0.0.0")), "{lines:#?}");
    server.wait_for(&[&format!("listening service=smtp address={smtp_at}")]);
    server.stop();
}

#[test]
fn what_fits_nothing_is_refused_by_its_number_and_address() {
    let place = Place::new();
    let ((smtp, smtp_at), (other, other_at)) = (listener(), listener());
    place.write("facteur.toml", at(smtp_at));
    let said = refusal(with(&place, [smtp.into(), other.into()], "smtp:web"));
    let what = format!("descriptor 4 \"web\" was handed over listening on {other_at}");
    assert!(said.contains(&what), "{said}");
    assert!(!place.at("spool").exists());
    // TLS from the first octet needs a certificate.
    let ((smtp, smtp_at), (other, _)) = (listener(), listener());
    place.write("facteur.toml", at(smtp_at));
    let said = refusal(with(&place, [smtp.into(), other.into()], "smtp:submissions"));
    assert!(said.contains("it needs a [tls]"), "{said}");
    // A connection, as a socket with Accept=yes hands over.
    let (smtp, smtp_at) = listener();
    let connected = TcpStream::connect(smtp_at).unwrap();
    place.write("facteur.toml", at(smtp_at));
    let said = refusal(with(&place, [smtp.into(), connected.into()], "smtp:smtp"));
    assert!(said.contains("descriptor 4 \"smtp\"") && said.contains("does not listen"), "{said}");
}

#[test]
fn what_was_handed_to_another_process_is_not_ours() {
    let place = Place::new();
    let ((smtp, smtp_at), (other, _)) = (listener(), listener());
    place.write("facteur.toml", config(""));
    let mut command = with(&place, [smtp.into(), other.into()], "smtp:smtp");
    command.env("LISTEN_PID", "1");
    let server = Binary::start_with_streams(command);
    assert_ne!(server.address, smtp_at);
    server.client().delivered(&["ann@mx.test"], b"Subject: x\r\n\r\nHello.\r\n");
    server.stop();
}

/// The next words to the manager.
fn word(manager: &UnixDatagram) -> String {
    let mut words = [0; 512];
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = manager.recv(&mut words).unwrap();
    text(&words[..length])
}

/// Starts one that tells its manager, at `NOTIFY_SOCKET`.
fn telling(place: &Place, socket: &str) -> Binary {
    let file = place.write("facteur.toml", config(""));
    let mut command = Command::new(FACTEUR);
    command.arg("-c").arg(file).arg("serve").env("NOTIFY_SOCKET", socket);
    Binary::start(command)
}

#[test]
fn the_manager_hears_of_ready_reloading_and_stopping() {
    let place = Place::new();
    let manager = UnixDatagram::bind(place.at("notify")).unwrap();
    let server = telling(&place, place.at("notify").to_str().unwrap());
    assert_eq!(word(&manager), "READY=1\nSTATUS=serving");
    server.signal("HUP");
    let reloading = word(&manager);
    let when = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(when.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(word(&manager), "READY=1\nSTATUS=serving");
    place.write("facteur.toml", "bogus");
    server.signal("HUP");
    assert!(word(&manager).starts_with("RELOADING=1\n"));
    let ready = word(&manager);
    assert!(ready.starts_with("READY=1\nSTATUS=serving by the old configuration"), "{ready}");
    server.stop();
    assert_eq!(word(&manager), "STOPPING=1");
}

#[test]
fn the_manager_may_have_no_file() {
    let place = Place::new();
    let name = format!("facteur-it-{}-notify", std::process::id());
    let address = UnixAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    let server = telling(&place, &format!("@{name}"));
    assert_eq!(word(&manager), "READY=1\nSTATUS=serving");
    // From inside of the sandbox, which lets no new connection to such a socket be made.
    server.stop();
    assert_eq!(word(&manager), "STOPPING=1");
}
