//! Every protocol limit and fixed bound of the program: name, unit, source.
//!
//! What an administrator may change is a key of the configuration (`config`); what stands here is
//! either set by an RFC or is nobody's business to tune. What two limits owe each other, the
//! compiler checks.

mod checks;
mod filters;
pub mod gates;
pub mod keys;
mod logins;
mod moving;
mod pages;
pub mod policies;
pub mod records;
pub mod reports;
mod stories;
pub mod trust;

pub use checks::*;
pub use filters::*;
pub use logins::*;
pub use moving::*;
pub use pages::*;
pub use stories::*;

use std::time::Duration;

/// Longest local part of a recipient, in octets (RFC 5321 §4.5.3.1.1). A sender's may be longer, up
/// to the whole path: §4.5.3.1 asks for no limit where none is needed, and mailing lists that write
/// the recipient into the reverse-path (VERP) do pass 64.
pub const LOCAL_PART_MAX: usize = 64;

/// How long a session waits for more of a command line behind a bare LF: a client that takes the LF for the
/// line's end sends nothing more, and waits for a reply.
pub const BARE_LF_WAIT: Duration = Duration::from_secs(1);

/// Longest domain name, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;

/// Longest label of a domain name, in octets (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// Longest path, in octets with its angle brackets (RFC 5321 §4.5.3.1.3).
pub const PATH_MAX: usize = 256;

/// Longest command line accepted, in octets with CR LF. RFC 5321 §4.5.3.1.4 asks for 512 and
/// extensions raise it (SIZE by 26, RFC 1870 §3; DSN by 1,036, RFC 3461 §4; REQUIRETLS by 11, RFC 8689 §2), so there is
/// room for all we offer.
pub const COMMAND_LINE_MAX: usize = 2048;
const _: () = assert!(COMMAND_LINE_MAX >= 512 + 26 + 1036 + 11);

/// Longest ENVID, in octets of xtext (RFC 3461 §4.4).
pub const ENVID_MAX: usize = 100;

/// Longest ORCPT, in octets with its type (RFC 3461 §4.2).
pub const ORCPT_MAX: usize = 500;

/// All ORCPTs of one message together, in octets: 1,000 addresses of usual length. An ORCPT beyond is
/// dropped.
pub const ORCPTS_MAX: usize = 64 * 1024;
const _: () = assert!(ORCPTS_MAX >= RECIPIENTS_MIN * ORCPT_MAX);

/// Longest reply line, in octets with CR LF (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_MAX: usize = 512;

/// Most of a peer's words that one log value or one reply repeats, in characters.
pub const QUOTED_MAX: usize = 200;

/// Fewest recipients a configuration may allow for one message (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_MIN: usize = 100;

/// What one read takes from a client between messages, in octets; small, because 10,000 sessions
/// may wait at once.
pub const COMMAND_READ: usize = 1024;

/// What one read takes from a client inside a message, in octets.
pub const DATA_READ: usize = 32 * 1024;

/// What the first read inside a message takes, in octets; most messages fit. A session keeps this buffer after
/// its first message.
pub const DATA_FIRST: usize = 8 * 1024;

/// Log lines that may wait to be written, in octets.
pub const LOG_PENDING: usize = 64 * 1024;

/// How long log lines wait for a reader that takes none; then they are lost (contract, "Log").
pub const LOG_WAIT: Duration = Duration::from_secs(1);

/// How long lines of a busy server gather in the log's buffer before they are written, all at once.
pub const LOG_GATHER: Duration = Duration::from_millis(5);

/// A server counts as busy once its log was written so often in a row, each time within [`LOG_GATHER`].
pub const LOG_TURNS: u32 = 32;

/// What a pipe takes at once when it takes anything, in octets (POSIX's PIPE_BUF).
pub const LOG_WRITE: usize = 4096;

/// How long equal log lines are counted together.
pub const REPEATS_WHILE: Duration = Duration::from_secs(60);

/// Equal warnings that are told within [`REPEATS_WHILE`]; the others are counted.
pub const REPEATS_TOLD: u64 = 10;

/// Connections turned away that are told one by one within [`REPEATS_WHILE`]; the others are counted.
pub const TURNED_AWAY_TOLD: u64 = 200;

