//! One TLS connection on a socket: plain octets for the session, records on the socket.
//!
//! Holds as little as possible: octets that were read are taken before more are read, and what is written
//! is sent at once. An idle connection has a buffer of 4 KiB and the keys.

use super::words::{HELLO, trouble};
use super::{Side, binding};
use crate::net::socket::Socket;
use crate::smtp::auth::Bindings;
use rustls::pki_types::CertificateDer;
use rustls::{
    CipherSuite, ClientConnection, Connection, NamedGroup, ProtocolVersion, ServerConnection,
};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::sync::Arc;
use std::time::Instant;

/// The error for a peer that sent no octet of TLS in time.
pub const SILENT: &str = "the other side was silent and sent no ClientHello";

/// The state of one connection, over a [`Socket`] that is passed in.
pub struct Layer {
    connection: Connection,
    /// The error in what the other side sent; reported after the octets that came before it.
    broken: Option<rustls::Error>,
    /// The first octets that came; empty after the handshake.
    hello: Vec<u8>,
    /// `tls-server-end-point` of our own certificate; none on a client's side.
    end_point: Option<Arc<[u8]>>,
}

impl Layer {
    /// A connection before its first octet.
    pub(in crate::net) fn new(side: &Side<'_>) -> io::Result<Layer> {
        let connection = match side {
            Side::Server(acceptor) => {
                ServerConnection::new(acceptor.config()).map(Connection::Server)
            }
            Side::Client { connector, name, wanted } => {
                let (config, name) = connector.config(name, *wanted)?;
                ClientConnection::new(config, name).map(Connection::Client)
            }
        };
        let connection = connection.map_err(|error| trouble(&error, &[]))?;
        let end_point = match side {
            Side::Server(acceptor) => Some(acceptor.end_point()),
            Side::Client { .. } => None,
        };
        Ok(Layer { connection, broken: None, hello: Vec::with_capacity(HELLO), end_point })
    }

    /// Does the whole handshake.
    pub(in crate::net) fn handshake(
        &mut self,
        socket: &mut Socket,
        deadline: Instant,
    ) -> io::Result<()> {
        let mut has_spoken = false;
        loop {
            self.flush(socket, deadline)?;
            if !self.connection.is_handshaking() {
                self.hello = Vec::new();
                return Ok(());
            }
            match self.read_records(socket, deadline) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => has_spoken = true,
                Err(error) if error.kind() == ErrorKind::TimedOut && !has_spoken => {
                    return Err(io::Error::new(ErrorKind::TimedOut, SILENT));
                }
                Err(error) => return Err(error),
            }
            self.check_broken(socket)?;
        }
    }

    /// As [`crate::net::stream::Wire::read`].
    pub(in crate::net) fn read(
        &mut self,
        socket: &mut Socket,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                result => return result,
            }
            self.check_broken(socket)?;
            self.read_records(socket, deadline)?;
            // Tickets, new keys and alerts have to be answered.
            self.flush(socket, deadline)?;
        }
    }

    /// As [`crate::net::stream::Wire::write_all`].
    pub(in crate::net) fn write_all(
        &mut self,
        socket: &mut Socket,
        mut octets: &[u8],
        deadline: Instant,
    ) -> io::Result<()> {
        while !octets.is_empty() {
            // Takes as much as its buffer holds; the flush empties it.
            let written = self.connection.writer().write(octets)?;
            octets = &octets[written..];
            self.flush(socket, deadline)?;
        }
        Ok(())
    }

    /// Whether the other side has sent data already. Records without data, as tickets after a handshake, do
    /// not count.
    pub(in crate::net) fn poll_input(&mut self, socket: &mut Socket) -> bool {
        loop {
            match self.connection.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => return true,
                Ok(state) if state.peer_has_closed() => return false,
                Ok(_) if socket.has_octets() => {}
                Ok(_) | Err(_) => return false,
            }
            // The octets are there, so this does not wait.
            if !matches!(self.read_records(socket, Instant::now() + crate::limits::LINGER), Ok(1..))
            {
                return false;
            }
        }
    }

    /// Sends close_notify, without waiting for room.
    pub(in crate::net) fn end(&mut self, socket: &mut Socket) {
        self.connection.send_close_notify();
        self.flush_now(socket);
    }

    /// The channel bindings of this connection.
    pub(in crate::net) fn bindings(&self) -> Bindings {
        let end_point = self.end_point.as_deref().unwrap_or_default().to_vec();
        Bindings { exporter: binding::exporter(&self.connection), end_point }
    }

    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.connection.protocol_version()
    }

    pub(super) fn suite(&self) -> Option<CipherSuite> {
        self.connection.negotiated_cipher_suite().map(|suite| suite.suite())
    }

    pub(super) fn group(&self) -> Option<NamedGroup> {
        self.connection.negotiated_key_exchange_group().map(|group| group.name())
    }

    /// The other side's certificates, its own first; empty where it showed none.
    pub(super) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Reads some records from the socket; returns the number of octets, 0 at the end of input.
    fn read_records(&mut self, socket: &mut Socket, deadline: Instant) -> io::Result<usize> {
        let mut from = Until(socket, deadline);
        let taken = match self.connection.is_handshaking() {
            true => self.connection.read_tls(&mut Noting(from, &mut self.hello))?,
            false => self.connection.read_tls(&mut from)?,
        };
        if let Err(error) = self.connection.process_new_packets() {
            self.broken = Some(error);
        }
        Ok(taken)
    }

    /// Fails when what came was no TLS; an alert is sent, as far as that needs no waiting.
    fn check_broken(&mut self, socket: &mut Socket) -> io::Result<()> {
        let Some(error) = &self.broken else { return Ok(()) };
        let trouble = trouble(error, &self.hello);
        self.flush_now(socket);
        Err(trouble)
    }

    fn flush(&mut self, socket: &mut Socket, deadline: Instant) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Until(socket, deadline))?;
        }
        Ok(())
    }

    /// The same without waiting, for the last alert.
    fn flush_now(&mut self, socket: &mut Socket) {
        while self.connection.wants_write() {
            if !matches!(self.connection.write_tls(&mut Now(socket)), Ok(1..)) {
                return;
            }
        }
    }
}

/// A socket with a deadline, as rustls reads and writes it.
struct Until<'a>(&'a mut Socket, Instant);

impl Read for Until<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer, self.1)
    }
}

impl Write for Until<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(octets)], self.1)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write(pieces, self.1)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same for reading; keeps the first octets.
struct Noting<'a>(Until<'a>, &'a mut Vec<u8>);

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        let room = HELLO.saturating_sub(self.1.len());
        self.1.extend_from_slice(&buffer[..read.min(room)]);
        Ok(read)
    }
}

/// The same without waiting.
struct Now<'a>(&'a mut Socket);

impl Write for Now<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.write_now(&[IoSlice::new(octets)])
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.write_now(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
