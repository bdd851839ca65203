//! Whole messages as a person reads them: whatever their parts are, the text and the list stay bounded, and
//! the same octets inside another multipart give the same text.

use facteur::limits::{PARTS_MAX, TEXT_SHOWN};
use facteur::mail::reading::read;
use facteur::mail::words::VALUE_MAX;

pub fn run(data: &[u8]) {
    let reading = read(data);
    assert!(reading.text.len() <= TEXT_SHOWN && reading.attached.len() <= PARTS_MAX);
    assert!(reading.fields.iter().all(|(_, value)| value.len() <= 4 * VALUE_MAX));
    // No part is larger than the message.
    assert!(reading.attached.iter().all(|part| part.octets <= data.len()));
    let line = b"\n--a line that no seed has";
    if !data.windows(line.len()).any(|window| window == line) && !data.contains(&b'\r') {
        let head = "Content-Type: multipart/mixed; boundary=\"a line that no seed has\"\n";
        let [begin, end] = ["\n--a line that no seed has\n", "\n--a line that no seed has--\n"];
        let outer = [head.as_bytes(), begin.as_bytes(), data, end.as_bytes()].concat();
        let is_bounded =
            !reading.is_cut && !is_deep(data) && reading.attached.len() + 2 < PARTS_MAX;
        if is_bounded {
            assert_eq!(read(&outer).text, reading.text);
        }
    }
}

/// Multiparts that one more around them may bring to the bound of their depth.
fn is_deep(data: &[u8]) -> bool {
    let lower = data.to_ascii_lowercase();
    lower.windows(9).filter(|window| window == b"multipart").count() > 3
}
