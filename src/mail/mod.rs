//! What mail **is**: addresses, envelopes, header fields, notices. Pure: no socket, file, clock or log.

pub mod address;
pub mod changed_header;
pub mod dsn;
pub mod edits;
pub mod envelope;
pub mod fields;
pub mod header;
pub mod mta_sts;
pub mod proof;
pub mod reading;
pub mod repair;
pub mod seven_bits;
pub mod srs;
pub mod summary;
pub mod survey;
pub mod tags;
pub mod tls_report;
pub mod trace_fields;
pub mod visible;
pub mod words;
pub mod xtext;
