//! The bounds of daily reports on TLS (RFC 8460): what is counted, how long it is kept, and to whom it goes.

use std::time::Duration;

/// Octets of all that is counted in one day, in memory. A domain of usual kind takes some 300.
pub const TALLY_ROOM: usize = 16 * 1024 * 1024;

/// Policies of one domain in one day: its MTA-STS policy and its changes, and the TLSA records of its hosts.
pub const TALLY_POLICIES_MAX: usize = 32;

/// Kinds of failures under one policy that are told apart by host and address. What comes beyond is told by its
/// result alone.
pub const TALLY_DETAILS_MAX: usize = 100;

/// Strings of one policy: the lines of an MTA-STS policy, or TLSA records.
pub const TALLY_STRINGS_MAX: usize = 64;

/// Octets of one string of a policy, of a name of a host, and of a reason.
pub const TALLY_STRING_MAX: usize = 512;

/// Connections that may wait for being counted.
pub const TALLY_WAITING: usize = 4096;

/// How long counts are gathered before they are written: what a kill may take.
pub const TALLY_GATHER: Duration = Duration::from_millis(500);

/// Octets of a day's file from which on it may be summed up, where half of them say what stands there already.
pub const TALLY_LONG: u64 = 256 * 1024;

/// Octets of a day's file that are read: far more than a table of [`TALLY_ROOM`] takes.
pub const TALLY_READ_MAX: u64 = 256 * 1024 * 1024;
const _: () = assert!(TALLY_READ_MAX > 8 * TALLY_ROOM as u64);

/// Files of days that are looked at.
pub const TALLY_FILES_MAX: usize = 1000;

/// How long after its day's end a report is still sent, where the server was down until then.
pub const REPORT_AGE_MAX: Duration = Duration::from_hours(3 * 24);

/// How long the counts of a day are kept for people to read.
pub const REPORT_KEEP: Duration = Duration::from_hours(7 * 24);
const _: () = assert!(REPORT_KEEP.as_secs() > REPORT_AGE_MAX.as_secs());

/// In which time after a day's end its reports are sent (contract): at a moment in it that each server chooses, so
/// that not all of them do it at midnight.
pub const REPORT_SPREAD: Duration = Duration::from_hours(1);

/// How long a report is tried (RFC 8460 §5.5).
pub const REPORT_TRIED: Duration = Duration::from_hours(24);

/// How long until a report is tried again by HTTPS; doubled each time.
pub const REPORT_AGAIN: Duration = Duration::from_mins(15);

/// How often the thread that sends reports looks at the clock at least, which may be set.
pub const REPORT_LOOK: Duration = Duration::from_mins(5);

/// Addresses of one record that are reported to.
pub const REPORT_ADDRESSES_MAX: usize = 8;

/// Octets of one such address.
pub const REPORT_ADDRESS_MAX: usize = 1024;

/// Octets of a report before it is compressed. Beyond that, details are left out.
pub const REPORT_MAX: usize = 4 * 1024 * 1024;

/// Days whose counts are kept in memory while a disk takes nothing.
pub const TALLY_UNWRITTEN_MAX: usize = 2;

/// How long a server that stops waits for the last counts to be written.
pub const TALLY_FLUSH: Duration = Duration::from_secs(2);

/// How long one report may take by HTTPS, from the question to DNS to the answer.
pub const REPORT_HTTPS: Duration = Duration::from_secs(60);

/// Media types (RFC 8460 §6.4).
pub const REPORT_MEDIA: &str = "application/tlsrpt+gzip";

/// How long a command waits for the file of a day that a server writes at this moment.
pub const TALLY_BUSY: Duration = Duration::from_secs(5);
