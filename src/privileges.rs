//! From root to the user of `run_as`, for good. Never gives anything back.

use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};
use std::ffi::CString;

/// The user of that name. Looked for before any socket is bound, so that a slip stops the start.
pub fn find(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("expected a user of this system, found {name:?}")),
        Err(error) => Err(format!("cannot look for the user {name:?}: {error}")),
    }
}

/// When started as root: takes on that user with its groups, with no way back. Otherwise the server
/// stays who it is; gives a warning where that is not what was asked for, or is root.
pub fn become_user(user: Option<&User>) -> Result<Option<String>, String> {
    let now = geteuid();
    let Some(user) = user else {
        let warning = "running as root; set run_as to a user of its own";
        return Ok(now.is_root().then(|| warning.to_owned()));
    };
    let name = &user.name;
    if !now.is_root() {
        let warning = format!("not started as root, so this is uid {now}, not {name} of run_as");
        return Ok((now != user.uid).then_some(warning));
    }
    let failed = |error| format!("run_as: cannot become {name}: {error}");
    let c_name = CString::new(name.as_str()).map_err(|error| format!("run_as: {error}"))?;
    // In this order: who is no longer root cannot change groups.
    initgroups(&c_name, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)?;
    // Tried, not believed: everything a session may do rests on it.
    if !user.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("run_as {name}: root could be had back; not starting"));
    }
    Ok(None)
}
