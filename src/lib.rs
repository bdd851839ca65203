//! facteur: a mail server for small sites. This page is the map; each file opens with its own.
//!
//! # The way of a message
//!
//! ```text
//! listener × address ─ accept ─► session pool (a thread for a connection, ≤ limit.sessions, reused)
//!   net::listener                  │  net::stream ↔ smtp::session ↔ policy      conversation
//!                                  │  (in the clear, or net::tls)
//!                                  │  octets → smtp::data or chunk → store::body (memory, or a file
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
//! main: signals (TERM, INT stop; HUP rereads; USR1 attempts all)    housekeeping: leftovers in tmp/
//! all of them ─ event::tell, what was said ─► trace × 1 ─► spool/trace/
//!                    └ event::count ─► metrics (a thread for a connection, ≤ 8): /metrics, /, /trace, /mail
//! ```
//!
//! A session's thread reads octets, feeds [`smtp::session::Session`], and does what it says. RCPT asks
//! [`route`], by way of [`policy`]; the end of a message hands it to the delivery thread and waits.
//! That thread takes all that wait, writes every copy and every queue file into `tmp/`, makes the batch
//! durable, moves it where it belongs, makes the names durable, and only then answers. So **250 means
//! delivered**, and the busier the server, the fewer syncs a message.
//!
//! Where its header ends, and what its fields are, is decided in one place ([`mail::header`]), in the pass in
//! which the octets come: the reader tells all that look at them ([`mail::summary`], [`mail::survey`]). Nothing
//! is changed of the octets themselves. A copy, a queue file and what is sent on are views of them
//! ([`mail::edits`]).
//!
//! What is for other hosts lies in the queue, one file a message: its envelope, its octets, and a
//! journal of what became of each recipient. The scheduler knows ids and due times only; a worker
//! brings a message to one goal, tells whoever must hear of a failure, makes the journal durable, and
//! removes the file with its last recipient. The disk is the truth: after a kill all is read again.
//!
//! Who is elsewhere, and whose copy cannot be written, stands in a queue file of the same batch
//! ([`store::queue`]). The [`scheduler`] computes what is due and gives it to a pool of threads, each
//! of which makes one attempt ([`relay`], or [`delivery`] for a late copy) at one next hop
//! ([`route::next_hop`], [`net::dns`]) in the other end of the language ([`smtp::client`]). What came
//! of it is a line in that file, and a notice where somebody has to be told.
//!
//! What programs of this machine send comes by `facteur sendmail`, which needs no server: root and the
//! server's user write queue files, all others files in a directory that only the server can list, and
//! from there the [`pickup`] takes them, believing nothing but whose they are. A call that sends nothing
//! leaves a record there, which the pickup tells to log and trace; else the system's log is told.
//!
//! Before all that, the start drops what it does not need: sockets are bound as root or handed over
//! ([`net::handed`]), then root is given up ([`privileges`]), every file is read as the user who will
//! read it again, and before the first thread a [`sandbox`] closes around what is configured.
//! `docs/threats.md` says against whom.
//!
//! Our own users log in by AUTH: [`smtp::auth`] speaks SASL, [`login`] knows who has which password
//! ([`store::password`]) and lets one thread compute the hashes. What they submit is completed on its way
//! in ([`mail::repair`]).
//!
//! What DNS says of a name is asked of one resolver for all threads ([`net::dns`]), which the site holds
//! ([`site::Site::resolver`]) and which outlives a reload while `[dns]` stays as it is.
//!
//! What happens goes to [`event::tell`], and from there to the log and to the [`trace`] thread, which
//! writes it under `spool/trace/` with all that was said ([`event::talk`]), for `facteur trace` to read.
//! Nobody waits for it: what finds no room is lost, and counted. A story may lose its last second at a
//! power cut; mail never does.
//! `listen.metrics` shows stories and mail as pages, to those alone who can read their files: whose process is
//! at the other end of a connection, the kernel says ([`net::peer`]).
//!
//! `facteur route` and `facteur check` know beforehand what would become of mail: they ask the functions
//! that decide in a session, and try a delivery on a disk where nothing happens (`tools::rehearsal`).
//!
//! # A reading path
//!
//! The way of a message, file by file: 10,175 lines in all, with comments and without unit tests. That is a
//! weekend, and after it the rest of the sources is what these files call. A test compares the sizes.
//!
//! ```text
//! socket → new/
//!   185  net/listener.rs           sockets; who is let in
//!   105  net/stream.rs             octets of a connection, in the clear or by TLS
//!    90  smtp/line.rs              lines
//!   336  smtp/command.rs           commands
//!   108  smtp/reply.rs             replies
//!   757  smtp/session.rs           a session as a machine: what comes in, what to do
//!   122  smtp/data.rs              dot-stuffing, and the end of a message
//!   503  conversation.rs           the machine at a connection
//!   151  conversation/transaction.rs  what one message has so far: sender, recipients, places
//!   106  conversation/incoming.rs  its octets as they come
//!   238  conversation/handover.rs  its way to delivery, and the answer
//!   399  policy.rs                 who may send what, and what is refused
//!   598  route.rs                  where mail for an address goes
//!   360  store/body.rs             the message in memory, or in a file
//!   194  handoff.rs                what a session hands to delivery, and what comes back
//!   365  delivery.rs               a batch: written, synced, named, synced; then 250
//!   164  store/durable.rs          syncs of a batch
//!   152  store/maildir.rs          tmp/, new/, and names
//!   482  store/disk.rs             every operation on mail files
//! queue → next hop
//!   484  store/entry.rs            what a queue file says
//!   527  store/queue.rs            claims, journal, removal
//!   479  scheduler.rs              what is due
//!   504  scheduler/board.rs        what waits, for where, until when
//!   437  scheduler/worker.rs       one attempt: journal and removal around it
//!   120  due.rs                   when the next attempt is due
//!   331  scheduler/away.rs         a message brought to its next hop
//!   100  route/next_hop.rs         who takes mail for a domain
//!   326  route/next_hop/hosts.rs   their addresses, in order
//!   464  relay.rs                  a connection to one of them
//!   525  smtp/client.rs            the other end of the language
//!   264  smtp/client/fate.rs       what became of a recipient
//!   199  verdict.rs                what that means for the queue
//! ```
//!
//! # Layers
//!
//! Four words: what mail **is** ([`mail`]), how it is **spoken** ([`smtp`]), what touches the
//! **network** ([`net`]), what touches the **disk** ([`store`]). A few files beside them tie the four
//! together. Arrows of dependency go down this list only:
//!
//! ```text
//! cli → tools → reach → server, sandbox → conversation, housekeeper, metrics → directory → scheduler, pickup → notices
//!     → policy, login, delivery, relay → handoff, verdict, due → route → site, trace → net, store → smtp → mail → limits
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
//!    them fail, and replay them. What is no mail is read with `std::fs` by [`config`], `store::table` (users,
//!    aliases, passwords), `net::peer` and `net::dns` (the kernel's tables, resolv.conf), [`reach`] and the
//!    commands; `check --disk` also writes files of its own, which it removes.
//! 3. Everything has a bound, with a name in [`limits`] or a key in the configuration. What bounds the
//!    configuration itself stands in [`config`], the longest name of an interface among it.
//! 4. No lock in memory is held across I/O. Excepted are three that no mail waits for: of the log's writer
//!    (`cli::serve`), of the kernel's tables of sockets (`net::peer`), and of what the scheduler said last
//!    (`metrics`). Every channel is bounded, the trace's by what may be put into it ([`event::sink`]).
//! 5. Text from a peer reaches a log, a header, a path or a terminal only escaped or checked; a user
//!    is one path segment without `/`, NUL, controls or a leading dot. Excepted is a message that is written to
//!    a file or a pipe, or read as `/mail/.../raw`: it is shown as it lies there.
//! 6. A reload, by SIGHUP or because a users or aliases file or the certificate has changed, makes a new
//!    [`site::Site`] and swaps an `Arc`; a session keeps the one with which a transaction began to its end,
//!    and holds no users and aliases while it waits outside of one.
//!    What it reads was first read after privileges were dropped; what the sandbox or the user cannot
//!    reach is named and keeps its old value, and so do `listen`, `run_as` and `spool`, until a restart.
//! 7. Temporary or permanent is decided in one place for each kind of failure
//!    ([`store::disk::StoreError::status`] for a disk; [`delivery::reply_to`], [`policy`]: a
//!    [`smtp::reply::Reply`]; [`smtp::client`]: a
//!    [`smtp::client::Fate`]; [`route::next_hop`]: an [`route::next_hop::Obstacle`]).
//! 8. No `unsafe`, and no async runtime anywhere in the dependency graph.
//! 9. A panic in a session ends that session, one in an attempt that attempt, one in an answer of
//!    `listen.metrics` that answer; in any other thread it ends the process.
//! 10. A queue file has one claimant at a time, an attempt at it is recorded before it is forgotten, and
//!     who must hear of a failure has been told, durably, before a journal says that anything failed.
//!

#![forbid(unsafe_code)]

// The disk of tests is one file for the unit tests here and all others, and says `facteur::`.
#[cfg(test)]
extern crate self as facteur;

pub mod cli;
pub mod config;
pub mod conversation;
pub mod delivery;
pub mod directory;
pub mod due;
pub mod event;
pub mod handoff;
pub mod housekeeper;
pub mod id;
pub mod limits;
pub mod login;
pub mod mail;
pub mod metrics;
pub mod net;
pub mod notices;
pub mod pickup;
pub mod policy;
pub mod privileges;
pub mod reach;
pub mod relay;
pub mod route;
pub mod sandbox;
pub mod scheduler;
pub mod server;
pub mod site;
pub mod smtp;
pub mod store;
mod tools;
pub mod trace;
pub mod verdict;
