//! An SMTP client for tests: says what it is told, and never waits forever.

use crate::secrecy::Line;
use crate::support::PATIENCE;
use rustls::ClientConfig;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

pub struct Client(BufReader<Line>);

impl Client {
    /// Connects and reads nothing.
    pub fn connect(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect(address).unwrap())
    }

    /// A connection that is there.
    pub fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(BufReader::new(Line::Clear(stream)))
    }

    /// Connects and goes on by TLS at once.
    pub fn connect_tls(address: SocketAddr, tls: &Arc<ClientConfig>) -> Client {
        let mut client = Client::connect(address);
        client.secure(tls);
        client
    }

    /// The handshake, with whoever calls itself mx.test.
    pub fn secure(&mut self, tls: &Arc<ClientConfig>) {
        assert!(self.0.buffer().is_empty(), "octets before the handshake: {:?}", self.0.buffer());
        self.0.get_mut().secure(tls).expect("a handshake");
    }

    /// STARTTLS and what follows, up to the reply to EHLO.
    pub fn start_tls(&mut self, tls: &Arc<ClientConfig>) -> String {
        self.expect("STARTTLS", "220 2.0.0 ");
        self.secure(tls);
        self.expect("EHLO client.test", "250")
    }

    /// The connection itself.
    pub fn line(&mut self) -> &mut Line {
        self.0.get_mut()
    }

    /// Connects, is greeted, says EHLO.
    pub fn greeted(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        let banner = client.reply();
        assert!(banner.starts_with("220 "), "{banner:?}");
        client.expect("EHLO client.test", "250");
        client
    }

    pub fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap();
    }

    /// The same where the server may be gone.
    pub fn try_send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.0.get_mut().write_all(octets)?;
        self.0.get_mut().flush()
    }

    /// One whole reply, its lines joined by LF; empty at the end of the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = Vec::new();
            match self.0.read_until(b'\n', &mut line) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("no reply after {reply:?}: {error}"),
            }
            let Some(text) = line.strip_suffix(b"\r\n") else {
                assert!(line.is_empty(), "half a line: {line:?}");
                return reply;
            };
            reply.push_str(std::str::from_utf8(text).unwrap());
            if text.get(3) != Some(&b'-') {
                return reply;
            }
            reply.push('\n');
        }
    }

    /// A reply if one comes in that time.
    pub fn reply_within(&mut self, time: Duration) -> Option<String> {
        self.0.get_ref().tcp().set_read_timeout(Some(time)).unwrap();
        let more = self.0.fill_buf().map(<[u8]>::len);
        self.0.get_ref().tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        match more {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            _ => Some(self.reply()),
        }
    }

    /// [`Client::reply`] to what may take minutes on a busy disk.
    pub fn reply_at_leisure(&mut self) -> String {
        self.0.get_ref().tcp().set_read_timeout(Some(20 * PATIENCE)).unwrap();
        let reply = self.reply();
        self.0.get_ref().tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        reply
    }

    /// Sends one command, gives its reply.
    pub fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends one command; its reply has to begin so.
    pub fn expect(&mut self, command: &str, start: &str) -> String {
        let reply = self.ask(command);
        assert!(reply.starts_with(start), "{command}: {reply:?}, not {start}");
        reply
    }

    /// MAIL, RCPT for each, DATA, up to the 354.
    pub fn begin(&mut self, to: &[&str]) {
        self.expect("MAIL FROM:<sender@client.test>", "250 2.1.0 ");
        for recipient in to {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250 2.1.5 ");
        }
        self.expect("DATA", "354 ");
    }

    /// A whole transaction; `message` with CR LF, not yet dot-stuffed. Gives the last reply.
    pub fn deliver(&mut self, to: &[&str], message: &[u8]) -> String {
        self.begin(to);
        self.send(&stuffed(message));
        self.reply()
    }

    /// [`Client::deliver`] that has to succeed; gives the message's id.
    pub fn delivered(&mut self, to: &[&str], message: &[u8]) -> String {
        let reply = self.deliver(to, message);
        let id = reply.strip_prefix("250 2.0.0 Ok: queued as ");
        id.unwrap_or_else(|| panic!("{reply:?}")).to_owned()
    }

    /// Whether the server has closed.
    pub fn is_over(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// The server says this last, and closes.
    pub fn expect_last(&mut self, start: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(start), "{reply:?}, not {start}");
        assert!(self.is_over(), "open after {reply:?}");
        reply
    }

    /// Says no more, but goes on reading.
    pub fn hang_up(&mut self) {
        self.0.get_ref().tcp().shutdown(Shutdown::Write).unwrap();
    }
}

/// A message as it goes over the wire: dots doubled, and the end of data (RFC 5321 §4.5.2).
pub fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|&b| b == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    assert!(wire.is_empty() || wire.ends_with(b"\r\n"), "a message ends in CR LF");
    wire.extend_from_slice(b".\r\n");
    wire
}
