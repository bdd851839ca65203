//! Lists of tags: each name once, where the list says that it lies, and the same when it is written again.

use facteur::limits::trust::TAGS_MAX;
use facteur::mail::tags::{Tags, pieces, trimmed};

pub fn run(data: &[u8]) {
    let Ok(tags) = Tags::read(data) else {
        // Broken lists can still be walked, in as many steps as they have pieces.
        let most = data.iter().filter(|&&octet| octet == b';').count() + 1;
        assert!(pieces(data).count() <= most);
        return;
    };
    let list: Vec<_> = tags.iter().collect();
    assert!((1..=TAGS_MAX).contains(&list.len()));
    let mut end = 0;
    for tag in &list {
        assert!(end < tag.span.start && tag.span.end <= data.len());
        assert_eq!(data[tag.span.start - 1], b'=');
        assert!(data.get(tag.span.end).is_none_or(|octet| *octet == b';'));
        assert_eq!(trimmed(&data[tag.span.clone()]), tag.value);
        assert_eq!(tags.get(tag.name), Some(tag.value));
        end = tag.span.end;
    }
    let mut written = Vec::new();
    for tag in &list {
        written.extend_from_slice(&[tag.name.as_bytes(), b"=", tag.value, b";"].concat());
    }
    let again = Tags::read(&written).expect("what is written is a list");
    let pairs = |tags: &Tags| {
        tags.iter().map(|tag| (tag.name.to_owned(), tag.value.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(pairs(&again), pairs(&tags));
}
