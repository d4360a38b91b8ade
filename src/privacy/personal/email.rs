//! E-mail addresses.

use super::cursor::{Cursor, is_word};
use super::{Found, Kind, Proof};

/// The longest local part; RFC 5321 §4.5.3.1 allows 64, and what is longer is masked as well.
const LOCAL: usize = 128;
/// The longest domain name (RFC 1035 §2.3.4).
const DOMAIN: usize = 255;

/// Endings of files, which `icon@2x.png` has and no domain.
const FILES: &[&str] = &[
    "png", "jpg", "jpeg", "gif", "svg", "webp", "js", "ts", "jsx", "tsx", "css", "html", "json", "yaml", "yml", "toml",
    "tgz", "gz", "zip", "txt", "lock", "exe", "dll", "cpp", "hpp", "xml",
];

/// The address whose `@` is at `at`.
pub fn find(cursor: Cursor<'_>, at: usize, found: &mut Vec<Found>) {
    let Some(end) = domain(cursor, at + 1) else { return };
    let local = |c: char| c.is_ascii_alphanumeric() || "._%+-&'".contains(c) || (c.is_alphanumeric() && c < '\u{800}');
    let floor = cursor.text().floor_char_boundary(at.saturating_sub(LOCAL));
    let start = cursor
        .get(floor..at)
        .char_indices()
        .rev()
        .take_while(|(_, c)| local(*c))
        .last()
        .map_or(at, |(offset, _)| floor + offset);
    let start = start + cursor.get(start..at).bytes().take_while(|byte| b".%-&'".contains(byte)).count();
    let name = cursor.get(start..at);
    if name.is_empty() || name.ends_with('.') || name == "git" || is_userinfo(cursor, start) {
        return;
    }
    found.push(Found { range: start..end, kind: Kind::EMAIL, proof: Proof::Shaped });
}

/// Where the domain that begins at `at` ends: labels of letters, digits and hyphens, the last one of letters.
fn domain(cursor: Cursor<'_>, at: usize) -> Option<usize> {
    let end = cursor.forth(at, DOMAIN, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    let run = cursor.get(at..end);
    let run = run.trim_end_matches(['.', '-']);
    let run = run.split("..").next().unwrap_or_default();
    let (name, top) = run.rsplit_once('.')?;
    let is_top = (2..=24).contains(&top.len()) && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_top = is_top || top.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
    let is_name = name.split('.').all(|label| !label.is_empty() && !label.starts_with('-'))
        && name.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_file = FILES.iter().any(|file| top.eq_ignore_ascii_case(file));
    let ends = !is_word(cursor.byte(at + run.len())) && cursor.byte(at + run.len()) != b'@';
    (is_top && is_name && !is_file && ends).then_some(at + run.len())
}

/// Whether what begins at `start` is the user of a URL (`ssh://git@host`), which is another detector's.
fn is_userinfo(cursor: Cursor<'_>, start: usize) -> bool {
    let before = cursor.back(start, LOCAL, |byte| byte > b' ' && !b"/\"'<>".contains(&byte));
    cursor.get(before.saturating_sub(3)..before) == "://"
}
