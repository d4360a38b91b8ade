//! Takes the caller's token out of a request's headers.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};

use crate::denial::Denial;

/// A credential as presented: one token, in shape a JWT, not yet verified. It does not print.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bearer<'h> {
    token: &'h str,
    scheme: Scheme,
}

/// How a token was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Bearer` (RFC 6750 section 2.1).
    Bearer,
    /// `Authorization: DPoP`, which promises a proof (RFC 9449 section 7.1).
    Dpop,
    /// `x-api-key` alone.
    ApiKey,
}

/// Longest token that is looked at. Entra's with many groups stay below half of it.
const MAX_TOKEN: usize = 16 << 10;

impl<'h> Bearer<'h> {
    /// The token in `Authorization: Bearer`, `Authorization: DPoP` or `x-api-key`; Claude Code sends the same one in both.
    ///
    /// # Errors
    /// A [`Denial`] when there is none, when two differ, or when it cannot be a JWT.
    pub fn from_headers(headers: &'h HeaderMap) -> Result<Self, Denial> {
        let authorization = only(headers, &header::AUTHORIZATION)?.map(without_scheme).transpose()?;
        let api_key = only(headers, &header::HeaderName::from_static("x-api-key"))?.map(HeaderValue::as_bytes);
        let (scheme, token) = match (authorization, api_key) {
            (None, None) => return Err(Denial::CredentialMissing),
            (Some(sent), None) => sent,
            (None, Some(key)) => (Scheme::ApiKey, key),
            (Some(sent), Some(key)) if sent.1 == key => sent,
            // Which of the two is a stray Anthropic key says more to the person than that they differ.
            (Some((_, token)), Some(key)) if is_anthropic(token) || is_anthropic(key) => {
                return Err(Denial::AnthropicCredential);
            }
            (Some(_), Some(_)) => return Err(Denial::CredentialConflict),
        };
        if is_anthropic(token) {
            return Err(Denial::AnthropicCredential);
        }
        let text = std::str::from_utf8(token).ok().filter(|text| looks_like_jwt(text));
        text.map(|token| Self { token, scheme }).ok_or(Denial::CredentialMalformed)
    }

    /// Takes a token that did not come by a header; `None` if it cannot be a JWT.
    pub fn parse(text: &'h str) -> Option<Self> {
        looks_like_jwt(text).then_some(Self { token: text, scheme: Scheme::Bearer })
    }

    /// The token. Each call site is a place to review.
    pub fn expose(&self) -> &'h str {
        self.token
    }

    /// How it was sent.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }
}

impl fmt::Debug for Bearer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}

/// The value of a header that may be there once.
fn only<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Result<Option<&'h HeaderValue>, Denial> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(Denial::CredentialConflict);
    }
    Ok(first)
}

/// RFC 6750 section 2.1 and RFC 9449 section 7.1; the scheme's letter case does not matter (RFC 9110 section 11.1).
fn without_scheme(value: &HeaderValue) -> Result<(Scheme, &[u8]), Denial> {
    let bytes = value.as_bytes();
    let space = memchr::memchr(b' ', bytes).ok_or(Denial::CredentialMalformed)?;
    let (name, token) = bytes.split_at_checked(space).ok_or(Denial::CredentialMalformed)?;
    let scheme = if name.eq_ignore_ascii_case(b"bearer") {
        Scheme::Bearer
    } else if name.eq_ignore_ascii_case(b"dpop") {
        Scheme::Dpop
    } else {
        return Err(Denial::CredentialMalformed);
    };
    Ok((scheme, token.trim_ascii()))
}

fn is_anthropic(token: &[u8]) -> bool {
    token.starts_with(b"sk-ant-")
}

/// Three parts of base64url with dots between (RFC 7515 section 3.1).
fn looks_like_jwt(text: &str) -> bool {
    // Piece by piece and without a branch for each byte, which the compiler turns into vector instructions.
    let is_base64url = |piece: &[u8]| piece.iter().fold(true, |all, byte| all & is_base64url_or_dot(*byte));
    text.len() <= MAX_TOKEN
        && text.as_bytes().chunks(64).all(is_base64url)
        && memchr::memchr_iter(b'.', text.as_bytes()).count() == 2
        && !text.starts_with('.')
        && !text.ends_with('.')
}

#[allow(clippy::needless_bitwise_bool)] // no branch for each byte: that is what makes it fast
fn is_base64url_or_dot(byte: u8) -> bool {
    byte.is_ascii_digit() | byte.is_ascii_alphabetic() | (byte == b'-') | (byte == b'_') | (byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_token_in_either_header_or_the_same_in_both() {
        for (list, scheme) in [
            (&[("authorization", &b"Bearer a.b.c"[..])][..], Scheme::Bearer),
            (&[("authorization", b"bearer  a.b.c")], Scheme::Bearer),
            (&[("authorization", b"DPoP a.b.c")], Scheme::Dpop),
            (&[("authorization", b"dpop a.b.c")], Scheme::Dpop),
            (&[("x-api-key", b"a.b.c")], Scheme::ApiKey),
            (&[("authorization", b"Bearer a.b.c"), ("x-api-key", b"a.b.c")], Scheme::Bearer),
        ] {
            let headers = headers(list);
            let bearer = Bearer::from_headers(&headers).unwrap();
            assert_eq!((bearer.expose(), bearer.scheme()), ("a.b.c", scheme));
            assert_eq!(format!("{bearer:?}"), "Bearer(..)");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let long = "a".repeat(1 << 20);
        for (list, expected) in [
            (&[][..], Denial::CredentialMissing),
            (&[("authorization", &b"Bearer a.b.c"[..]), ("x-api-key", b"a.b.d")], Denial::CredentialConflict),
            (&[("authorization", b"Bearer a.b.c"), ("authorization", b"Bearer a.b.c")], Denial::CredentialConflict),
            (&[("authorization", b"Bearer a.b.c"), ("x-api-key", b"sk-ant-api03-x")], Denial::AnthropicCredential),
            (&[("authorization", b"Bearer sk-ant-oat01-x")], Denial::AnthropicCredential),
            (&[("authorization", b"Basic a.b.c")], Denial::CredentialMalformed),
            (&[("authorization", b"Bearer")], Denial::CredentialMalformed),
            (&[("authorization", b"DPoPa.b.c")], Denial::CredentialMalformed),
            (&[("authorization", b" Bearer a.b.c")], Denial::CredentialMalformed),
            (&[("authorization", b"")], Denial::CredentialMalformed),
            (&[("authorization", b"Bearer invalid-jwt")], Denial::CredentialMalformed),
            (&[("x-api-key", b"a.b.\xff")], Denial::CredentialMalformed),
            (&[("x-api-key", b"a.b.c.d")], Denial::CredentialMalformed),
            (&[("x-api-key", b"a.b.")], Denial::CredentialMalformed),
            (&[("x-api-key", long.as_bytes())], Denial::CredentialMalformed),
        ] {
            assert_eq!(Bearer::from_headers(&headers(list)).unwrap_err(), expected, "{list:.40?}");
        }
    }
}
