//! facteur: a mail server for small sites. This page is the map; each file opens with its own.
//!
//! # The way of a message
//!
//! ```text
//! listener × address ─ accept ─► session pool (a thread for a connection, ≤ limit.sessions, reused)
//!   net::listener                  │  net::stream ↔ smtp::session ↔ policy      conversation ↔ filters
//!                                  │  (in the clear, or net::tls)
//!                                  │  octets → smtp::dot_stuffing or chunk → store::body (memory, or a file
//!                                  │                                              past 64 KiB)
//!                                  │  Accepted { entry, copies, body } ─► delivery thread × 1
//!                                  ◄───────────── Outcome, then the 250 ──┘   │ delivery
//!                                        group commit: tmp/ ► sync ► names ► sync │ store::durable
//!                                          │ Maildir new/     │ spool/queue/
//!                                          ▼ store::maildir   ▼ store::queue
//! signals, commands ─ Hint ─► scheduler × 1 ◄─ Hint ──────────┘
//!   net::control                │ ▲ scheduler::board: what is due, for where
//!                     RelayJob  ▼ │ Report
//!                  relay pool × ≤ relay.threads   scheduler::worker
//!                     │ away: route::next_hop (net::dns) ► relay ↔ smtp::client ► journal, or unlink
//!                     │ here: Maildir                       └ notices ► mail::dsn ► spool/queue/
//!
//! sendmail, by others than root ► spool/drop/ ─► pickup × 1 ─► spool/queue/, Hint    store::drop, pickup
//! main: signals (TERM, INT stop; HUP rereads; USR1 attempts all)    housekeeping: leftovers in tmp/, daily words
//! all of them ─ event::tell, what was said ─► trace × 1 ─► spool/trace/
//!                    └ event::count ─► metrics (a thread for a connection, ≤ 8): /metrics, /, /trace, /mail
//! ```
//!
//! A session's thread reads octets, feeds [`smtp::session::Session`], and does what it says. RCPT asks
//! [`route`], by way of [`policy`]; the end of a message hands it to the delivery thread and waits.
//! That thread takes all that wait, writes every copy and every queue file into `tmp/`, makes the batch
//! durable, moves it where it belongs, makes the names durable, and only then answers. So **250 means
//! delivered**, and the busier the server, the fewer syncs a message. Where the file system keeps the order of octets
//! and names ([`store::order`]: ext4 with a journal, XFS), octets are only waited for, and one commit makes the batch
//! durable; everywhere else it takes two. Files are made and named in directories that stay open from one batch to the
//! next ([`store::homes`]).
//!
//! One reader decides where a message's header ends and what its fields are ([`mail::header`]). It reads in the
//! same pass in which the octets come, and tells all that look at them ([`mail::summary`], [`mail::survey`]). The
//! octets themselves never change: a copy, a queue file and what is sent on are views of them
//! ([`mail::edits`]).
//!
//! Of a stranger's message the session finds out who sent it ([`proof`] over [`mail::proof`] and the resolver):
//! SPF at the first recipient, the rest after its last octet, in the session's thread. [`policy::verdict`] says
//! what follows; the results stand on top of it, and junk goes to a folder of the Maildir.
//!
//! Filters of others (the milter protocol) are asked in the session's thread as well, step by step ([`filters`] over
//! [`net::milter`] and the pure machine [`smtp::milter`]). What they change in the header is counted by
//! [`mail::changed_header`], and becomes edits; another body makes another message.
//! Mail by sendmail waits in the queue until a worker has asked its filters. A message that a filter holds is known to
//! the scheduler, which never attempts it.
//!
//! Recipients elsewhere, and recipients whose copy cannot be written now, stand in a queue file of the same
//! batch ([`store::queue`]): the envelope, the octets, and a journal of what became of each recipient. The
//! [`scheduler`] knows ids and due times only, and gives what is due to a pool of threads. Each makes one attempt
//! ([`relay`], or [`delivery`] for a late copy) at one next hop ([`route::next_hop`], [`net::dns`]), where it
//! speaks the client's side of SMTP ([`smtp::client`]). It puts a notice into the queue where a sender has to be
//! told of a failure, makes the journal durable, and removes the file with its last recipient. The disk is the
//! truth: after a kill all is read again.
//!
//! A domain's mail may be kept by another server ([`config::LmtpServer`]): the session speaks LMTP with it before
//! its 250 (`conversation::handing_on`, [`relay::LmtpConnections`]), after delivery where the message has other
//! copies; what waits then is the queue's. [`smtp::client`] knows both languages.
//!
//! Programs of this machine send by `facteur sendmail`, which needs no server. Root and the server's user write
//! queue files; other users write files in a directory that only the server can list, and the [`pickup`] takes
//! them from there, believing nothing but who owns them. A call that sends nothing leaves a record there, which
//! the pickup tells to log and trace; a call that cannot write one tells the system's log.
//!
//! At the start sockets are bound as root or handed over ([`net::handed`]), then root is given up
//! ([`privileges`]), every file is read as the user that will read it again, and before the first thread a
//! [`sandbox`] allows only what is configured. `docs/threats.md` says against which attackers.
//!
//! How TLS with next hops ended is told to the [`reporting`], where the configuration wants reports: one thread counts
//! it in a file for each day ([`store::tally`]), another sends the reports to the domains that asked for them, as mail
//! or by HTTPS.
//!
//! Our own users log in by AUTH: [`smtp::auth`] speaks SASL, [`login`] looks up passwords
//! ([`store::password`]) and lets one thread compute the hashes. The header of a message that a user submits is
//! completed on its way in ([`mail::repair`]).
//!
//! All threads ask one resolver for DNS ([`net::dns`]). The site holds it ([`site::Site::resolver`]), and it
//! outlives a reload while `[dns]` stays as it is.
//!
//! Which MTA-STS policy a domain has is known in one room as well ([`mta_sts`]). The attempt that needs a policy fetches
//! it ([`net::https`]), others wait for that or use the one that holds; policies lie in `spool/mta-sts/`
//! ([`store::policies`]), and a thread fetches those anew that mail needs.
//!
//! Who signs with what is known in one room for all threads, which reloads keep ([`signing`]): the keys of each
//! domain ([`store::keys`]), what DNS has shown of them (`spool/dkim/`), and what follows. One thread asks DNS, and
//! only while a domain has keys.
//!
//! What users, `relay.networks`, programs of this machine and the server itself send is signed as its last edit
//! ([`signature`]): on its way in, and again where an attempt changes its octets. While a key cannot be read it waits
//! in the queue.
//!
//! Events go to [`event::tell`], and from there to the log and to the [`trace`] thread, which writes them under
//! `spool/trace/` with all that was said ([`event::talk`]), for `facteur trace` to read. No thread waits for it:
//! a record without room is lost, and counted. A power cut may take the last second of the trace, but no mail.
//! `listen.metrics` shows stories and mail as pages, only to users who can read their files: the kernel tells
//! which user's process is at the other end of a connection ([`net::peer`]).
//!
//! `facteur route` and `facteur check` tell beforehand what would become of mail: they ask the functions that
//! decide in a session, and try a delivery on a disk where nothing is changed (`tools::rehearsal`). `facteur dns`
//! says which records DNS has to show for us, and which it shows ([`records`]).
//!
//! # A reading path
//!
//! The way of a message, file by file: 12,374 lines in all, with comments and without unit tests. That is a
//! weekend, and after it the rest of the sources is what these files call. A test compares the sizes.
//!
//! ```text
//! socket → new/
//!   203  net/listener.rs           sockets; who is let in
//!   178  net/stream.rs             octets of a connection, in the clear or by TLS
//!    90  smtp/line.rs              lines
//!   339  smtp/command.rs           commands
//!   122  smtp/reply.rs             replies
//!   794  smtp/session.rs           a session as a machine: what comes in, what to do
//!   122  smtp/dot_stuffing.rs      dot-stuffing, and the end of a message
//!   540  conversation.rs           the machine at a connection
//!   320  conversation/transaction.rs  what one message has so far: sender, recipients, places
//!   174  conversation/incoming.rs  its octets as they come
//!   378  conversation/handover.rs  its way to delivery, and the answer
//!   555  policy.rs                 who may send what, and what is refused
//!   700  route.rs                  where mail for an address goes
//!   485  store/body.rs             the message in memory, or in a file
//!   210  handoff.rs                what a session hands to delivery, and what comes back
//!   399  delivery.rs               a batch: written, synced, named, synced; then 250
//!   228  store/durable.rs          syncs of a batch
//!   212  store/maildir.rs          tmp/, new/, and names
//!   609  store/disk.rs             every operation on mail files
//! queue → next hop
//!   613  store/entry.rs            what a queue file says
//!   591  store/queue.rs            claims, journal, removal
//!   560  scheduler.rs              what is due
//!   554  scheduler/board.rs        what waits, for where, until when
//!   491  scheduler/worker.rs       one attempt: journal and removal around it
//!   131  retry.rs                  when the next attempt is due
//!   455  scheduler/away.rs         a message brought to its next hop
//!   129  route/next_hop.rs         who takes mail for a domain
//!   503  route/next_hop/hosts.rs   their addresses, in order
//!   569  relay.rs                  a connection to one of them
//!   611  smtp/client.rs            the other end of the language
//!   304  smtp/client/fate.rs       what became of a recipient
//!   205  outcome.rs                what that means for the queue
//! ```
//!
//! # Layers
//!
//! Four words: what mail **is** ([`mail`]), how it is **spoken** ([`smtp`]), what touches the
//! **network** ([`net`]), what touches the **disk** ([`store`]). A few files beside them tie the four
//! together. Arrows of dependency go down this list only:
//!
//! ```text
//! cli → tools → reach → server, sandbox → conversation, housekeeper, metrics → directory → scheduler, pickup → reporting → notices
//!     → records → policy, login, proof, gates, delivery, relay → signature, handoff, outcome, retry → route → site, trace
//!     → signing, filters, mta_sts → net, store → smtp → mail → limits
//! ```
//!
//! There are two doors: `cli::serve` runs the server, and `tools` are all other commands, of which the
//! server names none.
//!
//! [`config`] and [`event`] may be used by all above `smtp` (and by `net`); `mail`, `smtp` and
//! `limits` use neither; `store` does not use `smtp`. A test reads the sources and checks it.
//!
//! # Invariants
//!
//! Each names its exceptions; there are no others.
//!
//! 1. `mail/` and `smtp/` use no `std::fs`, `std::thread`, socket, clock or log. Of `std::net` they use
//!    addresses alone.
//! 2. All operations on mail files go through [`store::disk`], so that tests can record them, let
//!    them fail, and replay them. Files that are no mail are read with `std::fs` by [`config`], `store::table` (users,
//!    aliases, passwords), `store::keys`, `store::fresh` (what `setup` makes), `store::mounts`, [`store::order`] and
//!    `net::peer` (the kernel's tables), `net::dns` (those and resolv.conf), [`reach`] and the commands;
//!    `check --disk` also writes files of its own, which it removes.
//! 3. Everything has a bound, with a name in [`limits`] or a key in the configuration. The bounds of the
//!    configuration itself stand in [`config`], such as the longest name of an interface.
//! 4. No lock in memory is held across I/O. Exceptions are three locks that no mail waits for: those of the
//!    log's writer (`cli::serve`), of the kernel's tables of sockets (`net::peer`), and of the scheduler's last
//!    census (`metrics`). Every channel is bounded; the trace's by what may be put into it ([`event::sink`]).
//! 5. Text from a peer reaches a log, a header, a path or a terminal only escaped or checked; a user
//!    is one path segment without `/`, NUL, controls or a leading dot. Exception: a message that is written to a
//!    file or a pipe, or read as `/mail/.../raw`, is given octet for octet.
//! 6. A reload, by SIGHUP or because a users or aliases file or the certificate has changed, makes a new
//!    [`site::Site`] and swaps an `Arc`; a session keeps the site with which a transaction began to its end,
//!    and holds no users and aliases while it waits outside of a transaction.
//!    Keys that sign are in one room for all sites ([`signing`]), which reads them again by itself.
//!    All files of a reload were first read after privileges were dropped; a file that the sandbox or the
//!    user's rights hide is named and keeps its old value. Exceptions: `listen`, `run_as` and `spool` keep theirs
//!    until a restart.
//! 7. Temporary or permanent is decided in one place for each kind of failure
//!    ([`store::disk::StoreError::status`] for a disk; [`delivery::reply_to`] and [`policy`] for a
//!    [`smtp::reply::Reply`]; [`smtp::client`] for a [`smtp::client::Fate`]; [`route::next_hop`] for an
//!    [`route::next_hop::Obstacle`]).
//! 8. One `unsafe` call, in `store::writeback`, which gives the kernel no address; and no async runtime anywhere in
//!    the dependency graph.
//! 9. A panic in a session ends that session, one in an attempt that attempt, one in an answer of
//!    `listen.metrics` that answer; in any other thread it ends the process.
//! 10. A queue file has one claimant at a time, an attempt is recorded in it before the claim is dropped, and the
//!     notice of a failure lies in the queue, durably, before a journal says that anything failed.
//!

#![deny(unsafe_code)]

// Unit tests and integration tests share one file with the disk of tests, which says `facteur::`.
#[cfg(test)]
extern crate self as facteur;

pub mod cli;
pub mod config;
pub mod conversation;
pub mod delivery;
pub mod directory;
pub mod event;
pub mod filters;
pub mod gates;
pub mod handoff;
pub mod housekeeper;
pub mod id;
pub mod limits;
pub mod login;
pub mod mail;
pub mod metrics;
pub mod mta_sts;
pub mod net;
pub mod notices;
pub mod outcome;
pub mod pickup;
pub mod policy;
pub mod privileges;
pub mod proof;
pub mod reach;
pub mod records;
pub mod relay;
pub mod reporting;
pub mod retry;
pub mod route;
pub mod sandbox;
pub mod scheduler;
pub mod server;
pub mod signature;
pub mod signing;
pub mod site;
pub mod smtp;
pub mod store;
mod tools;
pub mod trace;
