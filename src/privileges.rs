//! The way from root to the user of `run_as`, for good: the ids and groups of that user, no capability, and
//! no way for a program to get them back. Only [`as_user`] returns to root.
//!
//! Capabilities belong to a thread, so this is for the time before a second thread is started.

use caps::CapSet;
use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::stat;
use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgroups, getresuid, initgroups, setegid, seteuid, setgid,
    setgroups, setuid,
};
use std::ffi::CString;
use std::path::Path;

/// The user of that name. Called before any socket is bound, so that a misspelt name stops the start.
pub fn find(name: &str) -> Result<User, String> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("expected a user of this system, found {name:?}")),
        Err(error) => Err(format!("cannot look for the user {name:?}: {error}")),
    }
}

/// The name of a user; the number where there is no name.
pub fn name_of(uid: u32) -> String {
    let found = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

/// The user to be, for root, where a directory belongs to somebody else; none where nothing is to be changed. Fails
/// where that user has no name.
pub fn owner_of(dir: &Path) -> Result<Option<User>, String> {
    let owner = stat(dir).map(|found| Uid::from_raw(found.st_uid));
    let Ok(owner) = owner else { return Ok(None) };
    if !geteuid().is_root() || owner.is_root() {
        return Ok(None);
    }
    let found = User::from_uid(owner).ok().flatten();
    found
        .map(Some)
        .ok_or(format!("{} belongs to uid {owner}, which has no name here", dir.display()))
}

/// Calls `act` with the ids of that user, then returns to root: it shows which files only root could read,
/// before any socket is open. A process that is not root calls `act` as it is. Fails when the ids cannot be
/// changed or changed back.
pub fn as_user<T>(user: Option<&User>, act: impl FnOnce() -> T) -> Result<T, String> {
    let Some(user) = user.filter(|user| geteuid().is_root() && !user.uid.is_root()) else {
        return Ok(act());
    };
    let failed = |error| format!("run_as: cannot be {} for a while: {error}", user.name);
    let (group, groups) = (getegid(), getgroups().map_err(failed)?);
    initgroups(&c_name(user)?, user.gid).map_err(failed)?;
    setegid(user.gid).map_err(failed)?;
    seteuid(user.uid).map_err(failed)?;
    let done = act();
    seteuid(Uid::from_raw(0)).map_err(failed)?;
    setegid(group).map_err(failed)?;
    setgroups(&groups).map_err(failed)?;
    Ok(done)
}

/// Takes on that user with its groups for good, when started as root. Otherwise the process keeps its user;
/// returns a warning where that is root or not the user that was asked for. A process that is not root
/// afterwards has no capability any more.
pub fn become_user(user: Option<&User>) -> Result<Option<String>, String> {
    // First: from here on no program that is started gains rights by the mode of its file.
    set_no_new_privs().map_err(|error| format!("cannot set no_new_privs: {error}"))?;
    let now = geteuid();
    let warning = match user {
        None if now.is_root() => {
            Some("running as root; set run_as to a user of its own".to_owned())
        }
        None => None,
        Some(user) if now.is_root() => {
            take_on(user)?;
            None
        }
        Some(user) => {
            let name = &user.name;
            (now != user.uid)
                .then(|| format!("not started as root, so this is uid {now}, not {name} of run_as"))
        }
    };
    if !geteuid().is_root() {
        give_up_capabilities()?;
    }
    Ok(warning)
}

fn take_on(user: &User) -> Result<(), String> {
    let name = &user.name;
    let failed = |error| format!("run_as: cannot become {name}: {error}");
    if !user.uid.is_root() {
        // Only root may do this. Where a container forbids it, clearing the other sets is enough.
        let _ = caps::clear(None, CapSet::Bounding);
    }
    // In this order: without root, groups cannot be changed any more.
    initgroups(&c_name(user)?, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)?;
    // Tried out, because the safety of each session depends on it.
    let ids = getresuid().map_err(failed)?;
    let is_whole = [ids.real, ids.effective, ids.saved] == [user.uid; 3];
    let is_back = !user.uid.is_root()
        && (setuid(Uid::from_raw(0)).is_ok() || seteuid(Uid::from_raw(0)).is_ok());
    let is_back = is_back || (!user.gid.as_raw().eq(&0) && setgid(Gid::from_raw(0)).is_ok());
    match is_whole && !is_back {
        true => Ok(()),
        false => Err(format!("run_as {name}: root could be had back; not starting")),
    }
}

/// Gives up capabilities that a service manager, or the file of the program, gave for ports below 1024.
/// These ports are open now, and a session needs no capability.
fn give_up_capabilities() -> Result<(), String> {
    let failed = |error| format!("cannot give up capabilities: {error}");
    for set in [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        // Read first: a filter of system calls may forbid clearing a set that is empty already.
        if caps::read(None, set).map_err(failed)?.is_empty() {
            continue;
        }
        caps::clear(None, set).map_err(failed)?;
        let left = caps::read(None, set).map_err(failed)?;
        if !left.is_empty() {
            return Err(format!("cannot give up capabilities: {set:?} still has {}", left.len()));
        }
    }
    Ok(())
}

fn c_name(user: &User) -> Result<CString, String> {
    CString::new(user.name.as_str()).map_err(|error| format!("run_as: {error}"))
}
