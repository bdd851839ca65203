//! facteur: a mail server for small sites. This page is the map; each file opens with its own.
//!
//! # The way of a message
//!
//! ```text
//! listener × address ─ accept ─► session pool (a thread for a connection, ≤ limit.sessions, reused)
//!   net::listener                  │  net::stream ↔ smtp::session ↔ policy      conversation
//!                                  │  octets → smtp::data or chunk → store::body (memory, or a file
//!                                  │                                              past 64 KiB)
//!                                  │  Accepted { copies, body } ──────► delivery thread × 1
//!                                  ◄───────────── Outcome, then the 250 ──┘   │ delivery
//!                                                       group commit          │ store::durable
//!                                                       tmp/ ► sync ► new/ ► sync │ store::maildir
//! main: signals (TERM, INT stop; HUP rereads)  cli::serve        housekeeping ◄┘ leftovers in tmp/
//! ```
//!
//! A session's thread reads octets, feeds [`smtp::session::Session`], and does what it says. RCPT asks
//! [`route`], by way of [`policy`]; the end of a message hands it to the delivery thread and waits.
//! That thread takes all that wait, writes every copy into `tmp/`, makes the batch durable, links it
//! into `new/`, makes the names durable, and only then answers. So **250 means delivered**, and the
//! busier the server, the fewer syncs a message.
//!
//! # Layers
//!
//! Four words: what mail **is** ([`mail`]), how it is **spoken** ([`smtp`]), what touches the
//! **network** ([`net`]), what touches the **disk** ([`store`]). A few files beside them tie the four
//! together. Arrows of dependency go down this list only:
//!
//! ```text
//! cli → server → conversation, housekeeper → directory → scheduler → policy, delivery, relay → handoff → route
//!     → site → net, store → smtp → mail → limits
//! ```
//!
//! [`config`] and [`event`] may be used by all above `smtp` (and by `net`); `mail`, `smtp` and
//! `limits` use neither; `store` does not use `smtp`. A test reads the sources and checks it.
//!
//! # Invariants
//!
//! 1. `mail/` and `smtp/` use no `std::fs`, `std::thread`, socket, clock or log.
//! 2. All operations on mail files go through [`store::disk`], so that tests can record them, let
//!    them fail, and replay them.
//! 3. Everything has a bound, with a name in [`limits`] or a key in the configuration.
//! 4. No lock in memory is held across I/O. Every channel is bounded.
//! 5. Text from a peer reaches a log, a header, a path or a terminal only escaped or checked; a user
//!    is one path segment without `/`, NUL, controls or a leading dot.
//! 6. A reload, by SIGHUP or because a users or aliases file has changed, makes a new [`site::Site`] and swaps an `Arc`; a session keeps the one it began with.
//! 7. Temporary or permanent is decided in one place for each kind of failure
//!    ([`delivery::reply_to`], [`policy`]), and carried as a [`smtp::reply::Reply`].
//! 8. No `unsafe`, and no async runtime anywhere in the dependency graph.
//! 9. A panic in a session ends that session; in the delivery thread it ends the process.
//!
//! # Not built yet
//!
//! Relaying with its queue, notices, TLS and AUTH, traces. Each has its place: [`route::End`] tells
//! remote targets already, the delivery thread writes queue files in the same batch, the envelope
//! holds what a notice needs, a TLS stream is one more [`net::stream::Wire`], [`event::tell`] gets one
//! more listener. Of relaying the parts are there and tested, and nobody calls them yet: names and
//! MX ([`net::dns`]), the other end of the language ([`smtp::client`]), one attempt at one host
//! ([`relay`]), the queue file and its claims ([`store::queue`]). What joins them is the scheduler.

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod conversation;
pub mod delivery;
pub mod directory;
pub mod event;
pub mod handoff;
pub mod housekeeper;
pub mod id;
pub mod limits;
pub mod mail;
pub mod net;
pub mod policy;
pub mod privileges;
pub mod relay;
pub mod route;
pub mod scheduler;
pub mod server;
pub mod site;
pub mod smtp;
pub mod store;
