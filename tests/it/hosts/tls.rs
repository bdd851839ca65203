//! The other side's TLS: a connection in the clear in place of the one that speaks TLS, and a thread
//! that carries octets between the two.

use crate::support::PATIENCE;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What a good host with a certificate says.
pub const DEFAULTS: &str = "\
    EHLO: 250-host.test | 250-PIPELINING | 250-8BITMIME | 250 STARTTLS
    STARTTLS: 220 go | (tls)";

/// How long one side is waited for before the other is looked at.
const TURN: Duration = Duration::from_millis(2);

/// The handshake; gives what is inside, and whom the client asked for. None where it fails. `early` is said inside
/// before the client has ended its part.
pub fn behind(
    outside: &TcpStream,
    config: Arc<ServerConfig>,
    early: &[u8],
) -> Option<(TcpStream, String)> {
    let mut outside = outside.try_clone().ok()?;
    let mut config = ServerConfig::clone(&config);
    config.send_half_rtt_data = !early.is_empty();
    let mut connection = ServerConnection::new(Arc::new(config)).ok()?;
    connection.writer().write_all(early).ok()?;
    while connection.is_handshaking() || connection.wants_write() {
        if let Err(error) = connection.complete_io(&mut outside) {
            let _ = connection.write_tls(&mut outside); // the alert
            assert!(!is_later(&error), "no handshake came");
            return None;
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    let inside = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let (other, _) = listener.accept().ok()?;
    inside.set_nodelay(true).ok()?;
    inside.set_read_timeout(Some(PATIENCE)).ok()?;
    let name = connection.server_name().unwrap_or_default().to_owned();
    thread::spawn(move || carry(connection, outside, other));
    Some((inside, name))
}

/// Until one side ends.
fn carry(mut tls: ServerConnection, mut outside: TcpStream, mut inside: TcpStream) {
    let _ = (outside.set_read_timeout(Some(TURN)), inside.set_read_timeout(Some(TURN)));
    let mut piece = [0; 16384];
    loop {
        match tls.read_tls(&mut outside) {
            Ok(0) => break,
            Ok(_) if tls.process_new_packets().is_err() => break,
            Ok(_) => {}
            Err(error) if is_later(&error) => {}
            Err(_) => break,
        }
        loop {
            match tls.reader().read(&mut piece) {
                Ok(read @ 1..) if inside.write_all(&piece[..read]).is_ok() => {}
                Err(error) if is_later(&error) => break,
                _ => return drop(inside.shutdown(Shutdown::Both)),
            }
        }
        match inside.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => drop(tls.writer().write_all(&piece[..read])),
            Err(error) if is_later(&error) => {}
            Err(_) => break,
        }
        while tls.wants_write() && tls.write_tls(&mut outside).is_ok() {}
    }
    tls.send_close_notify();
    let _ = tls.write_tls(&mut outside);
    let _ = (outside.shutdown(Shutdown::Both), inside.shutdown(Shutdown::Both));
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