/// Different warnings that are counted at once.
pub const REPEATS_KNOWN: usize = 64;

/// A message up to this size stays in memory, in octets; a longer one spills to a file.
pub const MEMORY_BODY_MAX: usize = 64 * 1024;

/// Memory that the messages of all sessions together may take, in octets; past it even small ones
/// spill.
pub const MEMORY_BODIES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(MEMORY_BODIES_MAX >= 16 * MEMORY_BODY_MAX);

/// What is copied at once from a spill file into a Maildir, in octets.
pub const COPY_CHUNK: usize = 64 * 1024;

/// Most Return-Path fields, apart from each other, that are cut out of one header.
pub const CUTS_MAX: usize = 64;

/// Most marks of junk, apart from each other, that are cut out of one header: more than there is room for.
pub const JUNK_MARKS_MAX: usize = HEADER_MAX / 16;

/// Longest header of a message, or of a part of one, in octets; the rest counts as body.
pub const HEADER_MAX: usize = 1024 * 1024;

/// Longest header of a message of ours as it is signed, in octets: it, and our trace fields above it.
pub const OWN_HEADER_MAX: usize = 2 * HEADER_MAX;

/// Octets of a header for which memory is not counted: each session may hold so much.
pub const HEADER_FREE: usize = 64 * 1024;

/// Most Delivered-To fields of one header that are looked at to find a loop.
pub const DELIVERED_TO_MAX: usize = 200;

/// Longest line of a header that is read as a Delivered-To or Message-ID, in octets.
pub const FIELD_VALUE_MAX: usize = 512;

/// Copies that one batch of the delivery thread takes at most; a single message may have more.
pub const BATCH_FILES: usize = 256;

/// A message with more copies than [`BATCH_FILES`] is delivered in slices of that many, and others in between.
/// While no other message waits, a slice has this many times as many.
pub const SLICE_BATCHES: usize = 4;

/// Octets that one batch of the delivery thread takes at most; a single message may have more.
pub const BATCH_OCTETS: usize = 16 * 1024 * 1024;

/// From this many copies on, one syncfs is cheaper than an fsync for each file. On a journaled ext4
/// a message alone is durable after 1.1 ms by fsync and 1.7 by syncfs; they are even at 2 to 4.
pub const SYNCFS_FROM: usize = 8;

/// As [`SYNCFS_FROM`], for copies in several directories, each of which would need one fsync more: on a disk
/// without a journal ten clients get a third more done than with 8.
pub const SYNCFS_FROM_APART: usize = 2;

/// A syncfs that takes this long waits for what others write to the same disk.
pub const SYNCFS_SLOW: Duration = Duration::from_secs(1);

/// How long only fsync is used after a slow syncfs.
pub const SYNCFS_AVOID: Duration = Duration::from_secs(30);

/// Written copies that the delivery thread holds open at most while it gathers a batch.
pub const OPEN_DRAFTS: usize = 64;

/// Homes (Maildirs, folders, the spool) that the delivery thread keeps open between two batches.
pub const HOMES_OPEN: usize = 64;

/// How long homes are kept open, before others may take their place; and at most as long without mail.
pub const HOMES_WHILE: Duration = Duration::from_secs(10);
pub const HOMES_REST: Duration = Duration::from_secs(1);

/// Devices that are looked at for the way in which they keep order; on others a batch takes two commits.
pub const MOUNTS_MAX: usize = 256;

/// Accepted messages that may wait for the delivery thread; sessions past it wait to hand over.
pub const DELIVERY_CHANNEL: usize = 256;

/// Aliases that may lead one to the next; a longer chain counts as a loop.
pub const ALIAS_DEPTH: usize = 50;

/// Largest users or aliases file, in octets.
pub const TABLE_MAX: u64 = 16 * 1024 * 1024;

/// How long a users or aliases file has to stay unchanged before it is read anew: a program that writes it in
/// place is done by then.
pub const TABLE_SETTLE: Duration = Duration::from_millis(100);

/// As [`TABLE_SETTLE`], for a file that has become shorter, as a file does that is being written in place: by
/// half a file good mail would be refused for good.
pub const TABLE_SETTLE_SHORTER: Duration = Duration::from_secs(1);

