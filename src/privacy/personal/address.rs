//! IP and MAC addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::cursor::{Cursor, is_word};
use super::{Found, Kind, Proof, Topics, Words};

/// The longest IPv6 address in text, `ffff:` six times and an IPv4 address.
const LONGEST_V6: usize = 45;

/// The IPv4 address that begins at `start`, with the length of its network.
pub fn find_v4(cursor: Cursor<'_>, start: usize, words: &mut Words<'_>, found: &mut Vec<Found>) {
    // 15 bytes are the longest address; one more shows that it goes on.
    let end = cursor.forth(start, 16, |byte| byte.is_ascii_digit() || byte == b'.');
    let run = cursor.get(start..end);
    let Some((last, _)) = run.match_indices('.').nth(2) else { return };
    let length = last + 1 + cursor.forth(start + last + 1, 4, |byte| byte.is_ascii_digit()) - (start + last + 1);
    if cursor.get(start..start + length).parse::<Ipv4Addr>().is_err() {
        return;
    }
    let goes_on = is_word(cursor.byte(start + length));
    let before = cursor.byte_before(start);
    let comes_from = before == b'.' || before == b'-' && cursor.byte_before(start.saturating_sub(1)).is_ascii_digit();
    // "v1.2.3.4" is one word before it; "version 1.2.3.4" is told by the word.
    if goes_on || comes_from || words.around(start..start + length).has(Topics::VERSION) {
        return;
    }
    let end = start + length + network(cursor, start + length, 32);
    found.push(Found { range: start..end, kind: Kind::IP_ADDRESS, proof: Proof::Shaped });
}

/// The IPv6 address whose first colon is at `at`.
pub fn find_v6(cursor: Cursor<'_>, at: usize, found: &mut Vec<Found>) {
    let start = cursor.back(at, 5, |byte| byte.is_ascii_hexdigit());
    if matches!(cursor.byte_before(start), b':' | b'.') || is_word(cursor.byte_before(start)) {
        return;
    }
    let end = cursor.forth(start, LONGEST_V6 + 1, |byte| byte.is_ascii_hexdigit() || byte == b':' || byte == b'.');
    let run = cursor.get(start..end).trim_end_matches('.');
    // A colon that ends a clause is no part of it, two are.
    let run = if run.ends_with("::") { run } else { run.trim_end_matches(':') };
    let end = start + run.len();
    if run.len() < 3 || is_word(cursor.byte(end)) || run.parse::<Ipv6Addr>().is_err() || !is_address(run) {
        return;
    }
    let zone = if cursor.byte(end) == b'%' { cursor.forth(end + 1, 16, is_word) } else { end };
    let end = zone + network(cursor, zone, 128);
    found.push(Found { range: start..end, kind: Kind::IP_ADDRESS, proof: Proof::Shaped });
}

/// Whether it is more than a path of code (`a::b`) or a step of a slice (`[::2]`).
fn is_address(run: &str) -> bool {
    let groups = run.split(':').filter(|group| !group.is_empty()).count();
    let has_digit = run.bytes().any(|byte| byte.is_ascii_digit());
    match groups {
        0 => false,
        1 => run == "::1" || run.len() > 5,
        2 => has_digit && run.len() > 5,
        _ => has_digit || groups == 8,
    }
}

/// The bytes of `/24` and the like at `at`, where the number is at most `most`.
fn network(cursor: Cursor<'_>, at: usize, most: u16) -> usize {
    if cursor.byte(at) != b'/' {
        return 0;
    }
    let end = cursor.forth(at + 1, 4, |byte| byte.is_ascii_digit());
    let fits = cursor.get(at + 1..end).parse::<u16>().is_ok_and(|bits| bits <= most);
    if fits && !is_word(cursor.byte(end)) { end - at } else { 0 }
}

/// The MAC address of six pairs whose first separator is at `at`.
pub fn find_mac(cursor: Cursor<'_>, at: usize, found: &mut Vec<Found>) {
    const LENGTH: usize = 17;
    let Some(start) = at.checked_sub(2) else { return };
    let separator = cursor.byte(at);
    let is_shaped = (0..LENGTH).all(|offset| {
        let byte = cursor.byte(start + offset);
        if offset % 3 == 2 { byte == separator } else { byte.is_ascii_hexdigit() }
    });
    let is_part = |byte: u8| is_word(byte) || byte == separator;
    if is_shaped && !is_part(cursor.byte_before(start)) && !is_part(cursor.byte(start + LENGTH)) {
        found.push(Found { range: start..start + LENGTH, kind: Kind::MAC_ADDRESS, proof: Proof::Checked });
    }
}

/// The MAC address of three groups (`0012.3456.789a`) whose first group with a digit is `start..end`.
pub fn find_cisco_mac(cursor: Cursor<'_>, start: usize, end: usize, found: &mut Vec<Found>) {
    const LENGTH: usize = 14;
    if end - start != 4 {
        return;
    }
    for start in [Some(start), start.checked_sub(5), start.checked_sub(10)].into_iter().flatten() {
        let is_shaped = (0..LENGTH).all(|offset| {
            let byte = cursor.byte(start + offset);
            if offset % 5 == 4 { byte == b'.' } else { byte.is_ascii_hexdigit() }
        });
        let is_part = |byte: u8| is_word(byte) || byte == b'.';
        // A sentence may end after it.
        let goes_on = is_word(cursor.byte(start + LENGTH))
            || (cursor.byte(start + LENGTH) == b'.' && is_word(cursor.byte(start + LENGTH + 1)));
        if is_shaped && !is_part(cursor.byte_before(start)) && !goes_on {
            found.push(Found { range: start..start + LENGTH, kind: Kind::MAC_ADDRESS, proof: Proof::Shaped });
            return;
        }
    }
}
