//! The pages that say what to do, `docs/backup.md`, `docs/trouble.md` and `docs/rspamd.md`: each command in them is run
//! as it stands there, but for paths, names and ids of this machine.

mod backup;
pub mod rspamd;
mod trouble;

use crate::servers::{Binary, FACTEUR};
use crate::support::{Place, text};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// In the place of systemctl: notes what it was asked for.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$*\" >>\"$CALLS\"\n";

/// Where the package has its files.
const PATHS: [&str; 4] = ["/etc/facteur", "/var/spool/facteur", "/var/vmail", "/var/backups"];

/// A machine: its files lie below a place.
struct Machine {
    place: Place,
    /// More of the environment of commands.
    environment: Vec<(String, String)>,
}

/// What a command came to.
struct Ran {
    command: String,
    status: i32,
    said: String,
}

impl Ran {
    #[track_caller]
    fn good(self) -> String {
        assert_eq!(self.status, 0, "{}: {}", self.command, self.said);
        self.said
    }
}

impl Machine {
    /// With the directories of the package, and nothing in them.
    fn new() -> Machine {
        let place = Place::new();
        for path in PATHS {
            fs::create_dir_all(below(&place, path)).unwrap();
        }
        fs::create_dir(place.at("bin")).unwrap();
        symlink(FACTEUR, place.at("bin/facteur")).unwrap();
        let program = place.write("bin/systemctl", SYSTEMCTL);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        Machine { place, environment: Vec::new() }
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        below(&self.place, path)
    }

    /// Serves by the configuration in /etc/facteur.
    fn serve(&self) -> Binary {
        let mut command = Command::new(FACTEUR);
        command.arg("serve").current_dir(self.at("/etc/facteur"));
        Binary::start(command)
    }

    /// Runs a line of a page, with these words in place of its own; where the configuration lies.
    fn run(&self, line: &str, words: &[(&str, &str)]) -> Ran {
        let mut line =
            words.iter().fold(line.to_owned(), |line, (old, new)| line.replace(old, new));
        for path in PATHS {
            // Those of another machine stay.
            line = line.replace(&format!(" {path}"), &format!(" {}", self.at(path).display()));
        }
        line = line.replace(" -C / ", &format!(" -C {} ", self.place.path().display()));
        if line.ends_with(" -C /") {
            line = line.replace(" -C /", &format!(" -C {}", self.place.path().display()));
        }
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(self.at("/etc/facteur")).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", self.place.at("bin").display()));
        command.env("CALLS", self.place.at("calls")).env("LC_ALL", "C.UTF-8");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        Ran { command: line, status: output.status.code().unwrap(), said }
    }
}

fn below(place: &Place, path: &str) -> std::path::PathBuf {
    place.at(path.trim_start_matches('/'))
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new("docs").join(name)).expect("tests run in the crate's folder")
}

/// The commands of a page, a line each, by the heading that they stand below. Those of a list are indented.
fn commands(page: &str) -> Vec<(String, Vec<String>)> {
    let (mut all, mut is_code, mut is_sh) = (Vec::<(String, Vec<String>)>::new(), false, false);
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ").filter(|_| !is_code) {
            all.push((title.to_owned(), Vec::new()));
        }
        let line = line.trim();
        if let Some(language) = line.strip_prefix("```") {
            (is_sh, is_code) = (!is_code && language == "sh", !is_code);
        } else if let Some((_, commands)) = all.last_mut().filter(|_| is_sh) {
            commands.push(line.to_owned());
        }
    }
    all.retain(|(_, commands)| !commands.is_empty());
    all
}

/// The commands of each heading of a page; its headings have to be these.
fn by_heading<const N: usize>(name: &str, headings: [&str; N]) -> [Vec<String>; N] {
    let all = commands(&page(name));
    let found: Vec<&str> = all.iter().map(|(title, _)| title.as_str()).collect();
    assert_eq!(found, headings, "{name}");
    headings.map(|heading| {
        let mut own = all.iter().filter(|(title, _)| title == heading);
        own.next().map(|(_, commands)| commands.clone()).unwrap_or_default()
    })
}
