//! What TLS a host owes us. Said where the hosts of an attempt are found, and held to where its connection is
//! opened; decides nothing itself.

use crate::site::Password;
use std::sync::Arc;

/// What is demanded of a host before it gets mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nothing, and no TLS is tried, because it has just failed with this host.
    Nothing,
    /// TLS where the host offers it, with any certificate (RFC 7435).
    Offered,
    /// TLS with a certificate for the name of the host, because it gets our password.
    Login(Arc<Password>),
}
