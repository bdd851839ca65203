//! What bounds the proof of where a message comes from: questions, signatures, records.

use std::time::Duration;

/// Questions to DNS about one message.
pub const PROOF_QUESTIONS_MAX: usize = 150;

/// Time for them, all together. The client waits for its reply meanwhile (RFC 5321 §4.5.3.2.6).
pub const PROOF_TIME: Duration = Duration::from_secs(30);

/// What one voice leaves of both to those that ask later. Records of strangers may be endless and their
/// servers slow, and must not make unknown what the author's domain says.
#[derive(Clone, Copy, Debug)]
pub struct QuestionShare {
    pub questions: usize,
    pub time: Duration,
}

/// What SPF leaves.
pub const AFTER_SPF: QuestionShare = QuestionShare { questions: 50, time: Duration::from_secs(15) };

/// What signatures and seals leave.
pub const AFTER_SEALS: QuestionShare =
    QuestionShare { questions: 40, time: Duration::from_secs(10) };

/// DMARC is the last.
pub const AFTER_DMARC: QuestionShare = QuestionShare { questions: 0, time: Duration::ZERO };
const _: () = assert!(AFTER_SPF.questions - AFTER_SEALS.questions >= SIGNATURES_MAX);
const _: () = assert!(AFTER_SEALS.questions >= AUTHORS_MAX * (WALK_QUESTIONS_MAX + 1));

/// SPF terms of one check that ask DNS (RFC 7208 §4.6.4).
pub const SPF_LOOKUPS_MAX: usize = 10;

/// SPF questions of one check that may find nothing (RFC 7208 §4.6.4).
pub const SPF_VOID_MAX: usize = 2;

/// Hosts of one `mx` term, and reverse names of a `ptr` term or macro (RFC 7208 §4.6.4).
pub const SPF_NAMES_MAX: usize = 10;

/// Signatures of a message that are verified; of more, those in line with From come first.
pub const SIGNATURES_MAX: usize = 8;

/// Signatures of a message that are read and told of, from the top of its header.
pub const SIGNATURES_READ_MAX: usize = 100;

/// Clocks may differ: a signature counts this long past its end.
pub const SIGNATURE_LATE_MAX: Duration = Duration::from_secs(5 * 60);

/// Clocks and their zones may be set wrong: a signature counts this long before it says that it was made.
pub const SIGNATURE_EARLY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Field names in a signature of others.
pub const SIGNATURE_NAMES_MAX: usize = 1_000;

/// Field names in a signature of ours; a header that has more of those that are signed is not signed whole.
pub const SIGNED_NAMES_MAX: usize = 400;
const _: () = assert!(SIGNED_NAMES_MAX <= SIGNATURE_NAMES_MAX);

/// Records at the name of one key that are tried.
pub const KEY_RECORDS_MAX: usize = 3;

/// Octets of a key record.
pub const KEY_RECORD_MAX: usize = 4096;

/// Sets of ARC fields (RFC 8617 §4.2.1).
pub const ARC_SETS_MAX: usize = 50;

/// Questions of one walk up the tree of names (RFC 9989, 4.10).
pub const WALK_QUESTIONS_MAX: usize = 8;

/// Authors of a message whose domains are judged.
pub const AUTHORS_MAX: usize = 4;

/// Tags of one list (RFC 6376 §3.2 sets no bound; the fields that use lists know about fifteen).
pub const TAGS_MAX: usize = 64;

/// Distinct forms in which a body is hashed: one for each signature that is verified, and one for ARC.
pub const BODY_FORMS_MAX: usize = SIGNATURES_MAX + 1;

/// Octets of an SPF record, and of an explanation as DNS has it: a message of DNS has no more (RFC 1035
/// §4.2.2).
pub const SPF_RECORD_MAX: usize = 65_535;

/// Octets that the macros of one name or explanation may become.
pub const SPF_EXPANSION_MAX: usize = 65_535;

/// Octets of an explanation that are kept.
pub const SPF_EXPLANATION_MAX: usize = 400;

/// Octets of a term that are shown in a reason.
pub const SPF_TERM_SHOWN_MAX: usize = 256;

/// Octets of a name in Unicode that becomes one of ASCII: 255 characters of 4.
pub const UNICODE_NAME_MAX: usize = 1_020;

/// Words and signs of one mailbox in From.
pub const AUTHOR_TOKENS_MAX: usize = 1_000;

/// Characters of a reason in Authentication-Results.
pub const RESULT_REASON_MAX: usize = 200;

/// Signatures told of in Authentication-Results.
pub const RESULTS_DKIM_MAX: usize = 16;
const _: () = assert!(RESULTS_DKIM_MAX >= SIGNATURES_MAX);

/// Entries and properties that are kept of a field of others.
pub const RESULTS_READ_MAX: usize = 200;

/// Addresses of one From field.
pub const AUTHOR_ADDRESSES_MAX: usize = 1_000;

/// Octets of an encoded word in From: those of a line (RFC 5322 §2.1.1), for RFC 2047's 75 are not kept to.
pub const ENCODED_WORD_MAX: usize = 998;

/// Letters and digits of the id of an MTA-STS policy (RFC 8461 §3.1).
pub const STS_ID_MAX: usize = 32;
