//! What a filter and we agree on when a connection begins: the version, the steps that are said, the answers
//! that are given, and which macros it wants.

use super::answer::{BadFilterAnswer, text};
use super::command::FilterStage;
use super::macros::known;
use super::packet;

/// The version that is offered; a filter may speak an older one.
const VERSION: u32 = 6;

/// The oldest that is spoken.
const VERSION_LEAST: u32 = 2;

/// Every change that a filter may ask for, and that it may name the macros it wants.
const ACTIONS: u32 = 0x1ff;

/// Every step that may be left out, and the ways to speak that are below.
const STEPS: u32 = 0x1f_ffff;

const SKIP: u32 = 0x400;
const REFUSED_RECIPIENTS: u32 = 0x800;
const LEADING_SPACE: u32 = 0x10_0000;

/// Steps by the version that brought them; a bit that is set without its version means nothing.
const STEPS_SINCE: [(u32, u32); 4] = [(2, 0x7f), (3, 0x180), (4, 0x200), (6, STEPS)];

/// Steps with their bits: not to be said, not to be answered. The end of a message can be neither.
const STEP_BITS: [(FilterStage, u32, u32); 8] = [
    (FilterStage::Connect, 0x1, 0x1000),
    (FilterStage::Helo, 0x2, 0x2000),
    (FilterStage::Mail, 0x4, 0x4000),
    (FilterStage::Rcpt, 0x8, 0x8000),
    (FilterStage::Body, 0x10, 0x8_0000),
    (FilterStage::Header, 0x20, 0x80),
    (FilterStage::EndOfHeader, 0x40, 0x4_0000),
    (FilterStage::Data, 0x200, 0x1_0000),
];

/// Steps by the numbers that lists of macros use.
const LISTED: [FilterStage; 7] = [
    FilterStage::Connect,
    FilterStage::Helo,
    FilterStage::Mail,
    FilterStage::Rcpt,
    FilterStage::Data,
    FilterStage::EndOfMessage,
    FilterStage::EndOfHeader,
];

/// What was agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterOptions {
    version: u32,
    actions: u32,
    steps: u32,
    /// Macros that it wants at a step, instead of the usual ones.
    wishes: Vec<(FilterStage, Vec<&'static str>)>,
}

/// The octets with which a connection begins.
pub fn offer() -> Vec<u8> {
    let mut out = Vec::new();
    let data: Vec<u8> = [VERSION, ACTIONS, STEPS].iter().flat_map(|n| n.to_be_bytes()).collect();
    packet::write(b'O', &data, &mut out);
    out
}

impl FilterOptions {
    /// Reads what the filter says to our offer. It may not ask for an action that we do not offer; a step that
    /// we do not know costs nothing.
    pub(super) fn parse(letter: u8, data: &[u8]) -> Result<FilterOptions, BadFilterAnswer> {
        if letter != b'O' {
            return Err(BadFilterAnswer::NoNegotiation(letter));
        }
        let (version, rest) = number(data)?;
        let (actions, rest) = number(rest)?;
        let (steps, mut rest) = number(rest)?;
        if !(VERSION_LEAST..=VERSION).contains(&version) {
            return Err(BadFilterAnswer::Version(version));
        }
        if actions & !ACTIONS != 0 {
            return Err(BadFilterAnswer::Actions(actions));
        }
        let since = STEPS_SINCE.iter().filter(|(since, _)| *since <= version);
        let steps = steps & since.fold(0, |all, (_, bits)| all | bits);
        let mut wishes: Vec<(FilterStage, Vec<&'static str>)> = Vec::new();
        while !rest.is_empty() {
            let (number, list) = number(rest)?;
            let (list, behind) = text(list)?;
            rest = behind;
            // A step that we do not know has no macros of ours.
            let Some(stage) = LISTED.get(number as usize) else { continue };
            wishes.retain(|(known, _)| known != stage);
            wishes.push((*stage, known(&String::from_utf8_lossy(list))));
        }
        Ok(FilterOptions { version, actions, steps, wishes })
    }

    /// The version that is spoken.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What the filter says that it may ask for, in words.
    pub fn actions(&self) -> Vec<&'static str> {
        let words = [
            (0x11, "header"),
            (0x2, "body"),
            (0x8c, "recipients"),
            (0x40, "sender"),
            (0x20, "quarantine"),
        ];
        words.iter().filter(|(bits, _)| self.actions & bits != 0).map(|(_, word)| *word).collect()
    }

    /// Whether a step is said. DATA is known since version 4.
    pub fn wants(&self, stage: FilterStage) -> bool {
        let bit = STEP_BITS.iter().find(|(of, ..)| *of == stage).map_or(0, |(_, bit, _)| *bit);
        self.steps & bit == 0 && (stage != FilterStage::Data || self.version >= 4)
    }

    /// Whether a step is answered.
    pub(super) fn is_answered(&self, stage: FilterStage) -> bool {
        let bit = STEP_BITS.iter().find(|(of, ..)| *of == stage).map_or(0, |(.., bit)| *bit);
        self.steps & bit == 0
    }

    pub(super) fn wish(&self, stage: FilterStage) -> Option<&[&'static str]> {
        self.wishes.iter().find(|(of, _)| *of == stage).map(|(_, names)| &names[..])
    }

    /// Whether it may end a body before its end.
    pub(super) fn may_skip(&self) -> bool {
        self.steps & SKIP != 0
    }

    /// Whether it wants to hear of recipients that were refused.
    pub fn wants_refused(&self) -> bool {
        self.steps & REFUSED_RECIPIENTS != 0
    }

    /// Whether the space behind a colon belongs to a value, both ways.
    pub fn keeps_space(&self) -> bool {
        self.steps & LEADING_SPACE != 0
    }

    /// Whether a connection can go on with another client.
    pub(super) fn knows_next_client(&self) -> bool {
        self.version >= 6
    }
}

/// A number of four octets, and what follows.
pub(super) fn number(data: &[u8]) -> Result<(u32, &[u8]), BadFilterAnswer> {
    let (number, rest) = data.split_first_chunk::<4>().ok_or(BadFilterAnswer::Short)?;
    Ok((u32::from_be_bytes(*number), rest))
}
