//! The system's log, for what a command has to log without a running server: one datagram to the socket at
//! which syslogd or systemd's journal listens (syslog(3), RFC 3164).
//!
//! Never waits: where there is no reader or no room, the line is lost.

use crate::limits::SYSLOG_MAX;
use jiff::ZonedDateTime;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The socket of the system's log.
pub const SOCKET: &str = "/dev/log";

/// Facility mail (2), severity err (3).
const PRIORITY: u8 = 2 * 8 + 3;

/// Sends a line from a program of this name, cut to [`SYSLOG_MAX`] octets.
pub fn send(socket: &Path, program: &str, text: &str, now: &ZonedDateTime) -> io::Result<()> {
    let stamp = now.strftime("%b %e %H:%M:%S");
    let line = format!("<{PRIORITY}>{stamp} {program}[{}]: {text}", std::process::id());
    let line = &line[..line.floor_char_boundary(SYSLOG_MAX)];
    let own = UnixDatagram::unbound()?;
    own.set_nonblocking(true)?;
    own.send_to(line.as_bytes(), socket).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_and_nobody_waits() {
        let path = std::env::temp_dir().join(format!("facteur-log-{}", std::process::id()));
        let now: ZonedDateTime = "2026-11-03T04:05:06+00:00[UTC]".parse().unwrap();
        assert!(send(&path, "sendmail", "x", &now).is_err(), "nobody is there");
        let log = UnixDatagram::bind(&path).unwrap();
        send(&path, "sendmail", &format!("rejected {}", "\u{e9}".repeat(1000)), &now).unwrap();
        let mut line = [0; 2048];
        let size = log.recv(&mut line).unwrap();
        let line = std::str::from_utf8(&line[..size]).unwrap();
        let pid = std::process::id();
        let begin = format!("<19>Nov  3 04:05:06 sendmail[{pid}]: rejected \u{e9}");
        assert!(line.starts_with(&begin) && size <= SYSLOG_MAX, "{line}");
        // A full socket: its reader reads no more.
        let full = (0..100_000).find_map(|_| send(&path, "sendmail", "x", &now).err());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
