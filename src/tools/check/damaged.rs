//! Mail that was put aside as damaged, which an administrator has to look at.

use crate::limits::DAMAGED_COUNTED;
use crate::store::disk::{Disk, RealDisk};
use std::path::Path;

/// One line about all such files; none where there are none, or the directory cannot be listed.
pub fn put_aside_words(spool: &Path) -> Option<String> {
    let dir = spool.join("damaged");
    let names = RealDisk.list_some(&dir, DAMAGED_COUNTED, &|_| true).unwrap_or_default();
    let first = names.iter().min()?.display();
    let dir = dir.display();
    Some(match names.len() {
        1 => format!("{dir} has mail that was put aside, {first}: nobody gets it"),
        DAMAGED_COUNTED => {
            format!(
                "{dir} has {DAMAGED_COUNTED} files or more that were put aside: nobody gets them"
            )
        }
        count => {
            format!("{dir} has {count} files that were put aside, {first} first: nobody gets them")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_was_put_aside_is_told() {
        let spool = std::env::temp_dir().join(format!("facteur-{}", crate::id::message()));
        assert_eq!(put_aside_words(&spool), None);
        fs::create_dir_all(spool.join("damaged")).unwrap();
        assert_eq!(put_aside_words(&spool), None);
        for (name, part) in
            [("m2", ", m2: nobody"), ("m1", " 2 files that were put aside, m1 first")]
        {
            fs::write(spool.join("damaged").join(name), "").unwrap();
            assert!(put_aside_words(&spool).unwrap().contains(part));
        }
        fs::remove_dir_all(&spool).unwrap();
    }
}
