//! Where a request was sent, as the client wrote it, and whether a proof is for that place.

use std::fmt::Write;
use std::str::FromStr;

use reqwest::Url;

/// A scheme, a host and a port, such as `https://gateway.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Url);

/// Not an origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an origin such as https://gateway.example")]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let url = Url::parse(text).map_err(|_| OriginError)?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let open = url.username().is_empty() && url.password().is_none();
        let http = matches!(url.scheme(), "https" | "http") && url.has_host();
        if bare && open && http { Ok(Self(url)) } else { Err(OriginError) }
    }
}

impl Origin {
    /// The origin that a request names itself.
    pub(super) fn of_request(scheme: &str, authority: &str) -> Option<Self> {
        format!("{scheme}://{authority}").parse().ok()
    }

    /// Whether `uri` is `path` at this origin. Queries and fragments do not count, and both are normalised first: letter
    /// case of scheme and host, the default port, dot segments, percent-encoding (RFC 9449 section 4.3, RFC 3986 sections
    /// 6.2.2 and 6.2.3).
    pub(super) fn holds(&self, uri: &str, path: &str) -> bool {
        let (Ok(uri), Some(path)) = (Url::parse(uri), path.split(['?', '#']).next()) else { return false };
        // Set, not joined: `//elsewhere/` is a path here, as it is in a request line.
        let mut own = self.0.clone();
        own.set_path(path);
        uri.username().is_empty()
            && uri.password().is_none()
            && uri.origin() == own.origin()
            && decoded(uri.path()) == decoded(own.path())
    }
}

/// Percent-encoding in its one normal form: unreserved characters plain, the digits of the others upper case (RFC 3986
/// section 6.2.2).
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let encoded = digits.and_then(|digits| Some((u8::from_str_radix(digits, 16).ok()?, part.get(2..)?)));
        match encoded {
            Some((byte, rest)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(char::from(byte));
                normal.push_str(rest);
            }
            Some((byte, rest)) => {
                let _ = write!(normal, "%{byte:02X}{rest}"); // a String takes everything
            }
            None => {
                normal.push('%');
                normal.push_str(part);
            }
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_place_in_another_spelling_is_the_same_place() {
        let gateway = origin("https://Gateway.example");
        for uri in [
            "https://gateway.example/v1/messages",
            "HTTPS://GATEWAY.EXAMPLE:443/v1/messages",
            "https://gateway.example/v1/messages?beta=true#top",
            "https://gateway.example/v1/x/../messages",
            "https://gateway.example/v1/%6dessages",
        ] {
            assert!(gateway.holds(uri, "/v1/messages"), "{uri}");
            assert!(gateway.holds(uri, "/v1/messages?beta=true"), "{uri}");
        }
        assert!(gateway.holds("https://gateway.example/a%2fb", "/a%2Fb"));
        assert!(origin("http://127.0.0.1:8080").holds("http://127.0.0.1:8080/v1/models", "/v1/models"));
    }

    #[test]
    fn another_place_is_another_place() {
        let gateway = origin("https://gateway.example");
        for uri in [
            "",
            "/v1/messages",
            "http://gateway.example/v1/messages",
            "https://gateway.example:8443/v1/messages",
            "https://gateway.example.evil/v1/messages",
            "https://evil@gateway.example/v1/messages",
            "https://gateway.example/v1/messages/",
            "https://gateway.example/v1/Messages",
            "https://gateway.example/v1%2Fmessages",
            "https://gateway.example//v1/messages",
            "https://gateway.example/v1/%+6dessages",
        ] {
            assert!(!gateway.holds(uri, "/v1/messages"), "{uri}");
        }
        assert!(!gateway.holds("https://evil.example/v1/messages", "//evil.example/v1/messages"));
    }

    #[test]
    fn only_origins_are_origins() {
        for text in
            ["gateway.example", "ftp://x", "https://", "https://x/y", "https://x?y", "https://a@x", "https://x#y"]
        {
            assert_eq!(text.parse::<Origin>(), Err(OriginError), "{text}");
        }
        assert!(Origin::of_request("https", "").is_none());
        assert!(Origin::of_request("https", "a/b").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_compared_without_a_panic(uri in ".*", path in ".*", authority in ".*") {
            origin("https://gateway.example").holds(&uri, &path);
            Origin::of_request("https", &authority);
            let once = decoded(&path);
            prop_assert!(once.len() <= path.len(), "{} to {}", path, once);
        }
    }
}
