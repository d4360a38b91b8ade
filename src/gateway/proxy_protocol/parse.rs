//! The header of the PROXY protocol, versions 1 and 2, as its specification of 2020-03-05 has it
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whose connection it is, as the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The connection's own peer: a health check of the balancer, or a protocol that has no address here.
    Peer,
    /// A client behind the peer.
    Client(SocketAddr),
}

/// How far the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// They are the beginning of a header, and at least this many more belong to it.
    Needs(usize),
    /// They are a whole header, to the byte.
    Done(Origin),
}

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// They begin as something else.
    #[error("no PROXY header")]
    Absent,
    /// Longer than a header may be.
    #[error("the PROXY header is too long")]
    TooLong,
    /// A header that breaks the specification.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
}

/// Looks at the first bytes of a connection. They must not go beyond the header: a reader asks for what
/// [`Progress::Needs`] says and no more.
///
/// # Errors
/// Why they are no header.
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderFault> {
    let (v1, v2) = (begins(bytes, V1_SIGNATURE), begins(bytes, V2_SIGNATURE));
    if v2 && bytes.len() >= V2_SIGNATURE.len() {
        parse_v2(bytes)
    } else if v1 && bytes.len() >= V1_SIGNATURE.len() {
        parse_v1(bytes)
    } else if v1 || v2 {
        // One at a time: what is no header shows at its first wrong byte, without a wait for more.
        Ok(Progress::Needs(1))
    } else {
        Err(HeaderFault::Absent)
    }
}

/// Whether `bytes` and `signature` are the same as far as both go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, its end included (section 2.1).
const MAX_V1: usize = 107;
/// Version 2 up to its length (section 2.2).
const V2_FIXED: usize = 16;
/// Longest rest of version 2 that is read. Balancers of the clouds add some hundred bytes of TLVs.
const MAX_V2: usize = 4 << 10;

/// Version 1: a line of text such as `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.
fn parse_v1(bytes: &[u8]) -> Result<Progress, HeaderFault> {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        return if bytes.len() < MAX_V1 { Ok(Progress::Needs(1)) } else { Err(HeaderFault::TooLong) };
    };
    let malformed = HeaderFault::Malformed;
    let mut parts = line.split(|&byte| byte == b' ').skip(1).map(|part| std::str::from_utf8(part).unwrap_or_default());
    let family = parts.next();
    // "The receiver must ignore anything presented before the CRLF" of a protocol that the sender does not know.
    if family == Some("UNKNOWN") {
        return Ok(Progress::Done(Origin::Peer));
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed("not five parts"));
    };
    let address: fn(&str) -> Option<IpAddr> = match family {
        Some("TCP4") => |text| text.parse().ok().map(IpAddr::V4),
        Some("TCP6") => |text| text.parse().ok().map(IpAddr::V6),
        _ => return Err(malformed("unknown protocol")),
    };
    let (Some(source), Some(_)) = (address(source), address(destination)) else {
        return Err(malformed("not an address"));
    };
    let (Some(port), Some(_)) = (port(source_port), port(destination_port)) else {
        return Err(malformed("not a port"));
    };
    Ok(Progress::Done(Origin::Client(SocketAddr::new(source, port))))
}

/// Digits alone, and no zero before others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

/// Version 2: signature, version and command, family and protocol, length, addresses, then TLVs.
fn parse_v2(bytes: &[u8]) -> Result<Progress, HeaderFault> {
    let malformed = HeaderFault::Malformed;
    let version_command = bytes.get(12).copied();
    if version_command.is_some_and(|byte| byte != LOCAL && byte != PROXY) {
        return Err(malformed("unknown version or command"));
    }
    let (Some(command), Some(&family), Some(&[high, low])) =
        (version_command, bytes.get(13), bytes.get(14..).and_then(<[u8]>::first_chunk::<2>))
    else {
        return Ok(Progress::Needs(V2_FIXED.saturating_sub(bytes.len())));
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2 {
        return Err(HeaderFault::TooLong);
    }
    let rest = bytes.get(V2_FIXED..).unwrap_or_default();
    if rest.len() != length {
        return Ok(Progress::Needs(length.saturating_sub(rest.len())));
    }
    // "The receiver must accept this connection as valid and must use the real connection endpoints."
    if command == LOCAL {
        return Ok(Progress::Done(Origin::Peer));
    }
    let (origin, addresses) = match family {
        TCP_V4 => match rest.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) => {
                let address = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
                (Origin::Client(SocketAddr::new(address, u16::from_be_bytes([high, low]))), 12)
            }
            None => return Err(malformed("no room for the addresses")),
        },
        TCP_V6 => match (rest.first_chunk::<16>(), rest.get(32..).and_then(<[u8]>::first_chunk::<4>)) {
            (Some(source), Some(&[high, low, _, _])) => {
                let address = IpAddr::V6(Ipv6Addr::from(*source));
                (Origin::Client(SocketAddr::new(address, u16::from_be_bytes([high, low]))), 36)
            }
            _ => return Err(malformed("no room for the addresses")),
        },
        // Unspecified, a Unix socket, datagrams, or what is yet to come: the header has no address for this connection, and
        // how long what it has is, is not known either.
        _ => return Ok(Progress::Done(Origin::Peer)),
    };
    check_tlvs(bytes, V2_FIXED + addresses)?;
    Ok(Progress::Done(origin))
}

