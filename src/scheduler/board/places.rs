//! Where one message still has to go. Nearly all messages have one goal, which takes no room of its own, because a
//! hundred thousand may wait.

use super::Goal;
use super::due::Due;
use std::sync::Arc;

/// A goal of a message, and when the message is due there.
pub struct Place {
    /// Shared by all that waits for it.
    pub goal: Arc<Goal>,
    pub due: Due,
}

/// The places of a message; none while all its parts are under way.
pub enum Places {
    One(Place),
    Other(Option<Box<Several>>),
}

/// Two places or more, at least at first.
pub struct Several(Vec<Place>);

const _: () = assert!(size_of::<Places>() == 16);

impl Places {
    pub fn all(&self) -> &[Place] {
        match self {
            Places::One(place) => std::slice::from_ref(place),
            Places::Other(None) => &[],
            Places::Other(Some(several)) => &several.0,
        }
    }

    pub fn add(&mut self, place: Place) {
        *self = match std::mem::take(self) {
            Places::Other(None) => Places::One(place),
            Places::One(first) => Places::Other(Some(Box::new(Several(vec![first, place])))),
            Places::Other(Some(mut several)) => {
                several.0.push(place);
                Places::Other(Some(several))
            }
        };
    }

    pub fn remove(&mut self, goal: &Goal) {
        match self {
            Places::One(place) if *place.goal == *goal => *self = Places::default(),
            Places::One(_) | Places::Other(None) => {}
            Places::Other(Some(several)) => several.0.retain(|place| *place.goal != *goal),
        }
    }

    /// The place of a goal; none when the message does not wait for it.
    pub fn find(&mut self, goal: &Goal) -> Option<&mut Place> {
        let all = match self {
            Places::One(place) => std::slice::from_mut(place),
            Places::Other(None) => &mut [],
            Places::Other(Some(several)) => &mut several.0[..],
        };
        all.iter_mut().find(|place| *place.goal == *goal)
    }
}

impl Default for Places {
    fn default() -> Places {
        Places::Other(None)
    }
}
