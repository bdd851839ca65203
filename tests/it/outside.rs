//! Programs that are not ours: started with an environment of their own, and never waited for forever.

use crate::servers::FACTEUR;
use crate::support::{Dice, PATIENCE, Place, skip, text, within};
use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a program may take: it starts slowly where much else runs, and then waits for syncs.
const RUN_MAX: Duration = PATIENCE.saturating_mul(4);

/// What a program reads from its standard input.
pub enum Input<'a> {
    Octets(&'a [u8]),
    /// Nothing, and no end either, as from a terminal where nobody types.
    Silence,
}

/// One of the scripts in `tests/programs`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

/// A program with nobody's settings, whose home is that place.
pub fn program(place: &Place, name: &str) -> Command {
    let mut command = Command::new(name);
    command.current_dir(place.path()).env("HOME", place.path());
    command.env("LC_ALL", "C.UTF-8").env("TERM", "vt100").env("MAILRC", "/dev/null");
    for name in ["MAIL", "EMAIL", "ALL_PROXY", "all_proxy", "NODE_OPTIONS", "PYTHONPATH"] {
        command.env_remove(name);
    }
    command
}

/// Runs a program that has to end in time and without an error; gives all that it said.
pub fn run(place: &Place, command: &mut Command, input: Input) -> String {
    let (said, read) = (place.at("said"), place.at("read"));
    // Files, so that no pipe is ever full.
    let out = File::create(&said).unwrap();
    let stdin = match input {
        Input::Octets(octets) => {
            fs::write(&read, octets).unwrap();
            File::open(&read).unwrap().into()
        }
        Input::Silence => Stdio::piped(),
    };
    command.stdin(stdin).stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = command.spawn().unwrap();
    let mut status = None;
    let in_time = within(RUN_MAX, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    if !in_time {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = text(&fs::read(&said).unwrap());
    assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{said}");
    said
}

/// Whether all these are installed; says which one is not.
///
/// Only looks for the files: not every program has an argument with which it does nothing and succeeds.
pub fn installed(programs: &[&str]) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = |name: &&&str| env::split_paths(&path).any(|dir| dir.join(name).is_file());
    let missing = programs.iter().find(|name| !is_there(name));
    if let Some(name) = missing {
        skip(&format!("{name} is not installed"));
    }
    missing.is_none()
}

/// Whether a program has what it needs to run that line of its language; else says what is missing.
pub fn has_module(program: &str, line: &str, module: &str) -> bool {
    let mut command = Command::new(program);
    command.args(["-e", line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let has = command.status().is_ok_and(|status| status.success());
    if !has {
        skip(&format!("{module} is not installed"));
    }
    has
}

/// What composes messages and takes them apart.
pub const PYTHON: &str = "python3";

/// facteur on a terminal of Python's, where these answers are given; its status, and all that was shown.
pub fn asked_on_a_terminal(
    place: &Place,
    words: &[&str],
    answers: &[&str],
) -> (Option<i32>, String) {
    let mut command = Command::new(PYTHON);
    command.arg(script("on_a_terminal.py")).arg(FACTEUR).args(words).arg("--").args(answers);
    let output = command.current_dir(place.path()).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Whether Python has these modules; else says so.
pub fn has_modules(names: &str) -> bool {
    let mut command = Command::new(PYTHON);
    command.args(["-c", &format!("import {names}")]).stdout(Stdio::null()).stderr(Stdio::null());
    let has = command.status().is_ok_and(|status| status.success());
    if !has {
        skip(&format!("not all of {names} are there for {PYTHON}"));
    }
    has
}

/// Words that a header cannot carry as they are.
pub const SUBJECT: &str =
    "Grüße aus 東京, und so weiter bis über das Ende der Zeile hinaus, déjà vu";

/// What is sent: a text that is hard on a mail program, and an attachment of random octets.
pub struct Parcel {
    pub text: String,
    pub attachment: Vec<u8>,
    /// Both, as one message with LF.
    pub message: Vec<u8>,
}

impl Parcel {
    /// In that place, as `text`, `attachment` and `message`.
    pub fn new(place: &Place) -> Parcel {
        let mut dice = Dice::new(1982);
        let attachment: Vec<u8> = (0..300_000).map(|_| dice.below(256) as u8).collect();
        let long = "x".repeat(3000);
        let lines = ".\n..\n.dot\n\tünïcode 漢字 \n\nFrom here\n".to_owned();
        let text = format!("{lines}{long}\n.\nthe end\n");
        place.write("attachment", &attachment);
        place.write("text", &text);
        let mut compose = program(place, PYTHON);
        compose.arg(script("compose.py")).args([SUBJECT, "text", "attachment"]);
        run(place, &mut compose, Input::Octets(b""));
        let message = fs::read(place.at("said")).unwrap();
        place.write("message", &message);
        Parcel { text, attachment, message }
    }

    /// The message as a client sends it.
    pub fn with_crlf(&self) -> Vec<u8> {
        let lines = self.message.split_inclusive(|&octet| octet == b'\n');
        lines.flat_map(|line| [&line[..line.len() - 1], b"\r\n"].concat()).collect()
    }

    /// That file holds the same subject, text and attachment, whatever is around them.
    pub fn assert_in(&self, place: &Place, file: &Path) {
        let mut parse = program(place, PYTHON);
        parse.arg(script("parse.py")).arg(file).arg("parsed");
        let said = run(place, &mut parse, Input::Octets(b""));
        let found: serde_json::Value = serde_json::from_str(&said).unwrap();
        // Some fold right after the colon, and leave the space of the fold.
        assert_eq!(found["subject"].as_str().unwrap().trim_start(), SUBJECT);
        let text = found["text"].as_str().unwrap().replace("\r\n", "\n");
        let short = text.replace(&"x".repeat(100), "x");
        assert!(text.trim_end_matches('\n') == self.text.trim_end_matches('\n'), "{short:?}");
        assert!(fs::read(place.at("parsed")).unwrap() == self.attachment, "not the same octets");
    }
}

/// What `facteur mail list --json` says of a user of mx.test.
pub fn listing(place: &Place, user: &str) -> Vec<serde_json::Value> {
    let mut command = program(place, FACTEUR);
    command.args(["mail", "list", "--json", &format!("{user}@mx.test")]);
    let said = run(place, &mut command, Input::Octets(b""));
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `facteur mail show` gives of a user of mx.test.
pub fn shown(place: &Place, user: &str, key: &str) -> Vec<u8> {
    let mut command = program(place, FACTEUR);
    command.args(["mail", "show", &format!("{user}@mx.test"), key]);
    run(place, &mut command, Input::Octets(b""));
    fs::read(place.at("said")).unwrap()
}