/// Most of a bad line that is repeated, in characters.
pub const BAD_LINE_MAX: usize = 300;

/// Bad lines of one reading that are named in the log.
pub const BAD_LINES_TOLD: usize = 100;

/// How long the first user of a domain that has only Maildirs is remembered.
pub const FIRST_USER_AGE: Duration = Duration::from_secs(60);

/// Time from handing a message to delivery until its session gives it up and says 451. The client waits at least
/// 10 minutes for this reply (RFC 5321 §4.5.3.2.6), so ours comes in time ([`REPLY_TIME`]).
pub const DELIVERY_WAIT: Duration = Duration::from_secs(3 * 60);

/// How much longer a session waits when its message is being published already, and cannot be given up.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(2 * 60 + 45);

/// Files in a Maildir's tmp/ that are older than this were left by a crash and are removed (the
/// Maildir convention).
pub const TMP_AGE: Duration = Duration::from_secs(36 * 3600);

/// Octets of the name of a folder in a Maildir, which is that of a directory.
pub const FOLDER_NAME_MAX: usize = 255;

/// How often the tmp/ of a Maildir that gets mail is cleaned.
pub const TMP_LOOK: Duration = Duration::from_secs(3600);

/// Maildirs that may wait for their tmp/ to be cleaned; beyond that the hint is lost until the next mail.
pub const TMP_CHANNEL: usize = 1024;

/// Longest id that is looked for, in octets: what a file name can hold.
pub const ID_MAX: usize = 255;

/// What is read of a queue file at first where its message is not wanted, or is large, in octets: most headers fit,
/// and most small messages with all that became of them.
pub const QUEUE_READ: usize = 4 * 1024;

/// A queue file up to this size is held in memory while an attempt is made, in octets: the attempt reads it once, not
/// once for its header and journal, once to check the message and once to send it.
pub const QUEUE_KNOWN: usize = 32 * 1024;
const _: () = assert!(QUEUE_KNOWN >= QUEUE_READ);

/// Threads that read a block of queue files for a listing, of which two are read at once: most of its
/// time is waiting, for a disk or for the system.
pub const QUEUE_READERS: usize = 4;

/// Longest header of a queue file, in octets: 1,000 recipients with all that DSN adds to each.
pub const QUEUE_HEADER_MAX: usize = 4 * 1024 * 1024;

/// Up to this many recipients the header of a queue file is short enough with any parameters, and is not
/// measured.
pub const QUEUE_RECIPIENTS_SURE: usize = 256;
const _: () = assert!(2 * QUEUE_RECIPIENTS_SURE * COMMAND_LINE_MAX <= QUEUE_HEADER_MAX / 2);

/// The newest lines of a journal that are kept once it is read, in octets together. A line is never longer.
pub const QUEUE_JOURNAL_MAX: usize = 1024 * 1024;
const _: () = assert!(QUEUE_JOURNAL_MAX >= 8 * ANSWER_KEPT);

/// Moments of a journal that are remembered one by one for each recipient, to know how long it has waited;
/// five days by the default `relay.retry` are 35.
pub const MOMENTS_MAX: usize = 512;

/// The longest time that counts between two older moments, once there are more than [`MOMENTS_MAX`].
pub const MOMENT_GAP_MAX: Duration = Duration::from_secs(3600);

/// What is read of a long journal at once, in octets.
pub const QUEUE_BLOCK: usize = 64 * 1024;

/// Age from which on a draft of a queue file is taken for left by a crash.
pub const QUEUE_TMP_AGE: Duration = Duration::from_secs(60);

/// Longest datagram of hints between a command and the server, in octets.
pub const HINT_DATAGRAM_MAX: usize = 4 * 1024;
const _: () = assert!(HINT_DATAGRAM_MAX >= 2 * ID_MAX);

/// Messages that hints name one by one; of more the server looks through the whole queue.
pub const HINTS_MAX: usize = 500;

/// How long a command waits for a server that has no room for hints; then the hint is lost.
pub const HINT_WAIT: Duration = Duration::from_millis(500);

/// How often the server looks whether the directory that other users drop mail into has changed.
pub const DROP_LOOK: Duration = Duration::from_secs(1);

