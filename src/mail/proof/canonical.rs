//! placeholder to be written
