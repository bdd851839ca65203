//! The rules of the map in `src/lib.rs`, checked in the sources themselves.

use crate::support::{skip, text};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines that a file may have.
const LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources by their path under `src/`, but those that are only tests.
fn sources() -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    let files = crate::support::tree(&src).into_iter();
    let rust = files.filter(|path| {
        path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs")
    });
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&src).unwrap().to_owned(), text)
    };
    rust.map(read).collect()
}

/// The lines of a source without comments and without its tests, which stand at its end.
fn code(source: &str) -> String {
    let end = source.find("mod tests {").unwrap_or(source.len());
    let lines = source[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first part of a path under `src/`: its layer.
fn layer(path: &Path) -> String {
    let first = path.components().next().unwrap();
    Path::new(&first).file_stem().unwrap().to_string_lossy().into_owned()
}

/// Whether a word stands in a text, alone.
fn has_word(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// What a source names of our own crate: `crate::NAME`.
fn used(code: &str) -> Vec<String> {
    let names = code.split("crate::").skip(1);
    let end = |c: char| !c.is_alphanumeric() && c != '_';
    names.map(|rest| rest.split(end).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_mail_is_and_how_it_is_spoken_is_pure() {
    let forbidden = [
        "fs",
        "thread",
        "process",
        "env",
        "io",
        "Instant",
        "SystemTime",
        "log",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "SocketAddr",
        "ToSocketAddrs",
        "socket2",
        "nix",
        "now",
        "println",
        "eprintln",
    ];
    for (path, source) in sources() {
        if !matches!(layer(&path).as_str(), "mail" | "smtp") {
            continue;
        }
        let code = code(&source);
        for word in forbidden {
            assert!(!has_word(&code, word), "{} uses {word}", path.display());
        }
        for uses in code.split("std::net::").skip(1) {
            let list = uses.split(';').next().unwrap().trim_matches(['{', '}']);
            let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
            for name in names {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                let address = matches!(name, "IpAddr" | "Ipv4Addr" | "Ipv6Addr");
                assert!(address, "{} uses std::net::{name}", path.display());
            }
        }
        for name in used(&code) {
            assert!(name != "event" && name != "config", "{} uses {name}", path.display());
        }
    }
}

/// Layers by their height in the map: the lines between "# Layers" and its end that have arrows.
fn heights() -> BTreeMap<String, usize> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (_, map) = lib.split_once("//! # Layers").unwrap();
    let (_, map) = map.split_once("```text\n").unwrap();
    let (map, _) = map.split_once("```").unwrap();
    let map = map.replace("//!", "");
    let ranks = map.split('→').enumerate();
    let names = ranks.flat_map(|(rank, names)| {
        names.split(',').map(move |name| (name.trim().to_owned(), rank)).collect::<Vec<_>>()
    });
    names.filter(|(name, _)| !name.is_empty()).collect()
}

#[test]
fn arrows_of_dependency_go_down_the_map() {
    let heights = heights();
    assert!(heights["cli"] < heights["server"] && heights["mail"] < heights["limits"]);
    for (path, source) in sources() {
        let here = layer(&path);
        let code = code(&source);
        assert!(!code.contains("crate::{"), "{}: one `use crate::x` a line", path.display());
        for name in used(&code) {
            let (from, to) = (heights.get(&here), heights.get(&name));
            let what = format!("{} uses {name}", path.display());
            if let (Some(from), Some(to)) = (from, to) {
                assert!(here == name || from < to, "{what}, which is not below it");
            }
            assert!(here != "store" || name != "smtp", "{what}");
            // Two doors: what is no part of the server is called by the command line alone.
            assert!(name != "tools" || matches!(here.as_str(), "tools" | "cli"), "{what}");
            let may = from.is_none_or(|from| *from < heights["smtp"]);
            assert!(may || !matches!(name.as_str(), "event" | "config"), "{what}");
            // What all may use must not lead back up.
            if matches!(here.as_str(), "config" | "event" | "id" | "privileges") {
                assert!(to.is_none_or(|to| *to >= heights["smtp"]), "{what}");
            }
        }
    }
}

#[test]
fn every_module_has_a_place_in_the_map() {
    let heights = heights();
    let beside = ["config", "event", "id", "privileges", "lib", "main"];
    for (path, _) in sources() {
        let here = layer(&path);
        let known = heights.contains_key(&here) || beside.contains(&here.as_str());
        assert!(known, "{} is not in the map of src/lib.rs", path.display());
    }
}

/// The reading path of the map: the lines it states for each file, and in all.
fn reading_path() -> (Vec<(usize, String)>, usize) {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let (_, path) = lib.split_once("//! # A reading path\n").unwrap();
    let (path, _) = path.split_once("//! # ").unwrap();
    let file = |line: &str| {
        let mut words = line.trim_start_matches("//!").split_whitespace();
        let (lines, file) = (words.next()?.parse().ok()?, words.next()?);
        file.ends_with(".rs").then(|| (lines, file.to_owned()))
    };
    let (all, _) = path.split_once(" lines in all").unwrap();
    let all = all.rsplit(' ').next().unwrap().replace(',', "");
    (path.lines().filter_map(file).collect(), all.parse().unwrap())
}

#[test]
fn the_reading_path_is_as_long_as_it_says() {
    let (files, all) = reading_path();
    assert!(files.len() > 20, "{files:?}");
    assert_eq!(files.iter().map(|(lines, _)| lines).sum::<usize>(), all, "lines in all");
    for (stated, file) in files {
        let source = fs::read_to_string(root().join("src").join(&file));
        let source = source.unwrap_or_else(|error| panic!("src/{file}: {error}"));
        let end = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
        let lines = source[..end].lines().count();
        assert!(lines.abs_diff(stated) * 10 <= lines, "src/{file} has {lines} lines, not {stated}");
    }
}

#[test]
fn only_the_disk_touches_mail_and_only_net_opens_sockets() {
    for (path, source) in sources() {
        let code = code(&source);
        // Of the configuration only what finds its file: what reads its text opens none.
        let files = ["cli", "tools", "reach", "main", "lib"].contains(&layer(&path).as_str())
            || path == Path::new("config/mod.rs")
            || path == Path::new("store/disk.rs")
            || path == Path::new("store/disk/home.rs")
            || path == Path::new("store/table.rs")
            || path == Path::new("store/keys/files.rs")
            || path == Path::new("store/fresh.rs")
            // The kernel's tables of file systems and sockets are no mail, nor is resolv.conf.
            || path == Path::new("store/mounts.rs")
            || path == Path::new("store/order.rs")
            // It takes an open file.
            || path == Path::new("store/writeback.rs")
            || path == Path::new("net/peer.rs")
            || path == Path::new("net/dns/resolv.rs");
        assert!(files || !code.contains("std::fs"), "{} uses std::fs", path.display());
        let sockets = layer(&path) == "net";
        for word in ["TcpListener", "UdpSocket", "UnixStream", "UnixDatagram", "Socket::new"] {
            assert!(sockets || !has_word(&code, word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn no_unsafe_and_nothing_unfinished() {
    for (path, source) in sources() {
        let mut code = code(&source).replace("deny(unsafe_code)", "");
        if path == Path::new("store/writeback.rs") {
            assert!(source.lines().count() < 40, "{} is no place for more", path.display());
            assert_eq!(code.matches("unsafe {").count(), 1, "one call, in {}", path.display());
            code = code.replacen("#![allow(unsafe_code)]", "", 1).replacen("unsafe {", "", 1);
        }
        for word in ["unsafe", "todo!", "unimplemented!", "dbg!", "unreachable!", ".unwrap()"] {
            assert!(!code.contains(word), "{} has {word}", path.display());
        }
        assert!(source.starts_with("//! "), "{} does not say what it is", path.display());
        let lines = source.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    assert!(lib.contains("\n#![deny(unsafe_code)]\n"));
}

#[test]
fn no_async_runtime_anywhere() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let runtimes = [
        "tokio",
        "mio",
        "async-std",
        "smol",
        "async-io",
        "async-executor",
        "polling",
        "futures-executor",
        "hyper",
    ];
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \""));
    for name in names.map(|name| name.trim_end_matches('"')) {
        assert!(!runtimes.contains(&name), "Cargo.lock has {name}");
    }
}

#[test]
fn the_sources_are_formatted() {
    let mut version = Command::new(env!("CARGO"));
    let installed = version.args(["fmt", "--version"]).output().is_ok_and(|o| o.status.success());
    if !installed {
        return skip("cargo fmt is not installed");
    }
    let mut format = Command::new(env!("CARGO"));
    let output = format.args(["fmt", "--check"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
