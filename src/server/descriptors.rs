//! How many sessions there may be where the system lets us open few files: sessions that take the last
//! descriptor would keep all mail from being written.

use crate::config::Config;
use crate::event::warn;
use crate::limits::{DESCRIPTORS_BESIDE, HOMES_OPEN, RELAY_DESCRIPTORS};
use nix::sys::resource::{Resource, getrlimit};

/// How many files this process may have open; without a bound where the system does not say.
pub fn granted() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(now, _)| now)
}

/// Sessions at once: `limit.sessions`, or fewer where that leaves too few descriptors for the mail itself.
/// Half of the descriptors are for sessions in any case.
pub fn sessions(config: &Config, granted: u64) -> usize {
    let workers = config.relay.threads + config.relay.slow();
    let beside = DESCRIPTORS_BESIDE + workers as u64 * RELAY_DESCRIPTORS;
    let room = granted.saturating_sub(beside).max(granted / 2);
    config.limit.sessions.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Homes that delivery keeps open: few where few files may be open, because they save time and drafts are needed.
pub fn homes(granted: u64) -> usize {
    HOMES_OPEN.min(usize::try_from(granted / 16).unwrap_or(usize::MAX))
}

/// Warns when there are fewer sessions than the configuration asks for.
pub fn tell_short(config: &Config, granted: u64) {
    let (wanted, sessions) = (config.limit.sessions, sessions(config, granted));
    if sessions < wanted {
        let what = format!(
            "only {granted} files may be open: there will be {sessions} sessions at once, not {wanted}; \
             raise the limit of open files (ulimit -n, LimitNOFILE=) or lower limit.sessions"
        );
        warn(&what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_left_for_sessions() {
        let config = "hostname = \"mx.test\"\n[domain.\"mx.test\"]\nany_user = true\n\
                      [limit]\nsessions = 1000\n[relay]\nthreads = 16\n";
        let config = Config::parse(config, Path::new("facteur.toml")).unwrap();
        let left = |granted| sessions(&config, granted);
        assert_eq!((left(u64::MAX), left(20_000), left(1024)), (1000, 1000, 672));
        assert_eq!((left(256), left(64)), (128, 32));
        assert_eq!([u64::MAX, 1024, 256, 64].map(homes), [64, 64, 16, 4]);
    }
}