/// Version 2 with the command LOCAL, and with PROXY.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// TCP over IPv4 and over IPv6.
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;
/// The TLV of a checksum over the header (section 2.2.3).
const PP2_TYPE_CRC32C: u8 = 0x03;

/// Walks the TLVs from `at` to the end. They are skipped, but for the checksum, which must be right where there is one.
fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), HeaderFault> {
    let malformed = HeaderFault::Malformed;
    while at < header.len() {
        let Some(&[kind, high, low]) = header.get(at..).and_then(<[u8]>::first_chunk::<3>) else {
            return Err(malformed("a TLV is cut off"));
        };
        let (start, length) = (at + 3, usize::from(u16::from_be_bytes([high, low])));
        let value = header.get(start..start + length).ok_or(malformed("a TLV is cut off"))?;
        if kind == PP2_TYPE_CRC32C && value != crc32c(header, start).to_be_bytes() {
            return Err(malformed("its checksum is wrong"));
        }
        at = start + length;
    }
    Ok(())
}

/// CRC-32C (RFC 4960 appendix B) over the header with the four bytes of the checksum itself, at `hole`, as zeros. Bit by bit:
/// a header is short, and there is one a connection.
fn crc32c(header: &[u8], hole: usize) -> u32 {
    !header.iter().enumerate().fold(!0, |crc, (at, byte)| {
        let byte = if (hole..hole + 4).contains(&at) { 0 } else { *byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of version 2.
    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, rest].concat()
    }

    const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0x04, 0xd2, 0x01, 0xbb];

    fn v6() -> Vec<u8> {
        let [source, destination] =
            ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<Ipv6Addr>().unwrap().octets());
        [&source[..], &destination, &[0x04, 0xd2, 0x01, 0xbb]].concat()
    }

    fn client(text: &str) -> Origin {
        Origin::Client(text.parse().unwrap())
    }

    /// Reads as the proxy does: what is needed and no more. Gives the end and how much was read.
    fn read(bytes: &[u8]) -> (Option<Result<Origin, HeaderFault>>, usize) {
        let mut have = 0;
        loop {
            match parse(&bytes[..have]) {
                Err(fault) => return (Some(Err(fault)), have),
                Ok(Progress::Done(origin)) => return (Some(Ok(origin)), have),
                Ok(Progress::Needs(more)) => {
                    assert!(more > 0);
                    have += more;
                    if have > bytes.len() {
                        return (None, have);
                    }
                }
            }
        }
    }

    #[test]
    fn headers_say_whose_connection_it_is_and_end_where_they_end() {
        let tlv = |kind: u8, value: &[u8]| [&[kind, 0, u8::try_from(value.len()).unwrap()], value].concat();
        let checked = |rest: &[u8]| {
            let mut header = v2(PROXY, TCP_V4, &[rest, &tlv(PP2_TYPE_CRC32C, &[0; 4])].concat());
            let (end, hole) = (header.len(), header.len() - 4);
            let checksum = crc32c(&header, hole);
            header[hole..end].copy_from_slice(&checksum.to_be_bytes());
            header
        };
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 443\r\n".to_vec(), client("192.0.2.1:1234")),
            (b"PROXY TCP6 2001:db8::1 ::1 0 443\r\n".to_vec(), client("[2001:db8::1]:0")),
            (longest.into(), client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Peer),
            (b"PROXY UNKNOWN what ever \xff\r\n".to_vec(), Origin::Peer),
            (v2(PROXY, TCP_V4, V4), client("192.0.2.1:1234")),
            (v2(PROXY, TCP_V6, &v6()), client("[2001:db8::1]:1234")),
            (v2(PROXY, TCP_V4, &[V4, &tlv(4, b"padding")].concat()), client("192.0.2.1:1234")),
            (checked(&[V4, &tlv(0xea, b"vpce-1")].concat()), client("192.0.2.1:1234")),
            (v2(LOCAL, 0, &[]), Origin::Peer),
            (v2(LOCAL, TCP_V4, V4), Origin::Peer),
            (v2(PROXY, 0, b"anything"), Origin::Peer),
            (v2(PROXY, 0x31, &[0; 216]), Origin::Peer),
            (v2(PROXY, 0x12, V4), Origin::Peer),
        ] {
            let follows = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(&follows), (Some(Ok(expected)), header.len()), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn everything_else_is_refused_as_soon_as_it_shows() {
        let wrong_sum = v2(PROXY, TCP_V4, &[V4, &[PP2_TYPE_CRC32C, 0, 4, 1, 2, 3, 4]].concat());
        let short_sum = v2(PROXY, TCP_V4, &[V4, &[PP2_TYPE_CRC32C, 0, 3, 1, 2, 3]].concat());
        let malformed = HeaderFault::Malformed;
        for (bytes, expected, at) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), HeaderFault::Absent, 1),
            (b"\x16\x03\x01\x02\x00".to_vec(), HeaderFault::Absent, 1),
            (b"PROXX".to_vec(), HeaderFault::Absent, 5),
            (b"\r\n\r\nGET".to_vec(), HeaderFault::Absent, 5),
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 1234\r\n".to_vec(), malformed("not five parts"), 41),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n".to_vec(), malformed("not five parts"), 34),
            (b"PROXY  TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), malformed("not five parts"), 33),
            (b"PROXY TCP4 ::1 ::1 1 1\r\n".to_vec(), malformed("not an address"), 24),
            (b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), malformed("not an address"), 32),
            (b"PROXY TCP4 1.1.1.01 1.1.1.1 1 1\r\n".to_vec(), malformed("not an address"), 33),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n".to_vec(), malformed("not a port"), 33),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n".to_vec(), malformed("not a port"), 33),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n".to_vec(), malformed("not a port"), 36),
            (b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), malformed("unknown protocol"), 32),
            (b"PROXY UNKNOWN".iter().chain(&[b'x'; 200]).copied().collect(), HeaderFault::TooLong, 107),
            (v2(0x11, TCP_V4, V4), malformed("unknown version or command"), 16),
            (v2(0x22, TCP_V4, V4), malformed("unknown version or command"), 16),
            (v2(PROXY, TCP_V4, &[0; 5000]), HeaderFault::TooLong, 16),
            (v2(PROXY, TCP_V4, &V4[..11]), malformed("no room for the addresses"), 27),
            (v2(PROXY, TCP_V6, V4), malformed("no room for the addresses"), 28),
            (v2(PROXY, TCP_V4, &[V4, &[4, 0]].concat()), malformed("a TLV is cut off"), 30),
            (v2(PROXY, TCP_V4, &[V4, &[4, 0, 2, 0]].concat()), malformed("a TLV is cut off"), 32),
            (wrong_sum, malformed("its checksum is wrong"), 35),
            (short_sum, malformed("its checksum is wrong"), 34),
        ] {
            let (found, read) = read(&bytes);
            assert_eq!(found, Some(Err(expected)), "{}", bytes.escape_ascii());
            assert!(read <= at, "{read} bytes of {}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // RFC 3720 appendix B.4; the hole is beyond the end.
        assert_eq!(crc32c(&[0; 32], 100), 0x8a91_36aa);
        assert_eq!(crc32c(b"123456789", 100), 0xe306_9283);
    }

    /// Something between noise and a header.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let noise = || proptest::collection::vec(any::<u8>(), 0..300);
        prop_oneof![
            noise(),
            "PROXY [TU]?[A-Z0-9 .:\r\n]{0,120}".prop_map(String::into_bytes),
            ".{0,20}".prop_map(|text| format!("PROXY {text}\r\n").into_bytes()),
            (0x1eu8..0x24, prop_oneof![Just(TCP_V4), Just(TCP_V6), any::<u8>()], noise())
                .prop_map(|(command, family, rest)| v2(command, family, &rest)),
            noise().prop_map(|noise| [V2_SIGNATURE, &noise].concat()),
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(bytes in bytes()) {
            let _ = parse(&bytes);
            let (_, read) = read(&bytes);
            prop_assert!(read <= V2_FIXED + MAX_V2 + 1);
        }

        /// However the bytes come, the end is the same, and what was no header stays none.
        #[test]
        fn any_split_of_the_bytes_ends_the_same(bytes in bytes()) {
            let (end, length) = read(&bytes);
            for have in 0..length.min(bytes.len()) {
                match (parse(&bytes[..have]), end) {
                    (Ok(Progress::Needs(more)), Some(_)) => prop_assert!(have + more <= length, "{have} + {more}"),
                    // Bytes that end early may show a fault that the reader was about to find.
                    (Ok(Progress::Needs(_)) | Err(_), None) => {}
                    (Err(fault), Some(Err(last))) => prop_assert_eq!(fault, last),
                    (other, _) => prop_assert!(false, "{:?} after {}, {:?} at the end", other, have, end),
                }
            }
        }
    }
}
