//! Bounds of what `facteur setup --from-postfix` reads.

/// How deep names of main.cf may lead to each other, and tables stand in each other; more is a circle. Postfix's own
/// bound for names (mac_expand(3)).
pub const MACRO_DEPTH: usize = 100;
