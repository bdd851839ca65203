//! Key records: what is read as a key can be tried on anything, and says no.

use facteur::limits::trust::KEY_RECORD_MAX;
use facteur::mail::proof::dkim::field::{Algorithm, decoded};
use facteur::mail::proof::dkim::key::DkimKey;

pub fn run(data: &[u8]) {
    if let Some(octets) = decoded(data) {
        assert!(octets.len() <= data.len());
    }
    match DkimKey::read(data) {
        Err(bad) => assert!(!bad.to_string().contains(char::is_control), "{bad}"),
        Ok(key) => {
            assert!(data.len() <= KEY_RECORD_MAX);
            match key.algorithm {
                Algorithm::Ed25519Sha256 => assert_eq!(key.bits, 256),
                Algorithm::RsaSha256 => assert!((1024..=8192).contains(&key.bits)),
            }
            for length in [0, 1, 64, key.bits / 8] {
                assert!(!key.verifies(data, &vec![0x55; length]));
            }
        }
    }
}