/// How long after its last change a directory is looked at again though its time stays the same: that time is
/// only as fine as the kernel's clock ticks.
pub const DROP_SETTLE: Duration = Duration::from_secs(2);

/// Dropped files that are taken in at once; users may drop any number.
pub const DROPS_AT_ONCE: usize = 64;

/// Dropped files of one user that the server knows at once; the user's others wait for these.
pub const DROPS_OF_USER: usize = 1024;

/// As [`DROPS_OF_USER`], for all users together.
pub const DROPS_KNOWN: usize = 16 * DROPS_OF_USER;

/// Memory for the copies of small messages that were dropped, in octets.
pub const DROPS_MEMORY: usize = DROPS_AT_ONCE * MEMORY_BODY_MAX;

/// Longest record of a call of sendmail that sent nothing, in octets.
pub const UNSENT_MAX: usize = 8 * 1024;

/// Longest reason in such a record, in octets, escaped.
pub const UNSENT_REASON_MAX: usize = 1024;
const _: () = assert!(3 * UNSENT_REASON_MAX < UNSENT_MAX);

/// Such calls of one user that are told one by one within [`UNSENT_TIME`]; the others are counted.
pub const UNSENT_OF_USER: u32 = 100;

/// As [`UNSENT_OF_USER`], for all users together: one person may have many user ids.
pub const UNSENT_OF_ALL: u32 = 10 * UNSENT_OF_USER;

/// For how long calls that sent nothing are counted together.
pub const UNSENT_TIME: Duration = Duration::from_secs(60);

/// Longest line for the system's log, in octets (RFC 3164 §4.1).
pub const SYSLOG_MAX: usize = 1024;

/// How often the server looks for dropped files that were never finished.
pub const DROP_SWEEP: Duration = Duration::from_secs(10 * 60);

/// Age from which on an unfinished dropped file is removed: it is written in moments, after the message has
/// come whole.
pub const DROP_AGE: Duration = Duration::from_secs(3600);

/// Files that were put aside and that `check` counts at most.
pub const DAMAGED_COUNTED: usize = 1000;

/// Names tried for one file before we give up; each is new, so the second is hardly ever needed.
pub const NAME_TRIES: usize = 16;

/// Slowest pace of a client inside a message: this many octets in each [`PACE_WINDOW`], which is 1 KiB a
/// minute; the slowest link that carries mail has fifty times as much.
pub const PACE_OCTETS: u64 = 5 * 1024;

/// The time over which the pace of a client inside a message is measured.
pub const PACE_WINDOW: Duration = Duration::from_secs(300);

/// Commands that one session may say without bringing a message: NOOP, RSET, VRFY and the like, and MAIL.
/// A client that keeps its connection by a NOOP a minute keeps it for 16 hours, and one that checks
/// addresses checks 500. Postfix allows 100 and then slows down; we close.
pub const IDLE_COMMANDS_MAX: usize = 1000;

/// Recipients that one session may have refused without bringing a message. A client with a long list, which
/// goes on with the recipients that were taken (RFC 5321 §4.5.3.1.10), never meets this limit.
pub const RECIPIENTS_REFUSED_MAX: usize = 100_000;

/// Maildirs that mail may bring into being in an hour where any name is a user (`any_user`): each is
/// four directories, and anybody can make up names. More than one message may have recipients.
pub const MAILDIRS_AN_HOUR: usize = 5000;

/// Bounces that are taken in a day at SRS addresses of ours, for all senders together. A site whose aliases
/// send on ten thousand messages a day has fewer.
pub const BOUNCES_A_DAY: usize = 100;

/// Senders for whom one bounce a day is taken beyond [`BOUNCES_A_DAY`]; 8 octets each.
pub const BOUNCED_MAX: usize = 10_000;

/// How long after one failed report of ours a postmaster hears of no other.
pub const REPORTS_WAIT: Duration = Duration::from_secs(3600);

/// Room that a message needs beside the size it announces, in octets: what we put on top, and the
/// blocks of directories.
pub const ROOM_BESIDE: u64 = 64 * 1024;

/// How long the free space of the spool is believed.
pub const ROOM_LOOK: Duration = Duration::from_secs(1);

