//! Messages in the queue that a key has signed: as long as one waits, the record of the key is needed.

use crate::mail::address::Domain;
use crate::mail::proof::name::Name;
use crate::store::disk::StoreError;
use crate::store::queue::Queue;

/// How many messages wait that a key has signed. Reads every file of the queue, so it is for commands alone. A file that
/// cannot be read is none that will be sent.
pub fn signed_by(queue: &Queue, domain: &Domain, selector: &Name) -> Result<usize, StoreError> {
    let is_signed = |id: &String| {
        queue.read(id).is_ok_and(|message| names(&message.entry.header(), domain, selector))
    };
    Ok(queue.list()?.iter().filter(|id| is_signed(id)).count())
}

/// Whether the header of a queue file says so: `signed: mx.test 20261201r 20261201e`.
fn names(header: &str, domain: &Domain, selector: &Name) -> bool {
    let selector = selector.to_string();
    header.lines().filter_map(|line| line.strip_prefix("signed: ")).any(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some(domain.as_str()) && words.any(|word| word == selector)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_queue_file() {
        let domain = Domain::parse("mx.test").unwrap();
        let is_named = |line: &str| {
            names(&format!("id: x\n{line}\nsize: 1\n"), &domain, &Name::parse(b"b").unwrap())
        };
        for line in ["signed: mx.test b", "signed: mx.test a b"] {
            assert!(is_named(line), "{line}");
        }
        for line in ["signed: a.mx.test b", "signed: mx.test bb", "signed: mx.test", "to: b", ""] {
            assert!(!is_named(line), "{line}");
        }
    }
}
