//! What waits in the queue, and when each of it is due. The scheduler itself stands here later.

pub mod due;