/// Replies that may gather before they are sent, in octets; a pipelining client gets them in one go.
pub const REPLIES_PENDING: usize = 4 * 1024;

/// How long a session that we end goes on reading, so that the last reply is not lost with the
/// connection (a close with unread octets resets it).
pub const LINGER: Duration = Duration::from_secs(2);

/// Most octets read away within [`LINGER`].
pub const LINGER_OCTETS: usize = 1024 * 1024;

/// Where a next hop speaks TLS from its first octet (RFC 8314 §7.3).
pub const SUBMISSIONS_PORT: u16 = 465;

/// Where programs of users read mail by IMAP over TLS (RFC 8314 §7.2).
pub const IMAPS_PORT: u16 = 993;

/// TLS sessions that are remembered, of clients and, counted apart, of next hops: a peer that comes again needs
/// no full handshake.
pub const TLS_SESSIONS: usize = 256;

/// Certificates of a host that are held against its TLSA records, the host's own first; chains of more than five
/// are not heard of.
pub const CERTIFICATES_MAX: usize = 16;

/// TLSA records of a host that are held against its certificates; hosts have two, and four while a key changes.
pub const TLSA_RECORDS_MAX: usize = 32;
const _: () = assert!(TLSA_RECORDS_MAX <= DNS_RECORDS_MAX);

/// The length of a day.
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate that ends within this time is worth a warning: one that renews itself, thirty days before its end,
/// has failed to for more than a week.
pub const CERTIFICATE_WARNING: Duration = DAY.saturating_mul(21);

/// How often the log is told what is wrong with the certificate.
pub const CERTIFICATE_TOLD: Duration = DAY;

/// How often housekeeping looks whether something of its day is due.
pub const HOUSEKEEPING_LOOK: Duration = Duration::from_secs(10 * 60);

/// How often certificate and key are looked at without SIGHUP: they change every few weeks, and connections
/// come by the thousand.
pub const PAIR_LOOK: Duration = Duration::from_secs(60);

/// How long certificate and key have to stay unchanged before they are read anew: they are two files, written
/// one after the other.
pub const PAIR_SETTLE: Duration = Duration::from_secs(2);

/// Stack of a session thread, in octets; virtual, only touched pages count. A TLS handshake needs
/// over 64 KiB in a debug build.
pub const SESSION_STACK: usize = 256 * 1024;

/// How long a session thread waits for another connection before it ends.
pub const THREAD_KEEP: Duration = Duration::from_secs(10);

/// Connections the kernel may hold for us before we accept them.
pub const BACKLOG: i32 = 1024;

/// Listening sockets that a service manager may hand over; nobody has that many addresses.
pub const HANDED_MAX: usize = 256;

/// How long a service manager may have no room for our words; then they are lost.
pub const MANAGER_WAIT: Duration = Duration::from_millis(500);

/// Mailboxes beyond the first that the aliases in one transaction may lead to before further recipients are put
/// off: each costs memory until the message is there, and time at its RCPT.
pub const EXPANDED_MAX: usize = 10_000;

/// One session of this many is kept for users and `relay.networks`.
pub const SESSIONS_KEPT: usize = 10;

/// Sessions that were told to make room and have not gone yet; each has a descriptor more than there are
/// places, for as long as it takes to say 421.
pub const SESSIONS_LEAVING: usize = 32;

/// Descriptors that are kept from sessions: for delivery, tables, certificates, logs and commands.
pub const DESCRIPTORS_BESIDE: u64 = 192;
const _: () = assert!(DESCRIPTORS_BESIDE >= (2 * OPEN_DRAFTS + HOMES_OPEN) as u64);
const _: () = assert!(DESCRIPTORS_BESIDE >= (OPEN_DRAFTS + SESSIONS_LEAVING + HOMES_OPEN) as u64);

/// Descriptors kept for each thread of the relay pool: a connection and a file.
pub const RELAY_DESCRIPTORS: u64 = 2;

/// First and longest wait after a failed accept (out of descriptors or memory).
pub const ACCEPT_WAIT: Duration = Duration::from_millis(50);
/// See [`ACCEPT_WAIT`].
pub const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a stopping server waits for its sessions to say 421, once `timeout.shutdown` is over.
pub const STOP_GRACE: Duration = Duration::from_secs(3);

