//! Exit statuses of sendmail(1): those of sysexits(3), which cron, mail programs and scripts tell apart.

use crate::mail::repair::HeaderTooLong;
use crate::smtp::reply::Reply;
use crate::store::disk::StoreError;
use crate::tools::Failure;

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    Usage = 64,
    Data = 65,
    NoUser = 67,
    Unavailable = 69,
    System = 71,
    Io = 74,
    /// Try again; the only status after which programs do so themselves.
    Later = 75,
    NoPermission = 77,
    Config = 78,
}

/// A status, and words for stderr; empty where they were printed already.
#[derive(Debug)]
pub struct NotSent {
    pub status: ExitStatus,
    pub text: String,
}

impl NotSent {
    pub fn new(status: ExitStatus, text: impl Into<String>) -> NotSent {
        NotSent { status, text: text.into() }
    }

    pub fn usage(text: impl Into<String>) -> NotSent {
        NotSent::new(ExitStatus::Usage, text)
    }
}

/// The status for a reply of a session.
pub fn of_reply(reply: &Reply) -> ExitStatus {
    let text = reply.to_string();
    let enhanced = text.split(' ').nth(1).unwrap_or_default();
    match enhanced.split('.').collect::<Vec<_>>()[..] {
        _ if !reply.is_permanent() => ExitStatus::Later,
        ["5", "1", "1"] => ExitStatus::NoUser,
        ["5", "7", _] => ExitStatus::NoPermission,
        _ => ExitStatus::Unavailable,
    }
}

/// Trouble with a disk is temporary: a program that tries again loses no mail.
impl From<StoreError> for NotSent {
    fn from(error: StoreError) -> NotSent {
        NotSent::new(ExitStatus::Later, error.to_string())
    }
}

/// Refused like every limit.
impl From<HeaderTooLong> for NotSent {
    fn from(long: HeaderTooLong) -> NotSent {
        NotSent::new(ExitStatus::Unavailable, long.to_string())
    }
}

impl From<Failure> for NotSent {
    fn from(failure: Failure) -> NotSent {
        match failure {
            Failure::Usage(text) => NotSent::usage(text),
            Failure::Failed(text) => NotSent::new(ExitStatus::Unavailable, text),
            Failure::Told => NotSent::new(ExitStatus::Unavailable, ""),
        }
    }
}
