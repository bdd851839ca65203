//! Why mail has no next hop at this moment, and whether waiting can help.

use std::fmt;

/// Why an attempt ended before any host was connected to. "556 5.1.10 far.test takes no mail: null MX"
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Whether the mail goes back to its sender; otherwise it waits.
    pub is_permanent: bool,
    /// Enhanced status code (RFC 3463, RFC 7505 §4).
    pub status: &'static str,
    /// Words without codes: the domain or the host, and what was found. Printable.
    pub words: String,
}

/// The status of a domain that takes no mail at all (RFC 7505 §4).
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

/// The obstacle in the form of a reply.
impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code(), self.status, self.words)
    }
}