/// Longest line of a next hop's reply, in octets with its line end. RFC 5321 §4.5.3.1.5 says 512, and
/// hosts that explain a refusal at length pass it.
pub const ANSWER_LINE_MAX: usize = 4096;

/// Longest whole reply of a next hop, in octets: room for any list of extensions.
pub const ANSWER_MAX: usize = 32 * 1024;
const _: () = assert!(ANSWER_MAX >= ANSWER_LINE_MAX && ANSWER_LINE_MAX >= REPLY_LINE_MAX);

/// What is kept of a next hop's reply for the journal and for notices, in octets.
pub const ANSWER_KEPT: usize = 2 * 1024;

/// Width of what we write ourselves for people to read, in characters (RFC 5322 §2.1.1).
pub const LINE_WIDTH: usize = 78;

/// Longest line of any message of ours, in octets without its line end (RFC 5322 §2.1.1).
pub const LINE_MAX: usize = 998;

/// Longest word that stays whole where we wrap text, in octets: with a field's name before it the
/// line still fits.
pub const WORD_MAX: usize = 900;
const _: () = assert!(WORD_MAX + LINE_WIDTH <= LINE_MAX && WORD_MAX >= ORCPT_MAX + PATH_MAX);

/// Recipients of one transaction with a next hop: every host takes 100 (RFC 5321 §4.5.3.1.8).
pub const TRANSACTION_RECIPIENTS: usize = 100;

/// Octets of commands that go out ahead of their replies: less than any two TCP buffers hold, so
/// that nobody waits for the other to read (RFC 2920 §3.1).
pub const PIPELINE_OCTETS: usize = 8 * 1024;
const _: () = assert!(PIPELINE_OCTETS >= 2 * COMMAND_LINE_MAX);

/// How long a host whose TLS hung or broke is spoken to in the clear at once.
pub const BROKEN_TLS_AGE: Duration = Duration::from_secs(3600);

/// Hosts with broken TLS that are remembered.
pub const BROKEN_TLS_MAX: usize = 1000;

/// How long a next hop may take for its 354, at most (RFC 5321 §4.5.3.2.4).
pub const DATA_ANSWER_WAIT: Duration = Duration::from_secs(2 * 60);

/// The replies of one transaction, but the last, may together take `timeout.command` twice, and once
/// more for so many recipients: each step has its own time, but not a hundred of them in a row.
pub const RECIPIENTS_PER_WAIT: u32 = 20;

/// Slowest pace of a next hop that reads a message, in octets a second, beside `timeout.data`.
pub const RELAY_PACE: u64 = 4 * 1024;

/// What is read of a message, and sent to a next hop, at once, in octets.
pub const RELAY_BLOCK: usize = 32 * 1024;

/// Time after which a delivery with many recipients begins no further transaction with a host.
pub const RELAY_TIME: Duration = Duration::from_secs(30 * 60);

/// How long a QUIT may take to be sent; its reply is waited for as long as [`LINGER`].
pub const QUIT_WAIT: Duration = Duration::from_secs(2);

/// Parts of a message that is converted to 7 bits, each with a byte of what becomes of it.
pub const MIME_PARTS: usize = 10_000;

/// How deep multiparts and messages may lie in each other to be converted; Postfix's `mime_nesting_limit`.
pub const MIME_DEPTH: usize = 100;

/// Longest boundary that is looked for, in octets; RFC 2046 §5.1.1 has 70.
pub const BOUNDARY_MAX: usize = 250;

/// What we say a DNS answer over UDP may have, in octets; it passes every link unfragmented, and
/// fragments are what spoofing begins with (RFC 9715 §3.2).
pub const DNS_PAYLOAD: u16 = 1232;

/// How often one DNS server is asked when it is silent; a single datagram does get lost.
pub const DNS_TRIES: usize = 2;

/// The part of a try after which a question with EDNS that nobody answers is sent again without: a third.
/// Home routers and old firewalls drop such questions (RFC 6891 §6.2.2 leaves it to the client to find out).
pub const DNS_EDNS_PART: u32 = 3;

/// How long a DNS server that answered only without EDNS is asked without.
pub const DNS_PLAIN: Duration = Duration::from_secs(60 * 60);

