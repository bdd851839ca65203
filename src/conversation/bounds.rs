//! What bounds all sessions together, and how slow one may be.

pub use super::clock::Rate;
pub use super::newcomers::Newcomers;
pub use super::way_back::WayBack;

use crate::limits::{ROOM_BESIDE, ROOM_LOOK};
use crate::relay::LmtpConnections;
use crate::store::disk::Disk;
use crate::store::locked;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

/// As [`crate::limits`] has them; a test may be stricter.
#[derive(Default)]
pub struct Bounds {
    pub rate: Rate,
    pub newcomers: Newcomers,
    pub way_back: WayBack,
    pub room: Room,
    /// Connections to servers that keep mail.
    pub lmtp: LmtpConnections,
}

/// The free space of the spool, looked at once in [`ROOM_LOOK`] however many ask. A hint: nothing is held
/// back for whom it lets in, and the write itself has the last word.
#[derive(Default)]
pub struct Room(Mutex<Option<(Instant, u64)>>);

impl Room {
    /// Whether a message of so many octets has a chance to fit. A file system that does not say how full
    /// it is has room.
    pub(super) fn has(&self, disk: &dyn Disk, dir: &Path, octets: u64, now: Instant) -> bool {
        octets.saturating_add(ROOM_BESIDE) <= self.free(disk, dir, now)
    }

    fn free(&self, disk: &dyn Disk, dir: &Path, now: Instant) -> u64 {
        let seen = *locked(&self.0);
        if let Some((when, free)) = seen
            && now.saturating_duration_since(when) < ROOM_LOOK
        {
            return free;
        }
        // Without the lock: a file system that hangs holds up those who ask, and not those after them
        // for longer than it must.
        let free = disk.room(dir).unwrap_or(u64::MAX);
        *locked(&self.0) = Some((now, free));
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryDisk;

    #[test]
    fn room_is_looked_at_once_in_a_while() {
        let (disk, room, now) = (MemoryDisk::new(), Room::default(), Instant::now());
        let has = |octets, now| room.has(&disk, Path::new("/spill"), octets, now);
        disk.set_room(ROOM_BESIDE + 10);
        assert!(has(10, now) && !has(11, now) && !has(u64::MAX, now));
        disk.set_room(0);
        assert!(has(10, now + ROOM_LOOK / 2) && !has(10, now + ROOM_LOOK));
        disk.set_room(1 << 40);
        disk.set_fault(|_| Some(std::io::Error::other("EIO")));
        assert!(has(1 << 50, now + 2 * ROOM_LOOK), "who cannot say has room");
    }
}
