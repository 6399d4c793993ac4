//! Which addresses are the Internet's: the special-purpose registries of IANA (RFC 6890 and its successors), read by hand,
//! since the standard library keeps its own reading unstable and no crate for it is maintained.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Azure's wire server: a public address that every virtual machine there finds its own host's metadata behind.
const WIRE_SERVER: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);

/// Whether an address belongs to the public Internet: none of the special blocks of RFC 6890 and its successors.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0                                      // this network
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()                     // also 169.254.169.254, the clouds' metadata
        || a == 100 && (64..=127).contains(&b)    // carrier-grade NAT, and Tailscale
        || (a, b, c) == (192, 0, 0)               // IETF protocol assignments
        || (a, b, c) == (192, 88, 99)             // 6to4 relays
        || a == 198 && (b == 18 || b == 19)       // benchmarks
        || ip.is_documentation()
        || ip == WIRE_SERVER
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    let [a, b, c, d, e, f, g, h] = ip.segments();
    if (a, b, c, d, e, f) == (0x64, 0xff9b, 0, 0, 0, 0) {
        let [[w, x], [y, z]] = [g.to_be_bytes(), h.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(w, x, y, z)); // NAT64
    }
    // ISATAP carries an IPv4 address in any network's interface identifier (RFC 5214 §6.1).
    if matches!(e, 0 | 0x0200) && f == 0x5efe {
        let [[w, x], [y, z]] = [g.to_be_bytes(), h.to_be_bytes()];
        return is_public_v4(Ipv4Addr::new(w, x, y, z));
    }
    // Only 2000::/3 is routed at all; inside it, Teredo and the like, documentation, and 6to4 are not the Internet.
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b < 0x0200)
        && (a, b) != (0x2001, 0x0db8)
        && a != 0x2002
        && a & 0xfff0 != 0x3ff0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s22_only_public_addresses_are_public() {
        for inside in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "172.16.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "::7f00:1",
            "64:ff9b:1::7f00:1",
            "100::1",
            "5f00::1",
            "2606:4700::5efe:10.0.0.1",
            "2606:4700::200:5efe:7f00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00:1450::8", "64:ff9b::101:101"] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
