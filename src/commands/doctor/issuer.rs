//! Where the issuers' keys come from.

use futures_util::future::join_all;
use reqwest::Url;

use super::finding::{Check, Finding};
use crate::config::{IssuerConfig, KeySource};
use crate::identity::{CacheBounds, Issuers};

/// A line for each issuer: its keys are fetched once, by the proxy's own fetcher.
pub(super) async fn examine(issuers: Vec<IssuerConfig>) -> Vec<Finding> {
    join_all(issuers.into_iter().map(check)).await
}

async fn check(issuer: IssuerConfig) -> Finding {
    let name = issuer.rules.name.clone();
    let (from, mend) = match &issuer.keys {
        KeySource::Secret(_) => return Check::Jwks.passes(name, "a shared secret; nothing is fetched"),
        KeySource::File(keys) => {
            return Check::Jwks.passes(name, format!("{} usable key(s) in its jwks_file", keys.len()));
        }
        KeySource::Uri(url) => (place(url), "correct jwks_uri"),
        KeySource::Discovery(url) => (place(url), "name its key set as jwks_uri"),
    };
    let (_, fetchers) = Issuers::new(vec![issuer], None, CacheBounds::default());
    let fetched = match fetchers.first() {
        Some(fetcher) => fetcher.try_once().await,
        None => Err("nothing fetches its keys".to_owned()),
    };
    match fetched {
        Ok(keys) => Check::Jwks.passes(name, format!("{keys} usable key(s) from {from}")),
        Err(fault) => Check::Jwks.fails(
            name,
            format!("{from}: {fault}"),
            format!("let this host reach it (routes, proxy, firewall, the system's roots), or {mend}"),
        ),
    }
}

/// The URL without user, password and query, which may be secrets.
fn place(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_of_a_url_is_shown() {
        let url = Url::parse("https://user:hidden@idp.test:8443/keys?code=hidden#hidden").unwrap();
        assert_eq!(place(&url), "https://idp.test:8443/keys");
    }
}
