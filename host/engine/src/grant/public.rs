//! Which addresses are public: those that anybody reaches, as against those that mean something else on every network.
//!
//! The tables are of IANA's special-purpose registries (RFC 6890, <https://www.iana.org/assignments/iana-ipv4-special-registry>
//! and `iana-ipv6-special-registry`), as of 2025. They err on the side of refusing: whole blocks are taken though a few
//! addresses in them are reachable. The standard library has the same as `is_global`, unstable for years.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks that are not public: address and bits.
const V4: &[([u8; 4], u8)] = &[
    // "This network", with the unspecified address (RFC 791).
    ([0, 0, 0, 0], 8),
    // Private (RFC 1918).
    ([10, 0, 0, 0], 8),
    // Shared by carriers for NAT (RFC 6598); Alibaba's metadata service is in it.
    ([100, 64, 0, 0], 10),
    // Loopback (RFC 1122).
    ([127, 0, 0, 0], 8),
    // Microsoft Azure's metadata and name service: an address of the public range that every machine there reaches only itself.
    ([168, 63, 129, 16], 32),
    // Link-local (RFC 3927), with most clouds' metadata services.
    ([169, 254, 0, 0], 16),
    // Private (RFC 1918).
    ([172, 16, 0, 0], 12),
    // IETF protocol assignments (RFC 6890); Oracle's metadata service is in it.
    ([192, 0, 0, 0], 24),
    // Documentation (RFC 5737).
    ([192, 0, 2, 0], 24),
    // Relays from 6to4, deprecated (RFC 7526).
    ([192, 88, 99, 0], 24),
    // Private (RFC 1918).
    ([192, 168, 0, 0], 16),
    // Benchmarking (RFC 2544).
    ([198, 18, 0, 0], 15),
    // Documentation (RFC 5737).
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    // Multicast (RFC 5771).
    ([224, 0, 0, 0], 4),
    // Reserved (RFC 1112), with the broadcast address.
    ([240, 0, 0, 0], 4),
];

/// All that is handed out of IPv6 (RFC 4291). What is outside of it, like `::1`, fc00::/7 (unique local, with Amazon's and
/// Google's metadata services), fe80::/10 (link-local), fec0::/10 (site-local), ff00::/8 (multicast), 100::/64 (discard) and
/// 5f00::/16 (segment routing), is not public.
const V6_GLOBAL: ([u16; 8], u8) = ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Blocks within it that are not public.
const V6: &[([u16; 8], u8)] = &[
    // IETF protocol assignments (RFC 2928), with Teredo, benchmarking and ORCHID.
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    // Documentation (RFC 3849 and 9637).
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
];

/// Whether an address is public. One of IPv6 that stands for an IPv4 address (mapped, NAT64, 6to4) is if that one is.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public_v4(address),
            None => {
                let within = |(net, bits): &([u16; 8], u8)| {
                    let mask = u128::MAX << (128 - u32::from(*bits));
                    address.to_bits() & mask == Ipv6Addr::from(*net).to_bits()
                };
                within(&V6_GLOBAL) && !V6.iter().any(within)
            }
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !V4.iter().any(|(net, bits)| {
        let mask = u32::MAX << (32 - u32::from(*bits));
        address.to_bits() & mask == Ipv4Addr::from(*net).to_bits()
    })
}

/// The IPv4 address that an IPv6 address is translated to on its way: by NAT64 under its well-known prefix (RFC 6052) or by 6to4
/// (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(v4(high, low)),
        [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], public: bool) {
        for text in addresses {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(is_public(address), public, "{text}");
        }
    }

    #[test]
    fn addresses_that_anybody_reaches_are_public() {
        check(
            &[
                "1.1.1.1",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "168.63.129.15",
                "169.253.255.255",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.167.255.255",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "2001:200::1",
                "2606:4700:4700::1111",
                "2a00::1",
                "::ffff:1.1.1.1",
                "64:ff9b::1.1.1.1",
                "2002:101:101::1",
            ],
            true,
        );
    }

    #[test]
    fn addresses_of_a_machine_or_its_network_are_not_public() {
        check(
            &[
                "0.0.0.0",
                "0.1.2.3",
                "10.0.0.1",
                "100.64.0.1",
                "100.100.100.200",
                "127.0.0.1",
                "127.255.255.254",
                "168.63.129.16",
                "169.254.169.254",
                "172.16.0.1",
                "172.31.255.255",
                "192.0.0.192",
                "192.0.2.1",
                "192.88.99.1",
                "192.168.255.255",
                "198.19.255.255",
                "198.51.100.1",
                "203.0.113.1",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::127.0.0.1",
                "100::1",
                "2001::1",
                "2001:2::1",
                "2001:10::1",
                "2001:db8::1",
                "3fff::1",
                "5f00::1",
                "64:ff9b:1::1.1.1.1",
                "fc00::1",
                "fd00:ec2::254",
                "fd20:ce::254",
                "fe80::1",
                "fec0::1",
                "ff02::1",
            ],
            false,
        );
    }

    #[test]
    fn an_address_within_another_does_not_make_it_public() {
        check(
            &[
                "::ffff:127.0.0.1",
                "::ffff:169.254.169.254",
                "64:ff9b::10.0.0.1",
                "64:ff9b::7f00:1",
                "2002:7f00:1::1",
                "2002:a9fe:a9fe::",
                "2002:c0a8:101::1",
            ],
            false,
        );
    }
}
