//! All integration tests, in one binary.

mod batches;
mod clauses;
mod client;
mod commands;
mod delivery;
mod dialogs;
mod faults;
mod goldens;
mod layers;
mod limits;
mod logs;
mod maildirs;
mod pattern;
mod play;
mod reread;
mod room;
mod servers;
mod signals;
mod spills;
mod splits;
mod support;
mod system;
