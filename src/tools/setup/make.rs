//! Carries out the steps of a [`super::plan`], or shows them. Each is whole or not begun, nothing that is there is
//! changed, and what a killed run has left half made is finished by the next.

use super::pair;
use super::plan::{Owner, SetupStep};
use crate::config::Config;
use crate::privileges;
use crate::store::disk::{Doing, StoreError};
use crate::store::fresh;
use crate::store::table;
use crate::tools::dkim::make_missing;
use crate::tools::{Failure, complain, print, terminal};
use nix::unistd::{Gid, Group, Uid, User};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who has no shell: the first of these that is there.
const NO_SHELLS: [&str; 3] = ["/usr/sbin/nologin", "/sbin/nologin", "/bin/false"];

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    Made,
    /// It was there.
    Kept,
}

/// Carries out all steps, and tells `say` a line for each thing that was made; returns these. Stops at the first failure,
/// which names what was to be made.
pub fn carry_out<'a>(
    steps: &'a [SetupStep],
    config: &Config,
    say: &dyn Fn(&str) -> Result<(), Failure>,
) -> Result<Vec<&'a SetupStep>, Failure> {
    let mut made = Vec::new();
    for step in steps {
        let done = one(step, config);
        let done = done.map_err(|failure| match failure {
            Failure::Failed(why) => Failure::Failed(format!(
                "{}: {why}\nWhat was made stays; the same command goes on from there.",
                terminal::escape(&step.to_string())
            )),
            other => other,
        })?;
        if done == StepOutcome::Made {
            made.push(step);
            say(&format!("made {}\n", terminal::escape(&step.to_string())))?;
        }
    }
    Ok(made)
}

/// Prints what would be made, with the text of each file that all may read; returns these steps.
pub fn show(steps: &[SetupStep]) -> Result<Vec<&SetupStep>, Failure> {
    let missing: Vec<&SetupStep> = steps.iter().filter(|step| !is_there(step)).collect();
    for step in &missing {
        let mut words = format!("would make {}\n", terminal::escape(&step.to_string()));
        // What only some may read holds passwords, as they are or as hashes.
        if let SetupStep::File { text, mode, .. } = step
            && mode & 0o004 != 0
        {
            let lines = text.lines().map(|line| format!("  | {}\n", terminal::escape(line)));
            words.extend(lines);
        }
        print(&words)?;
    }
    Ok(missing)
}

/// Whether a step has nothing to do, as far as that shows.
fn is_there(step: &SetupStep) -> bool {
    let is_name = |path: &Path| fs::symlink_metadata(path).is_ok();
    match step {
        SetupStep::User { name, .. } => privileges::find(name).is_ok(),
        SetupStep::Dir { path, .. }
        | SetupStep::File { path, .. }
        | SetupStep::Copy { path, .. } => is_name(path),
        SetupStep::Keys { dir, .. } => {
            fs::read_dir(dir).is_ok_and(|mut names| names.next().is_some()) // who may not list it sees none
        }
        SetupStep::Pair { certificate, .. } => is_name(certificate),
        SetupStep::Compile { script } => is_name(&script.with_extension("svbin")),
    }
}

/// Carries out one step.
pub fn one(step: &SetupStep, config: &Config) -> Result<StepOutcome, Failure> {
    match step {
        SetupStep::User { name, home } => user(name, home),
        SetupStep::Dir { path, mode, owner } => dir(path, *mode, of(owner)?),
        SetupStep::File { path, mode, owner, text } => {
            Ok(file(path, text.as_bytes(), *mode, of(owner)?)?)
        }
        SetupStep::Copy { from, path, mode, owner } => {
            Ok(file(path, &table::read(from)?, *mode, of(owner)?)?)
        }
        SetupStep::Keys { domain, dir } => match make_missing(config, domain, dir)? {
            0 => Ok(StepOutcome::Kept),
            _ => Ok(StepOutcome::Made),
        },
        SetupStep::Pair { hostname, certificate, key, reader } => {
            pair::make(hostname, certificate, key, of(reader)?)
        }
        SetupStep::Compile { script } => compile(script),
    }
}

/// The ids of an owner; none where a file is its maker's in any case.
fn of(owner: &Owner) -> Result<Option<(Uid, Gid)>, String> {
    Ok(Some(match owner {
        Owner::Root => return Ok(None),
        Owner::RootWith(user) => (Uid::from_raw(0), privileges::find(user)?.gid),
        Owner::User(user) => privileges::find(user).map(|user| (user.uid, user.gid))?,
        Owner::UserWith(user, group) => (privileges::find(user)?.uid, group_of(group)?),
    }))
}

