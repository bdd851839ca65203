//! Brings a file's octets to the disk without a commit of the file system's journal (sync_file_range(2)).
//!
//! This is the one call of the crate that no crate wraps safely. It takes a descriptor and numbers, and no memory.
//! Durable are these octets only behind a name that is made later, where the file system keeps its order
//! ([`super::order`]).
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Lets the system begin to write, and waits for nothing.
pub fn begin(file: &File) -> io::Result<()> {
    range(file, libc::SYNC_FILE_RANGE_WRITE)
}

/// Writes all octets so far, and waits until the disk has them.
pub fn wait(file: &File) -> io::Result<()> {
    let around = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    range(file, around | libc::SYNC_FILE_RANGE_WRITE)
}

fn range(file: &File, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: `file` is open until the call has come back, and the kernel is given no address.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