/// DNS servers that a failure names, with what each said; more are counted.
pub const DNS_TOLD: usize = 4;

/// Octets of /etc/resolv.conf that are read; it is a page at most everywhere.
pub const RESOLV_CONF_MAX: u64 = 64 << 10;

/// How long a DNS server that was silent is asked last.
pub const DNS_REST: Duration = Duration::from_secs(30);

/// Datagrams with a wrong id or question after which UDP is given up for this question: somebody
/// is guessing.
pub const DNS_STRAYS: usize = 16;

/// Most records that one DNS answer may have; more is refused. The largest mail domains have 10.
pub const DNS_RECORDS_MAX: usize = 100;

/// Aliases (CNAME) that may lead one to the next.
pub const DNS_ALIASES_MAX: usize = 10;

/// Longest name that DNS can hold, in characters without the last dot (RFC 1035 §2.3.4).
pub const DNS_NAME_MAX: usize = 253;

/// Answers in the DNS cache, each of at most [`DNS_CACHED_MAX`] octets: 8 MiB.
pub const DNS_CACHE: u64 = 1024;

/// Octets of a DNS answer that is remembered; a larger one, of up to 64 KiB over TCP, is asked for each time.
/// An ordinary one has some hundreds; strangers choose names that we look up, and what stands there.
pub const DNS_CACHED_MAX: usize = 8 << 10;

/// How long "there is no such name" is believed at most, even with a longer TTL: a zone that was corrected
/// should not have to wait for us.
pub const DNS_NEGATIVE_TTL: Duration = Duration::from_secs(5 * 60);

/// Hints that may wait for the scheduler; past it one is lost, and it looks at the whole queue.
pub const HINTS: usize = 1024;

/// Most threads of the relay pool that a configuration may ask for.
pub const RELAY_THREADS_MAX: usize = 1000;

/// An attempt that takes longer than this may be at a silent host: another thread takes its place, until
/// there are as many more as `relay.threads`, and at least [`RELAY_SLOW_LEAST`]. Most attempts are over
/// by then.
pub const RELAY_SLOW: Duration = Duration::from_millis(250);

/// Threads that may wait for silent hosts, however few `relay.threads` are.
pub const RELAY_SLOW_LEAST: usize = 64;

/// Stack of a relay thread, in octets.
pub const RELAY_STACK: usize = 256 * 1024;

/// How long a connection is kept for more mail to the same next hop.
pub const RELAY_KEEP: Duration = Duration::from_secs(2);

/// How long one connection is used at most, so that mail finds its way to a host that is better again.
pub const RELAY_KEEP_MAX: Duration = Duration::from_secs(5 * 60);

/// How long a session speaks LMTP for one message, with all servers, before what is left waits in the queue. It
/// follows on delivery, within the time that a client waits for the reply to its dot.
pub const LMTP_WAIT: Duration = Duration::from_secs(45);
const _: () = assert!(
    trust::PROOF_TIME.as_secs()
        + FILTERS_TIME.as_secs()
        + DELIVERY_WAIT.as_secs()
        + PUBLISH_WAIT.as_secs()
        + LMTP_WAIT.as_secs()
        <= REPLY_TIME.as_secs()
);

/// How much longer it waits for the replies after a message of which nothing lies here: to give up there means that
/// the client brings it again, and a server that has it may be busy with scripts and quotas.
pub const LMTP_REPLY_WAIT: Duration = Duration::from_secs(150);
// Nothing was delivered before.
const _: () =
    assert!(LMTP_REPLY_WAIT.as_secs() <= DELIVERY_WAIT.as_secs() + PUBLISH_WAIT.as_secs());

/// How long a server is asked by LMTP whether it knows a recipient.
pub const LMTP_ASK_WAIT: Duration = Duration::from_secs(15);

/// A server that has kept a session waiting in vain for so long is left alone for a moment.
pub const LMTP_SLOW: Duration = Duration::from_secs(1);

/// How long such a server is left alone by sessions.
pub const LMTP_REST: Duration = Duration::from_secs(5);

/// Connections by LMTP that are kept for the next message, of all sessions together.
pub const LMTP_KEPT: usize = 32;

