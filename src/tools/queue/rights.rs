//! Whether the server may read and write a queue file: a command of root may do more, and would promise
//! what the server cannot do.

use crate::config::Config;
use crate::privileges;
use crate::reach;
use crate::store::queue::Queue;
use crate::tools::route::owned;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat, geteuid};
use std::fmt;
use std::path::PathBuf;

/// Why the server's user cannot use a file.
pub struct Missing {
    /// The name of the server's user.
    user: String,
    path: PathBuf,
    errno: Errno,
}

/// Looks when root asks; none where the server may use the file, or it is gone.
pub fn missing(config: &Config, queue: &Queue, id: &str) -> Option<Missing> {
    if !geteuid().is_root() {
        return None;
    }
    let user = reach::user(config).ok()?;
    let server = reach::server(config, user.as_ref()).ok()??;
    let path = queue.dir().join(id);
    let try_it = || {
        let how = AccessFlags::R_OK | AccessFlags::W_OK;
        faccessat(AT_FDCWD, &path, how, AtFlags::AT_EACCESS)
    };
    let errno = privileges::as_user(Some(&server), try_it).ok()?.err()?;
    let user = privileges::name_of(server.uid.as_raw());
    (errno != Errno::ENOENT).then_some(Missing { user, path, errno })
}

impl Missing {
    /// The command to type.
    pub fn remedy(&self) -> String {
        format!("`chown {} {}`", self.user, self.path.display())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Missing { user, path, errno } = self;
        let owner = owned(path).map(|owner| format!(" ({owner})")).unwrap_or_default();
        let why = errno.desc();
        write!(
            f,
            "the server's user {user} cannot use its file {}{owner}: {why}; {} lets it",
            path.display(),
            self.remedy()
        )
    }
}
