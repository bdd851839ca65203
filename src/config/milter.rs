//! `[[milter]]`: the filters of mail, in the order in which they are asked. What a filter is and how it is spoken
//! to stands elsewhere; here is who it is, where, for whose mail, and what it may do.

use super::reader::{KeyValue, Read, Section};
use super::{HostPort, value};
use crate::limits::{FILTER_NAME_MAX, FILTERS_MAX, FILTERS_TIME, UNIX_PATH_MAX};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

const NAME: &str = r#"a short name of letters, digits, "-", "_" and ".", like "rspamd""#;
const SOCKET: &str = r#""unix:/path/of/socket" or "inet:host:port""#;
const SERVICE: &str = r#""smtp", "submission", "submissions" or "sendmail""#;
const ON_FAILURE: &str = r#""defer" or "pass""#;
const MAY: &str = r#""header", "body", "recipients", "sender" or "quarantine""#;

/// A filter, which speaks the milter protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Milter {
    pub name: String,
    pub socket: MilterSocket,
    /// Whose mail it sees; never empty.
    pub services: Vec<MilterService>,
    pub timeout: MilterTimeout,
    /// Where it fails, mail goes on without it; else the client hears 451.
    pub is_passed: bool,
    pub may: MilterRights,
}

/// Where a filter listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MilterSocket {
    Unix(PathBuf),
    Inet(HostPort),
}

/// By which way a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MilterService {
    Smtp,
    Submission,
    Submissions,
    Sendmail,
}

/// How long one step may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MilterTimeout {
    pub connect: Duration,
    /// One command up to DATA.
    pub command: Duration,
    /// The end of a message.
    pub message: Duration,
}

/// What a filter may change; what else it asks for is left undone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MilterRights {
    pub header: bool,
    pub body: bool,
    pub recipients: bool,
    pub sender: bool,
    pub quarantine: bool,
}

impl MilterService {
    pub const ALL: [MilterService; 4] = [
        MilterService::Smtp,
        MilterService::Submission,
        MilterService::Submissions,
        MilterService::Sendmail,
    ];

    fn parse(text: &str) -> Option<MilterService> {
        MilterService::ALL.into_iter().find(|service| service.to_string() == text)
    }
}

impl fmt::Display for MilterService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MilterService::Smtp => "smtp",
            MilterService::Submission => "submission",
            MilterService::Submissions => "submissions",
            MilterService::Sendmail => "sendmail",
        })
    }
}

/// As the file writes it.
impl fmt::Display for MilterSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MilterSocket::Unix(path) => write!(f, "unix:{}", path.display()),
            MilterSocket::Inet(host) => write!(f, "inet:{host}"),
        }
    }
}

/// As the file writes the list.
impl fmt::Display for MilterRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MilterRights { header, body, recipients, sender, quarantine } = *self;
        let words = [
            (header, "header"),
            (body, "body"),
            (recipients, "recipients"),
            (sender, "sender"),
            (quarantine, "quarantine"),
        ];
        let words: Vec<&str> =
            words.iter().filter(|(may, _)| *may).map(|(_, word)| *word).collect();
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

/// All filters, in the order of the file. Two of one name could not be told apart in a log.
pub(super) fn milters(list: Vec<KeyValue<'_>>) -> Read<Vec<Milter>> {
    let mut milters: Vec<Milter> = Vec::new();
    for item in list {
        if milters.len() == FILTERS_MAX {
            return Err(item.error(&format!("more than {FILTERS_MAX} filters")));
        }
        let is_taken = |name: &str| milters.iter().any(|other| other.name == name);
        let read = item.table(|table| milter(table, is_taken))?;
        milters.push(read);
    }
    Ok(milters)
}

fn milter(table: &mut Section, is_taken: impl Fn(&str) -> bool) -> Read<Milter> {
    let named = table.require("name")?;
    let name = named.parse(NAME, name)?;
    if is_taken(&name) {
        return Err(named.error(&format!("a filter {name} is there already")));
    }
    // From here on its errors name it.
    table.rename(&name);
    let socket = table.require("socket")?;
    Ok(Milter {
        name,
        socket: read_socket(&socket)?,
        services: match table.take("services") {
            None => MilterService::ALL.to_vec(),
            Some(item) => services(item)?,
        },
        timeout: table.section("timeout", timeout)?,
        is_passed: table
            .parse("on_failure", ON_FAILURE, |text| match text {
                "pass" => Some(true),
                "defer" => Some(false),
                _ => None,
            })?
            .unwrap_or(false),
        may: match table.take("may") {
            None => MilterRights { header: true, ..MilterRights::default() },
            Some(item) => rights(item)?,
        },
    })
}

/// No name is one of a path, and none needs quotes in a log or a queue file.
fn name(text: &str) -> Option<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let first = text.bytes().next()?;
    (text.len() <= FILTER_NAME_MAX && first.is_ascii_alphanumeric() && text.bytes().all(good))
        .then(|| text.to_owned())
}

fn read_socket(item: &KeyValue<'_>) -> Read<MilterSocket> {
    let inet = |text: &str| {
        let host = text.strip_prefix("inet:")?;
        value::host_port(host).map(MilterSocket::Inet)
    };
    let unix = |text: &str| {
        let path = text.strip_prefix("unix:").filter(|path| !path.is_empty())?;
        (!path.contains(char::is_control)).then(|| MilterSocket::Unix(item.path_of(path)))
    };
    let socket = item.parse(SOCKET, |text| inet(text).or_else(|| unix(text)))?;
    match &socket {
        MilterSocket::Unix(path) if path.as_os_str().len() > UNIX_PATH_MAX => {
            Err(item.expected(&format!("a path of a socket, of at most {UNIX_PATH_MAX} octets")))
        }
        _ => Ok(socket),
    }
}

/// A filter of no service would never be asked.
fn services(item: KeyValue<'_>) -> Read<Vec<MilterService>> {
    let none = item.expected(&format!("one or more of {SERVICE}"));
    let mut found: Vec<MilterService> = Vec::new();
    for item in item.list()? {
        let service = item.parse(SERVICE, MilterService::parse)?;
        if !found.contains(&service) {
            found.push(service);
        }
    }
    if found.is_empty() { Err(none) } else { Ok(found) }
}

/// No step may take longer than all filters together have for a message.
fn timeout(table: &mut Section) -> Read<MilterTimeout> {
    let least = Duration::from_secs(1);
    let mut read =
        |key, seconds| table.duration(key, least..=FILTERS_TIME, Duration::from_secs(seconds));
    Ok(MilterTimeout {
        connect: read("connect", 5)?,
        command: read("command", 30)?,
        message: read("message", 90)?,
    })
}

fn rights(item: KeyValue<'_>) -> Read<MilterRights> {
    let mut rights = MilterRights::default();
    for item in item.list()? {
        let right = item.parse(MAY, |text| {
            ["header", "body", "recipients", "sender", "quarantine"].iter().position(|w| *w == text)
        })?;
        let MilterRights { header, body, recipients, sender, quarantine } = &mut rights;
        let all = [header, body, recipients, sender, quarantine];
        if let Some(flag) = all.into_iter().nth(right) {
            *flag = true;
        }
    }
    Ok(rights)
}
