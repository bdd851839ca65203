//! Every protocol limit and fixed bound of the program: name, unit, source.
//!
//! What an administrator may change is a key of the configuration (`config`); what stands here is
//! either set by an RFC or is nobody's business to tune. What two limits owe each other, the
//! compiler checks.

use std::time::Duration;

/// Longest local part of a recipient, in octets (RFC 5321 §4.5.3.1.1). A sender's may be longer, up
/// to the whole path: §4.5.3.1 asks for no limit where none is needed, and mailing lists that write
/// the recipient into the reverse-path (VERP) do pass 64.
pub const LOCAL_PART_MAX: usize = 64;

/// Longest domain name, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_MAX: usize = 255;

/// Longest label of a domain name, in octets (RFC 1035 §2.3.4).
pub const LABEL_MAX: usize = 63;

/// Longest path, in octets with its angle brackets (RFC 5321 §4.5.3.1.3).
pub const PATH_MAX: usize = 256;

/// Longest command line accepted, in octets with CR LF. RFC 5321 §4.5.3.1.4 asks for 512 and
/// extensions raise it (SIZE by 26, RFC 1870 §3; DSN by 1,036, RFC 3461 §4), so there is room for
/// all we offer.
pub const COMMAND_LINE_MAX: usize = 2048;
const _: () = assert!(COMMAND_LINE_MAX >= 512 + 26 + 1036);

/// Longest ENVID, in octets of xtext (RFC 3461 §4.4).
pub const ENVID_MAX: usize = 100;

/// Longest ORCPT, in octets with its type (RFC 3461 §4.2).
pub const ORCPT_MAX: usize = 500;

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

/// Most Delivered-To fields of one header that are looked at to find a loop.
pub const DELIVERED_TO_MAX: usize = 200;

/// Longest line of a header that is read as a Delivered-To, in octets.
pub const FIELD_VALUE_MAX: usize = 512;

/// Copies that one batch of the delivery thread takes at most; a single message may have more.
pub const BATCH_FILES: usize = 256;

/// Octets that one batch of the delivery thread takes at most; a single message may have more.
pub const BATCH_OCTETS: usize = 16 * 1024 * 1024;

/// From this many copies on, one syncfs is cheaper than an fsync for each file. On a journaled ext4
/// a message alone is durable after 1.1 ms by fsync and 1.7 by syncfs; they are even at 2 to 4.
pub const SYNCFS_FROM: usize = 8;

/// Written copies that the delivery thread holds open at most while it gathers a batch.
pub const OPEN_DRAFTS: usize = 64;

/// Accepted messages that may wait for the delivery thread; sessions past it wait to hand over.
pub const DELIVERY_CHANNEL: usize = 256;

/// Aliases that may lead one to the next; a longer chain counts as a loop.
pub const ALIAS_DEPTH: usize = 50;

/// Largest users or aliases file, in octets.
pub const TABLE_MAX: u64 = 16 * 1024 * 1024;

/// How long a users or aliases file has to lie still before it is read anew: who writes into it in
/// place is done by then.
pub const TABLE_SETTLE: Duration = Duration::from_millis(100);

/// The same for a file that has become shorter, as one is that is being written in place: half of it
/// would refuse good mail for good.
pub const TABLE_SETTLE_SHORTER: Duration = Duration::from_secs(1);

/// Most of a bad line that is repeated, in characters.
pub const BAD_LINE_MAX: usize = 300;

/// Bad lines of one reading that are named in the log.
pub const BAD_LINES_TOLD: usize = 100;

/// How long the first user of a domain that has only Maildirs is remembered.
pub const FIRST_USER_AGE: Duration = Duration::from_secs(60);

/// From the end of a message until its session gives it up and says 451, whatever it waits for. The
/// client waits at least 10 minutes for this reply (RFC 5321 §4.5.3.2.6), so ours comes in time.
pub const DELIVERY_WAIT: Duration = Duration::from_secs(5 * 60);

/// How long a session waits on when its message is being published already, and can no longer be
/// held back.
pub const PUBLISH_WAIT: Duration = Duration::from_secs(4 * 60);
const _: () = assert!(DELIVERY_WAIT.as_secs() + PUBLISH_WAIT.as_secs() < 600);

/// Files in a Maildir's tmp/ that are older than this were left by a crash and are removed (the
/// Maildir convention).
pub const TMP_AGE: Duration = Duration::from_secs(36 * 3600);

/// How often a Maildir that gets mail has its tmp/ looked through.
pub const TMP_LOOK: Duration = Duration::from_secs(3600);

/// Maildirs that may wait to have their tmp/ looked through; past it the hint is lost until the
/// next mail.
pub const TMP_CHANNEL: usize = 1024;

/// Longest header of a queue file, in octets: 1,000 recipients with all that DSN adds to each.
pub const QUEUE_HEADER_MAX: usize = 4 * 1024 * 1024;

