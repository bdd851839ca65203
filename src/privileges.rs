//! From root to the user of `run_as`, for good.

use crate::event::{Event, tell};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};

/// When started as root: takes on that user with its groups. Without a user, or not as root, the
/// server stays who it is, and the log warns of root.
pub fn drop_to(user: Option<&str>) -> Result<(), String> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let Some(name) = user else {
        tell(&Event::Warning { what: "running as root; set run_as to a user of its own" });
        return Ok(());
    };
    let found = User::from_name(name).map_err(|error| format!("run_as {name}: {error}"))?;
    let user = found.ok_or_else(|| format!("run_as {name}: there is no such user"))?;
    let failed = |error| format!("run_as {name}: cannot become this user: {error}");
    let c_name = std::ffi::CString::new(name).map_err(|error| format!("run_as: {error}"))?;
    initgroups(&c_name, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)?;
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("run_as {name}: root could be had back; not starting"));
    }
    Ok(())
}
