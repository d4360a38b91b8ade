//! Credentials in URLs (RFC 3986 §3.2.1).

use super::cursor::Cursor;
use super::{Found, Kind, Proof};

/// The longest user and password.
const LONGEST: usize = 320;

/// The user and password of the URL whose scheme ends at the colon at `at`.
pub fn find_url_credentials(cursor: Cursor<'_>, at: usize, found: &mut Vec<Found>) {
    if cursor.byte(at + 1) != b'/' || cursor.byte(at + 2) != b'/' || !cursor.byte_before(at).is_ascii_alphanumeric() {
        return;
    }
    let start = at + 3;
    let end = cursor.forth(start, LONGEST, |byte| byte > b' ' && byte < 0x7f && !b"/?#\"<>`\\".contains(&byte));
    let Some(length) = cursor.get(start..end).rfind('@') else { return };
    let Some((_, password)) = cursor.get(start..start + length).split_once(':') else { return };
    // What a template or a manual puts there is no password.
    let is_blank = password.is_empty()
        || password.starts_with(['$', '{', '[', '%', '*'])
        || ["password", "pass", "passwd", "secret", "xxx"].iter().any(|word| password.eq_ignore_ascii_case(word));
    if !is_blank {
        found.push(Found { range: start..start + length, kind: Kind::URL_CREDENTIALS, proof: Proof::Checked });
    }
}
