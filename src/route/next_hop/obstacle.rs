//! Why mail cannot be handed to anybody at this moment, and whether it ever can.

use std::fmt;

/// What stands in the way of an attempt before any host was spoken to.
/// "556 5.1.10 far.test takes no mail: null MX"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The mail goes back to its sender; otherwise it waits.
    pub is_permanent: bool,
    /// Enhanced status code (RFC 3463, RFC 7505 §4).
    pub status: &'static str,
    /// Without codes; names the domain or the host, and what was found. Printable.
    pub words: String,
}

/// A domain that takes no mail at all (RFC 7505 §4).
pub const NULL_MX: &str = "5.1.10";

impl Obstacle {
    pub fn permanent(status: &'static str, words: String) -> Obstacle {
        Obstacle { is_permanent: true, status, words }
    }

    pub fn temporary(status: &'static str, words: String) -> Obstacle {
        Obstacle { is_permanent: false, status, words }
    }

    /// The reply code that goes with it (RFC 5321 §4.2.3; 556: RFC 7504 §4, RFC 7505 §4).
    pub fn code(&self) -> u16 {
        match (self.is_permanent, self.status) {
            (true, NULL_MX) => 556,
            (true, _) => 550,
            (false, _) => 451,
        }
    }
}

/// As a reply would say it.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code(), self.status, self.words)
    }
}
