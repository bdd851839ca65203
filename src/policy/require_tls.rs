//! REQUIRETLS (RFC 8689): whether a recipient's mail can go on by TLS alone. What surely cannot is refused at RCPT,
//! because the notice of a failure later may be lost on its own way (§5).

use super::shown;
use crate::config::LmtpServer;
use crate::mail::address::ForwardPath;
use crate::route::Delivery;
use crate::route::next_hop::{NO_PROMISE, unpromised, way};
use crate::site::Site;
use crate::smtp::reply::Reply;
use std::net::IpAddr;

/// Refuses a recipient all of whose mail would come back. Asks DNS.
pub fn recipient(site: &Site, path: &ForwardPath, to: &[Delivery]) -> Result<(), Reply> {
    let mut first = None;
    for delivery in to {
        match obstacle(site, delivery) {
            None => return Ok(()),
            Some(words) => first = first.or(Some(words)),
        }
    }
    first.map_or(Ok(()), |words| {
        let text = format!("{}: {}", shown(path), super::ascii(&words));
        Err(Reply::new(550, NO_PROMISE, text))
    })
}

/// What surely stands in the way of mail that requires TLS.
fn obstacle(site: &Site, to: &Delivery) -> Option<String> {
    match to {
        Delivery::Maildir(_) => None,
        Delivery::Lmtp(kept) if is_on_this_machine(&kept.server) => None,
        Delivery::Lmtp(_) => Some(
            "it requires TLS, and its mail is kept on another machine, in the clear".to_owned(),
        ),
        Delivery::NextHop { mailbox, .. } => {
            unpromised(site, &way(&site.config, &mailbox.host)).map(|obstacle| obstacle.words)
        }
    }
}

/// Whether what is said to a server that keeps mail stays on this machine. Another name than localhost may be anywhere.
fn is_on_this_machine(server: &LmtpServer) -> bool {
    match server {
        LmtpServer::Unix(_) => true,
        LmtpServer::Inet(at) => match at.host.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            Err(_) => at.host.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPort;

    #[test]
    fn what_stays_on_this_machine() {
        let at = |host: &str| LmtpServer::Inet(HostPort { host: host.to_owned(), port: 24 });
        assert!(is_on_this_machine(&LmtpServer::Unix("/run/lmtp".into())));
        for (host, stays) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("Localhost.", true),
            ("192.0.2.1", false),
            ("2001:db8::1", false),
            ("mail.test", false),
            ("localhost.test", false),
        ] {
            assert_eq!(is_on_this_machine(&at(host)), stays, "{host}");
        }
    }
}
