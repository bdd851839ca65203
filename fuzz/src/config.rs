//! A configuration as somebody wrote it: what is read can work, what is refused is told on one line with
//! its place.

use facteur::config::Config;
use facteur::limits::{RECIPIENTS_MIN, RELAY_THREADS_MAX};
use std::path::Path;
use std::time::Duration;

pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let file = Path::new("/etc/facteur/facteur.toml");
    let read = Config::parse(text, file);
    assert_eq!(Config::parse(text, file), read);
    let lines = text.split('\n').count();
    match read {
        Ok(config) => check(&config, lines),
        Err(error) => {
            assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)), "{error}");
            assert!(!error.to_string().contains('\n') && !error.what.is_empty(), "{error}");
        }
    }
}

fn check(config: &Config, lines: usize) {
    assert!(config.lines.values().all(|line| (1..=lines).contains(line)));
    // Relative paths are those of the file's folder.
    let mut paths = vec![config.spool.clone()];
    paths.extend(config.tls.iter().flat_map(|tls| [tls.certificate.clone(), tls.key.clone()]));
    for domain in &config.domains {
        paths.push(domain.maildir.as_str().into());
        paths.extend(domain.users.iter().chain(&domain.aliases).cloned());
        assert!(config.lines.contains_key(&domain.key), "{}", domain.key);
    }
    for path in &paths {
        assert!(path.is_absolute(), "{}", path.display());
        assert!(!path.to_string_lossy().contains(char::is_control), "{path:?}");
    }
    let names: Vec<&str> = config.domains.iter().map(|domain| domain.name.as_str()).collect();
    let mut each = names.clone();
    each.sort_unstable();
    each.dedup();
    assert_eq!(each.len(), names.len(), "a domain is there twice: {names:?}");
    let relay = &config.relay;
    assert!(relay.port > 0 && (1..=RELAY_THREADS_MAX).contains(&relay.threads), "{relay:?}");
    assert!(relay.per_destination > 0 && !relay.retry.is_empty(), "{relay:?}");
    assert!(relay.retry.iter().all(|wait| *wait > Duration::ZERO), "{relay:?}");
    for network in &relay.networks {
        assert!(network.contains(network.masked().address) && network.contains(network.address));
    }
    assert!(relay.smarthost_auth.is_none() || relay.smarthost.is_some(), "{relay:?}");
    let limit = &config.limit;
    assert!(limit.recipients >= RECIPIENTS_MIN && limit.sessions > 0, "{limit:?}");
    assert!(limit.message_size > 0 && limit.message_size <= i64::MAX as u64, "{limit:?}");
    assert!(config.dns.servers.iter().all(|server| server.address.port() > 0));
}
