//! How mail is **spoken**: the SMTP language of RFC 5321, as pure machines.
//!
//! Octets and answers go in, actions come out. Nothing here knows a socket, a file, a clock, a
//! thread or a log; [`session::Session`] can be played from a text file as well as from a network.

pub mod answer;
pub mod auth;
pub mod chunk;
pub mod client;
pub mod command;
pub mod dot_stuffing;
pub mod line;
pub mod milter;
pub mod outgoing;
pub mod parameter;
pub mod reply;
pub mod session;
pub mod tls_failure;