/// Most of a queue file's journal that is read, in octets.
pub const QUEUE_JOURNAL_MAX: usize = 16 * 1024 * 1024;

/// A draft of a queue file that was not written for so long was left by a crash.
pub const QUEUE_TMP_AGE: Duration = Duration::from_secs(60);

/// Names tried for one file before we give up; each is new, so a second is already a wonder.
pub const NAME_TRIES: usize = 16;

/// Slowest pace of a client inside a message: this many octets in each [`PACE_WINDOW`].
pub const PACE_OCTETS: u64 = 5 * 1024;

/// Over what time the pace of a client inside a message is measured.
pub const PACE_WINDOW: Duration = Duration::from_secs(300);

/// Replies that may gather before they are sent, in octets; a pipelining client gets them in one go.
pub const REPLIES_PENDING: usize = 4 * 1024;

/// How long a session that we end goes on reading, so that the last reply is not lost with the
/// connection (a close with unread octets resets it).
pub const LINGER: Duration = Duration::from_secs(2);

/// Octets read away in that time at most.
pub const LINGER_OCTETS: usize = 1024 * 1024;

/// Stack of a session thread, in octets; virtual, only touched pages count. A TLS handshake needs
/// over 64 KiB in a debug build.
pub const SESSION_STACK: usize = 256 * 1024;

/// How long a session thread waits for another connection before it ends.
pub const THREAD_KEEP: Duration = Duration::from_secs(10);

/// Connections the kernel may hold for us before we accept them.
pub const BACKLOG: i32 = 1024;

/// First and longest wait after a failed accept (out of descriptors or memory).
pub const ACCEPT_WAIT: Duration = Duration::from_millis(50);
/// See [`ACCEPT_WAIT`].
pub const ACCEPT_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a stopping server grants its sessions to say 421, after `timeout.shutdown` is over.
pub const STOP_GRACE: Duration = Duration::from_secs(3);

/// Longest line of a next hop's reply, in octets with its line end. RFC 5321 §4.5.3.1.5 says 512, and
/// hosts that explain a refusal at length pass it.
pub const ANSWER_LINE_MAX: usize = 4096;

/// Longest whole reply of a next hop, in octets: room for any list of extensions.
pub const ANSWER_MAX: usize = 32 * 1024;
const _: () = assert!(ANSWER_MAX >= ANSWER_LINE_MAX && ANSWER_LINE_MAX >= REPLY_LINE_MAX);

/// What is kept of a next hop's reply for the journal and for notices, in octets.
pub const ANSWER_KEPT: usize = 2 * 1024;

/// Recipients of one transaction with a next hop: every host takes so many (RFC 5321 §4.5.3.1.8).
pub const TRANSACTION_RECIPIENTS: usize = 100;

/// Octets of commands that go out ahead of their replies: less than any two TCP buffers hold, so
/// that nobody waits for the other to read (RFC 2920 §3.1).
pub const PIPELINE_OCTETS: usize = 8 * 1024;
const _: () = assert!(PIPELINE_OCTETS >= 2 * COMMAND_LINE_MAX);

/// How long a next hop may take for its 354, at most (RFC 5321 §4.5.3.2.4).
pub const DATA_ANSWER_WAIT: Duration = Duration::from_secs(2 * 60);

/// The replies of one transaction, but the last, may together take `timeout.command` twice, and once
/// more for so many recipients: each step has its own time, but not a hundred of them in a row.
pub const RECIPIENTS_PER_WAIT: u32 = 20;

/// Slowest pace of a next hop that reads a message, in octets a second, beside `timeout.data`.
pub const RELAY_PACE: u64 = 4 * 1024;

/// What is read of a message, and sent to a next hop, at once, in octets.
pub const RELAY_BLOCK: usize = 32 * 1024;

/// From then on a delivery with many recipients begins no further transaction with this host.
pub const RELAY_TIME: Duration = Duration::from_secs(30 * 60);

/// How long a QUIT may take to be sent; its reply is waited for as long as [`LINGER`].
pub const QUIT_WAIT: Duration = Duration::from_secs(2);

/// What we say a DNS answer over UDP may have, in octets; it passes every link unfragmented, and
/// fragments are what spoofing begins with (RFC 9715 §3.2).
pub const DNS_PAYLOAD: u16 = 1232;

/// How often one DNS server is asked when it is silent; a single datagram does get lost.
pub const DNS_TRIES: usize = 2;

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

/// Answers in the DNS cache; each is at most [`DNS_RECORDS_MAX`] records.
pub const DNS_CACHE: u64 = 1024;

/// How long "there is no such name" is believed at most, whatever its TTL: who has mended a zone
/// should not wait for us.
pub const DNS_NEGATIVE_TTL: Duration = Duration::from_secs(5 * 60);
