//! The hint socket, `spool/control`: how a command tells a running server that something has changed
//! on the disk.
//!
//! Carries hints, never state: what a hint is about lies in the spool already, so a lost hint only costs
//! time, and no command waits for an answer. A datagram holds some lines, one for each hint: `look
//! m0fk3v9q2d71xz`, `look *`, `drop`. Any other line is ignored.

use crate::id::is_id;
use crate::limits::{ACCEPT_WAIT_MAX, HINT_DATAGRAM_MAX, HINT_WAIT, HINTS_MAX};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::unlink;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

/// What a server should look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlHint {
    /// One message of the queue, by its id: changed, or gone.
    Look(String),
    /// The whole queue.
    LookAll,
    /// The files that other users have put into `spool/drop/`.
    Drop,
}

/// The server's end of the socket. Its file stays when this is dropped: a command that cannot connect to it
/// knows that no server runs, and the next server removes it.
pub struct Control(UnixDatagram);

impl Control {
    /// Makes `spool/control`, mode 0600, in place of anything with that name; so the caller has to hold the
    /// lock of the spool.
    pub fn bind(spool: &Path) -> io::Result<Control> {
        match unlink(&spool.join(NAME)) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let (address, _dir) = address(spool)?;
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        // On Linux a socket gives its own mode to its file, so that there is no moment when
        // others may write to it.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket.bind(&address)?;
        Ok(Control(socket.into()))
    }

    /// Waits for the next datagram and returns its hints; none when it has no line that is a hint.
    pub fn receive(&self) -> Vec<ControlHint> {
        let mut datagram = [0; HINT_DATAGRAM_MAX];
        loop {
            match self.0.recv(&mut datagram) {
                Ok(size) => return parse(&datagram[..size]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Only a lack of memory is left, which lasts for a moment.
                Err(_) => thread::sleep(ACCEPT_WAIT_MAX),
            }
        }
    }
}

/// Tells the server of this spool, if one runs; false when none does. Waits for room at most [`HINT_WAIT`];
/// after that the rest is lost, because the server has enough to look at. More than [`HINTS_MAX`] messages
/// become [`ControlHint::LookAll`]; without hints this only says whether a server runs.
pub fn send(spool: &Path, hints: &[ControlHint]) -> io::Result<bool> {
    let nobody = |error: &io::Error| {
        // No file, no spool at all, or the file of a server that has ended.
        matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
    };
    let socket = match connect(spool) {
        Err(error) if nobody(&error) => return Ok(false),
        connected => connected?,
    };
    for datagram in datagrams(hints) {
        match socket.send(datagram.as_bytes()) {
            Ok(_) => {}
            Err(error) if nobody(&error) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Name of the socket in the spool.
const NAME: &str = "control";

fn connect(spool: &Path) -> io::Result<Socket> {
    let (address, _dir) = address(spool)?;
    let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
    socket.set_write_timeout(Some(HINT_WAIT))?;
    socket.connect(&address)?;
    Ok(socket)
}

/// The address of the socket, and a descriptor that has to stay open while it is used. A socket's address
/// holds no path over 107 octets; for a longer one the directory is opened and named by its descriptor.
fn address(spool: &Path) -> io::Result<(SockAddr, Option<OwnedFd>)> {
    if let Ok(address) = SockAddr::unix(spool.join(NAME)) {
        return Ok((address, None));
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = open(spool, flags, Mode::empty())?;
    let address = SockAddr::unix(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))?;
    Ok((address, Some(dir)))
}

/// All hints in as few datagrams as possible.
fn datagrams(hints: &[ControlHint]) -> Vec<String> {
    // A hint that would not be read back as it is, because its id is none, is left out.
    let reads = |hint: &&ControlHint| parse(hint.to_string().as_bytes()) == [(*hint).clone()];
    let (looks, mut rest): (Vec<&ControlHint>, Vec<&ControlHint>) =
        hints.iter().filter(reads).partition(|hint| matches!(hint, ControlHint::Look(_)));
    match looks.len() > HINTS_MAX {
        true => rest.push(&ControlHint::LookAll),
        false => rest.extend(looks),
    }
    let mut datagrams: Vec<String> = Vec::new();
    for line in rest.iter().map(ToString::to_string) {
        match datagrams.last_mut() {
            Some(last) if last.len() + line.len() <= HINT_DATAGRAM_MAX => last.push_str(&line),
            _ => datagrams.push(line),
        }
    }
    datagrams
}

/// Only whole lines count, because the end of a datagram that is too long is lost.
fn parse(datagram: &[u8]) -> Vec<ControlHint> {
    let lines = datagram.split_inclusive(|&b| b == b'\n');
    let whole = lines.filter_map(|line| str::from_utf8(line.strip_suffix(b"\n")?).ok());
    let hints = whole.filter_map(|line| match line {
        "look *" => Some(ControlHint::LookAll),
        "drop" => Some(ControlHint::Drop),
        _ => line
            .strip_prefix("look ")
            .filter(|id| is_id(id))
            .map(|id| ControlHint::Look(id.to_owned())),
    });
    hints.collect()
}

/// A line with its end.
impl fmt::Display for ControlHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlHint::Look(id) => writeln!(f, "look {id}"),
            ControlHint::LookAll => f.write_str("look *\n"),
            ControlHint::Drop => f.write_str("drop\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(id: impl ToString) -> ControlHint {
        ControlHint::Look(id.to_string())
    }

    #[test]
    fn only_whole_lines_that_read_are_hints() {
        let long = format!("look {}\n", "m".repeat(256));
        for (text, hints) in [
            (&b""[..], &[][..]),
            (b"look m1\nlook *\ndrop\n", &[look("m1"), ControlHint::LookAll, ControlHint::Drop]),
            (b"look m1\nlook m2", &[look("m1")]),
            (b"look ../x\nlook \nlook\nLOOK m1\n look m1\n\n\r\ndrop \n\xff\n", &[]),
            (b"\0look m1\nlook m\xff\nlook m1\r\nlook m3\n", &[look("m3")]),
            (long.as_bytes(), &[]),
        ] {
            assert_eq!(parse(text), hints, "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn hints_are_split_and_many_become_one() {
        let each = |count: usize| (0..count).map(|n| look(format!("m{n:013}"))).collect::<Vec<_>>();
        let read = |hints: &[ControlHint]| -> Vec<ControlHint> {
            let datagrams = datagrams(hints);
            assert!(datagrams.iter().all(|d| d.len() <= HINT_DATAGRAM_MAX && !d.is_empty()));
            datagrams.iter().flat_map(|datagram| parse(datagram.as_bytes())).collect()
        };
        assert!(datagrams(&[]).is_empty() && datagrams(&each(HINTS_MAX)).len() > 1);
        assert_eq!(read(&each(HINTS_MAX)), each(HINTS_MAX));
        let mut many = each(HINTS_MAX + 1);
        many.push(ControlHint::Drop);
        assert_eq!(read(&many), [ControlHint::Drop, ControlHint::LookAll]);
        assert_eq!(read(&[look("m1\ndrop"), look("*"), look("m2")]), [look("m2")]);
    }
}
