//! Exit statuses of sendmail(1): those of sysexits(3), which cron, mail programs and scripts tell apart.

use crate::mail::repair::HeaderTooLong;
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use crate::tools::Failure;

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Usage = 64,
    Data = 65,
    NoUser = 67,
    Unavailable = 69,
    System = 71,
    Io = 74,
    /// To be tried again; the only one after which programs do so by themselves.
    Later = 75,
    NoPermission = 77,
    Config = 78,
}

/// A status, and what to say on stderr; nothing where all has been said.
#[derive(Debug)]
pub struct Refusal {
    pub status: Status,
    pub text: String,
}

impl Refusal {
    pub fn new(status: Status, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into() }
    }

    pub fn usage(text: impl Into<String>) -> Refusal {
        Refusal::new(Status::Usage, text)
    }
}

/// What a session would have said becomes the status that means the same.
pub fn of_reply(reply: &Reply) -> Status {
    let text = reply.to_string();
    let enhanced = text.split(' ').nth(1).unwrap_or_default();
    match enhanced.split('.').collect::<Vec<_>>()[..] {
        _ if !reply.is_permanent() => Status::Later,
        ["5", "1", "1"] => Status::NoUser,
        ["5", "7", _] => Status::NoPermission,
        _ => Status::Unavailable,
    }
}

/// A disk that is full or ill, or does not let us write, may be better later: an administrator's slip costs
/// no mail of a program that tries again.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::new(Status::Later, error.to_string())
    }
}

/// As every limit, by whichever way the message comes.
impl From<HeaderTooLong> for Refusal {
    fn from(long: HeaderTooLong) -> Refusal {
        Refusal::new(Status::Unavailable, long.to_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        match failure {
            Failure::Usage(text) => Refusal::usage(text),
            Failure::Failed(text) => Refusal::new(Status::Unavailable, text),
            Failure::Told => Refusal::new(Status::Unavailable, ""),
        }
    }
}