fn group_of(name: &str) -> Result<Gid, String> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("this system has no group {name}")),
        Err(error) => Err(format!("cannot look for the group {name}: {error}")),
    }
}

/// The system user. Made by the tool of the system, which knows where users stand.
fn user(name: &str, home: &Path) -> Result<StepOutcome, Failure> {
    if let Ok(Some(_)) = User::from_name(name) {
        return Ok(StepOutcome::Kept);
    }
    let shell =
        NO_SHELLS.into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("/bin/false");
    let arguments =
        |group: &'static str, home_option: &'static str| {
            ["--system", group, "--no-create-home", home_option].map(OsStr::new).into_iter().chain(
                [home.as_os_str(), OsStr::new("--shell"), OsStr::new(shell), OsStr::new(name)],
            )
        };
    let (useradd, adduser) =
        (arguments("--user-group", "--home-dir"), arguments("--group", "--home"));
    for (program, arguments) in [("useradd", useradd), ("adduser", adduser)] {
        let arguments: Vec<&OsStr> = arguments.collect();
        match run(program, &arguments) {
            None => {}
            Some(Ok(())) if privileges::find(name).is_ok() => return Ok(StepOutcome::Made),
            Some(Ok(())) => return Err(format!("{program} has made no user of this name").into()),
            Some(Err(why)) => return Err(format!("{program}: {why}").into()),
        }
    }
    let words = "neither useradd nor adduser is installed; make the user with what this system has, then go on";
    Err(words.into())
}

/// Runs a program of the administrator's; none where it is not installed. The error is what it said.
pub fn run(program: &str, arguments: &[&OsStr]) -> Option<Result<(), String>> {
    let dirs = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|dir| Path::new(dir).join(program));
    let program = dirs.iter().find(|path| path.is_file())?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    Some(match output {
        Err(error) => Err(error.to_string()),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(if said.is_empty() {
                output.status.to_string()
            } else {
                terminal::escape(&said).into_owned()
            })
        }
    })
}

/// A directory. One that is empty and still root's, as a killed run leaves it, is given away.
fn dir(path: &Path, mode: u32, owner: Option<(Uid, Gid)>) -> Result<StepOutcome, Failure> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fresh::make_dir(path, mode, owner)?;
            return Ok(StepOutcome::Made);
        }
        Err(error) => return Err(Failure::from(error.to_string())),
    };
    if !found.is_dir() {
        return Err("there is a file of that name; a directory is needed".into());
    }
    let Some(owner) = owner.filter(|(uid, _)| uid.as_raw() != found.uid()) else {
        return Ok(StepOutcome::Kept);
    };
    let is_empty = fs::read_dir(path).is_ok_and(|mut names| names.next().is_none());
    if found.uid() == 0 && is_empty {
        fresh::give_dir(path, mode, owner)?;
        return Ok(StepOutcome::Made);
    }
    let (dir, uid, gid) = (path.display(), owner.0, owner.1);
    complain(&format!(
        "{dir} was there and belongs to {}; it has to be the server's: chown {uid}:{gid} {dir}",
        privileges::name_of(found.uid())
    ));
    Ok(StepOutcome::Kept)
}

/// A file, and none of what killed runs have left of it.
pub fn file(
    path: &Path,
    text: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> Result<StepOutcome, StoreError> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(StepOutcome::Kept);
    }
    sweep(path);
    match fresh::write_new(path, text, mode, owner) {
        // Somebody else was faster.
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => Ok(StepOutcome::Kept),
        written => written.map(|()| StepOutcome::Made),
    }
}

/// Removes drafts of a file that is not there. The lock of the site keeps `user add` from writing one meanwhile.
fn sweep(path: &Path) {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return };
    let draft = format!(".{}.", name.to_string_lossy());
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(&draft));
        if rest.is_some_and(|rest| rest.bytes().all(|octet| octet.is_ascii_alphanumeric())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Compiles a script where sievec is installed; without it Dovecot does so anew for each message.
fn compile(script: &Path) -> Result<StepOutcome, Failure> {
    if script.with_extension("svbin").exists() {
        return Ok(StepOutcome::Kept);
    }
    match run("sievec", &[script.as_os_str()]) {
        None => Ok(StepOutcome::Kept),
        Some(Ok(())) => Ok(StepOutcome::Made),
        Some(Err(why)) => Err(format!("sievec: {why}").into()),
    }
}

/// Waits for the lock of a site's directory, which is held until the file is dropped: one command at a time makes files
/// there. None while there is no directory.
pub fn hold(etc: &Path) -> Result<Option<fs::File>, StoreError> {
    let dir = match fs::File::open(etc) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.doing("open", etc)?,
    };
    dir.lock().doing("lock", etc)?;
    Ok(Some(dir))
}
