//! Which addresses all the world can reach, and which only a network around us. Decides nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether all the world can reach an address (IANA's registries of special-purpose addresses, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_inside = address.is_private() || address.is_loopback() || address.is_link_local();
    let is_none = a == 0 || a >= 240 || address.is_multicast() || address.is_documentation();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_protocol = (a, b, c) == (192, 0, 0) || (a == 198 && (b == 18 || b == 19));
    !(is_inside || is_none || is_shared || is_protocol)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast (RFC 4291 §2.4), without documentation (RFC 3849, RFC 9637), ORCHID, Teredo, and 6to4, which holds
    // any IPv4 address (RFC 3056).
    let is_special =
        a == 0x2001 && (b == 0xdb8 || b < 0x200) || a == 0x2002 || a == 0x3fff && b < 0x1000;
    a & 0xe000 == 0x2000 && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_the_world_can_reach() {
        for public in ["9.9.9.9", "192.1.0.1", "100.128.0.1", "2a01:4f8::1", "2620:fe::fe"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for inside in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "169.254.0.1",
            "192.0.2.7",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "::",
            "::ffff:9.9.9.9",
            "fe80::1",
            "fd00::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "ff02::1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
    }
}