/// How long such a connection is kept.
pub const LMTP_KEEP: Duration = Duration::from_secs(30);

/// Destinations that the scheduler remembers though nothing waits for them; more where mail waits for more.
pub const GOALS_KEPT: usize = 1024;

/// Messages that the scheduler keeps room for when they are gone.
pub const ROOM_KEPT: usize = 4096;

/// How soon ETRN is heeded again for one next hop: as soon as the first retry comes by default.
pub const ETRN_AGAIN: Duration = Duration::from_secs(5 * 60);

/// Hints that the scheduler handles behind the first before it sees to what else there is to do.
pub const HINTS_AT_ONCE: usize = 32;

/// Queue files that the scheduler looks at before it sees to what else there is to do: more than hints can ask for
/// meanwhile, or the rest of the queue would never be read.
pub const LOOK_AT_ONCE: usize = 64;
const _: () = assert!(HINTS_AT_ONCE + 1 < LOOK_AT_ONCE);

/// How long a removed queue file may take to be gone for good: a power cut within it repeats a delivery.
pub const REMOVALS_SYNC: Duration = Duration::from_millis(500);

/// How soon a queue file that another process has claimed is tried again.
pub const BUSY_WAIT: Duration = Duration::from_secs(1);

/// How soon a step that a disk refused is tried again.
pub const TROUBLE_WAIT: Duration = Duration::from_secs(60);

/// Longest sleep of the scheduler, after which it notices that the clock has jumped.
pub const SCHEDULER_WAIT: Duration = Duration::from_secs(60);

/// A message up to this size is returned whole with a notice that it failed, in octets; of a longer one
/// only the header, unless RET=FULL asked for all of it.
pub const NOTICE_MESSAGE_MAX: u64 = 100 * 1024;

/// Most of a header that a notice returns, in octets.
pub const NOTICE_HEADER_MAX: usize = 64 * 1024;

/// Hosts that one attempt looks up at most; a zone may name a hundred. The largest mail domains
/// have 10.
pub const HOP_HOSTS_MAX: usize = 20;

/// Addresses that one attempt tries at most, those of all hosts together. RFC 5321 §5.1 asks for at
/// least two.
pub const HOPS_MAX: usize = 50;
const _: () = assert!(HOPS_MAX >= 2 && HOPS_MAX >= HOP_HOSTS_MAX);

/// Once the lookups of one attempt have taken this long together, no further host is looked up.
pub const HOP_LOOKUPS: Duration = Duration::from_secs(60);

/// Octets of one SRS secret: as many as the hash has (RFC 2104 §3).
pub const SRS_KEY_OCTETS: usize = 32;

/// SRS secrets in one file: the one that signs, and older ones whose bounces are still under way.
pub const SRS_KEYS_MAX: usize = 8;

/// Days that a bounce to an address made by SRS finds its way back: hosts try for 5, and what they
/// forward to tries for 5 more.
pub const SRS_VALID_DAYS: u64 = 21;

/// Largest file of SRS secrets, in octets: all keys in hexadecimal, with room for line ends.
pub const SRS_SECRET_MAX: usize = 1024;
const _: () = assert!(SRS_SECRET_MAX >= SRS_KEYS_MAX * (2 * SRS_KEY_OCTETS + 2));

/// Longest header of a message that our own users send, in octets; it is held in memory to be
/// completed. Room for 1,000 recipients with their names.
pub const SUBMITTED_HEADER_MAX: usize = 256 * 1024;

/// Octets of a line after which it is taken for a field though no colon has come: no line may be longer (RFC
/// 5322 §2.1.1), and to wait for the colon would take any amount of memory.
pub const FIELD_NAME_MAX: usize = 998;

/// Words and marks of one address in a header; a long display name has two dozen.
pub const ADDRESS_WORDS_MAX: usize = 512;

/// Addresses in the From fields of a message that is completed.
pub const FROM_ADDRESSES_MAX: usize = 100;

/// How soon a message is tried again after an attempt that panicked.
pub const PANIC_WAIT: Duration = Duration::from_secs(3600);

/// A clock that is off by more than this has been set: due times are computed anew from the disk.
pub const CLOCK_JUMP: Duration = Duration::from_secs(30);
