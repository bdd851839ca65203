//! What mail **is**: addresses, envelopes, header fields. Pure: no socket, file, clock or log.

pub mod address;
pub mod envelope;
pub mod fields;
pub mod header;
pub mod trace;
pub mod visible;
pub mod words;
