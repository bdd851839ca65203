//! What touches the **disk**: mail files, Maildirs, the users file. Knows nothing of SMTP.

pub mod aliases;
pub mod body;
pub mod disk;
pub mod draft;
pub mod drop;
pub mod durable;
pub mod entry;
pub mod mailbox;
pub mod maildir;
pub mod memory;
pub mod password;
pub mod queue;
pub mod secret;
pub mod table;
pub mod users;
