//! See `facteur_fuzz::run`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| facteur_fuzz::run("sts", data));
