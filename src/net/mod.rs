//! What touches the **network**: sockets, threads for connections, who is connected.

pub mod dns;
pub mod listener;
pub mod pool;
pub mod registry;
pub mod stream;
