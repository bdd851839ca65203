//! The messages of the workloads, and how they are told apart wherever they are found.

use std::collections::BTreeMap;
use std::path::Path;

/// A message to be sent: its tag stands in its subject.
#[derive(Clone, Debug)]
pub struct Letter {
    pub tag: String,
    pub from: String,
    pub to: Vec<String>,
    /// Octets of it, about.
    pub size: usize,
}

impl Letter {
    pub fn new(tag: &str, from: &str, to: &[&str], size: usize) -> Letter {
        let to = to.iter().map(|to| (*to).to_owned()).collect();
        Letter { tag: tag.to_owned(), from: from.to_owned(), to, size }
    }

    /// With LF.
    pub fn text(&self) -> String {
        let lines = "0123456789abcdef\n".repeat(self.size / 17);
        format!("Subject: {}\n\n{lines}end of {}\n", self.tag, self.tag)
    }

    /// Whether it is there, up to its end. What a program of this machine sends gets fields behind its own.
    fn is_end_of(&self, text: &str) -> bool {
        let own = self.text();
        let (subject, body) = own.split_once("\n\n").unwrap();
        let found = text.strip_suffix(body).and_then(|head| head.strip_suffix("\n\n"));
        found.is_some_and(|head| head.lines().any(|line| line == subject))
    }

    /// What a client sends.
    pub fn session(&self) -> Vec<u8> {
        let rcpt = |to: &String| format!("RCPT TO:<{to}>\r\n");
        let to: String = self.to.iter().map(rcpt).collect();
        let text = self.text().replace('\n', "\r\n");
        format!("EHLO c\r\nMAIL FROM:<{}>\r\n{to}DATA\r\n{text}.\r\n", self.from).into_bytes()
    }
}

/// What a piece of mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The letter of this tag.
    Letter(String),
    /// A notice about the letter of this tag, and these of its recipients who failed.
    Notice(String, Vec<String>),
}

/// Under which tag the delivery of a notice about the letter of this tag is told.
pub fn notice(tag: &str) -> String {
    format!("notice of {tag}")
}

/// What mail this is, whole or not; none when that cannot be seen.
pub fn piece(text: &str) -> Option<Piece> {
    let mut subjects = text.lines().filter_map(|line| line.strip_prefix("Subject: "));
    if !text.contains("\nContent-Type: multipart/report;") {
        return subjects.next().map(|tag| Piece::Letter(tag.to_owned()));
    }
    let mut failed = Vec::new();
    let fields = |name| move |line: &str| line.strip_prefix(name).map(str::to_owned);
    // Each recipient's group has both, in this order.
    let to = text.lines().filter_map(fields("Final-Recipient: rfc822;"));
    let actions = text.lines().filter_map(fields("Action: "));
    for (to, action) in to.zip(actions) {
        if action == "failed" {
            failed.push(to.trim().to_owned());
        }
    }
    subjects.next_back().map(|tag| Piece::Notice(tag.to_owned(), failed))
}

/// What is wrong with a delivered message, if anything. `path`: none on the wire.
pub fn flaw(text: &str, path: Option<&Path>, letters: &BTreeMap<String, Letter>) -> Option<String> {
    if text.contains('\0') {
        return Some("there are zeros in it".to_owned());
    }
    if let Some(path) = path {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.ends_with(&format!(",S={}", text.len())) {
            return Some(format!("it has {} octets", text.len()));
        }
        if !text.starts_with("Return-Path: <") {
            return Some("its beginning is not there".to_owned());
        }
    }
    let whole = match piece(text) {
        None => return Some("nobody knows it".to_owned()),
        Some(Piece::Letter(tag)) => match letters.get(&tag) {
            Some(letter) => letter.is_end_of(text),
            None => return Some(format!("nobody has sent {tag}")),
        },
        Some(Piece::Notice(..)) => text.trim_end().ends_with("--"),
    };
    (!whole).then(|| "its end is not there".to_owned())
}
