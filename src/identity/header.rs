//! A token's JOSE header (RFC 7515 section 4): it says how the token is signed, and is believed in nothing else.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::json;
use crate::denial::TokenFault;

/// What a header may say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

/// Longest key id that is looked for: real ones are thumbprints, names or URLs.
const MAX_KEY_ID: usize = 512;

/// Members that carry or point to a key, or change what is signed or what must be understood: RFC 7515 sections 4.1.2 to
/// 4.1.6 and 4.1.11, RFC 7797 section 3. A key that the token itself brings proves nothing, and no extension is known here.
const REFUSED: [&str; 6] = ["jwk", "jku", "x5u", "x5c", "crit", "b64"];

impl Header {
    /// Reads the first part of a token.
    ///
    /// # Errors
    /// `Malformed` for what is no header, `Algorithm` for an unknown algorithm (`none` is one), `Header` for a member that
    /// is refused and for a type that is not an access token's.
    pub(super) fn parse(encoded: &str) -> Result<Self, TokenFault> {
        let json = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenFault::Malformed)?;
        let mut members = json::object(&json).ok_or(TokenFault::Malformed)?;
        let algorithm = members.get("alg").and_then(Value::as_str).ok_or(TokenFault::Malformed)?;
        let algorithm = algorithm.parse().map_err(|_| TokenFault::Algorithm)?;
        if REFUSED.iter().any(|name| members.contains_key(*name)) {
            return Err(TokenFault::Header);
        }
        if members.get("typ").is_some_and(|kind| !kind.as_str().is_some_and(is_access_token)) {
            return Err(TokenFault::Header);
        }
        let key_id = match members.remove("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_KEY_ID => Some(id),
            Some(_) => return Err(TokenFault::Header),
        };
        Ok(Self { algorithm, key_id })
    }
}

/// Media types of tokens that grant access: the plain JWT and RFC 9068's. Others are signed by the same keys for another
/// purpose, such as logout tokens and DPoP proofs (RFC 8725 section 3.11).
fn is_access_token(kind: &str) -> bool {
    // RFC 7515 section 4.1.9: case does not matter, and "application/" may be left out.
    let kind = match kind.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => kind,
    };
    kind.eq_ignore_ascii_case("jwt") || kind.eq_ignore_ascii_case("at+jwt")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Header, TokenFault> {
        Header::parse(&BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    #[test]
    fn headers_of_access_tokens_are_read() {
        for (json, key_id) in [
            (r#"{"alg":"RS256"}"#, None),
            (r#"{"alg":"RS256","typ":"JWT","kid":"a","x5t":"Zm9v"}"#, Some("a")),
            (r#"{"alg":"RS256","typ":"at+jwt","kid":""}"#, Some("")),
            (r#"{"alg":"RS256","typ":"Application/AT+JWT"}"#, None),
        ] {
            let expected = Header { algorithm: Algorithm::RS256, key_id: key_id.map(str::to_owned) };
            assert_eq!(parse(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let long = format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(MAX_KEY_ID + 1));
        for (json, expected) in [
            ("", TokenFault::Malformed),
            ("[]", TokenFault::Malformed),
            ("{}", TokenFault::Malformed),
            (r#"{"alg":5}"#, TokenFault::Malformed),
            (r#"{"alg":["RS256"]}"#, TokenFault::Malformed),
            (r#"{"alg":"RS256","alg":"HS256"}"#, TokenFault::Malformed),
            (r#"{"alg":"none"}"#, TokenFault::Algorithm),
            (r#"{"alg":"nOnE"}"#, TokenFault::Algorithm),
            (r#"{"alg":"rs256"}"#, TokenFault::Algorithm),
            (r#"{"alg":"RS256","jwk":{}}"#, TokenFault::Header),
            (r#"{"alg":"RS256","jku":"https://evil.test/"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","x5u":"https://evil.test/"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","x5c":[]}"#, TokenFault::Header),
            (r#"{"alg":"RS256","crit":["exp"]}"#, TokenFault::Header),
            (r#"{"alg":"RS256","crit":[]}"#, TokenFault::Header),
            (r#"{"alg":"RS256","b64":true}"#, TokenFault::Header),
            (r#"{"alg":"RS256","kid":7}"#, TokenFault::Header),
            (r#"{"alg":"RS256","kid":null}"#, TokenFault::Header),
            (&long, TokenFault::Header),
            (r#"{"alg":"RS256","typ":"dpop+jwt"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","typ":"logout+jwt"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","typ":"application/secevent+jwt"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","typ":"JOSE"}"#, TokenFault::Header),
            (r#"{"alg":"RS256","typ":7}"#, TokenFault::Header),
        ] {
            assert_eq!(parse(json), Err(expected), "{json:.80}");
        }
        for encoded in ["e30=", "e30 ", "e31", "%"] {
            assert_eq!(Header::parse(encoded), Err(TokenFault::Malformed), "{encoded}");
        }
    }
}
