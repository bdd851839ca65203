//! A PROXY header: the same however it comes, no octet behind it is taken, and it is bounded.

use facteur::limits::gates::{PROXY_V1_MAX, PROXY_V2_MAX};
use facteur::net::proxy::{BadProxy, ProxiedClient, ProxyStep, parse};

pub fn run(data: &[u8]) {
    let found = read(data, data.len().max(1));
    for at_once in [1, 2, 7] {
        assert_eq!(read(data, at_once), found);
    }
    if let Some(Ok((client, length))) = found {
        let most = if data[0] == b'P' { PROXY_V1_MAX } else { PROXY_V2_MAX };
        assert!(length <= most);
        // What stands behind it changes nothing.
        let more = [data, b"PROXY UNKNOWN\r\n"].concat();
        assert_eq!(parse(&more), Ok(ProxyStep::Whole(client, length)));
        if let ProxiedClient::Other(client) = client {
            assert_eq!(client.ip(), client.ip().to_canonical());
        }
    }
}

/// As a connection gives it; none where it ends before the header does.
fn read(data: &[u8], at_once: usize) -> Option<Result<(ProxiedClient, usize), BadProxy>> {
    let mut had = 0;
    loop {
        match parse(&data[..had]) {
            Ok(ProxyStep::Whole(client, length)) => {
                assert_eq!(length, had, "octets of the session");
                return Some(Ok((client, length)));
            }
            Ok(ProxyStep::Needs(needs)) => {
                assert!(needs > 0 && had + needs <= PROXY_V2_MAX);
                let come = needs.min(at_once).min(data.len() - had);
                if come == 0 {
                    return None;
                }
                had += come;
            }
            Err(bad) => return Some(Err(bad)),
        }
    }
}
