//! What TLS to the upstream is set up with: the keys of `[upstream]` that are about trust.

use std::sync::Arc;
use std::time::SystemTime;

use rustls_pki_types::ServerName;

use super::reader::Section;
use crate::upstream::{Pin, TrustSources, TrustStore};

/// What connections to the upstream are made with.
pub struct TrustConfig {
    /// SNI, the name that the upstream's certificate must bear, and what requests call their host. Empty only without TLS.
    pub server_name: String,
    /// What TLS is set up with, read and checked; `None` is plain text.
    pub tls: Option<Arc<TrustStore>>,
}

/// Reads `tls`, `server_name`, `ca`, `client_certificate`, `client_key` and `pins`.
pub(super) fn read(section: &Section<'_>) -> Option<TrustConfig> {
    let tls = section.flag("tls").unwrap_or(true);
    let name = server_name(section, tls);
    let sources = sources(section, tls);
    let server_name = name.as_ref().map(|name| name.to_str().into_owned());
    if !tls {
        return Some(TrustConfig { server_name: server_name.unwrap_or_default(), tls: None });
    }
    let (name, sources) = (name?, sources?);
    let store = TrustStore::open(name, sources, SystemTime::now()).map_err(|faults| {
        for fault in faults {
            let (key, problem) = fault.key_and_problem();
            let mend = match key {
                "" => "name the upstream's CA as ca, or install the system's",
                _ => "check the file that it names",
            };
            section.fault(key, problem, mend);
        }
    });
    Some(TrustConfig { server_name: server_name?, tls: Some(Arc::new(store.ok()?)) })
}

fn server_name(section: &Section<'_>, tls: bool) -> Option<ServerName<'static>> {
    if !tls && !section.has("server_name") {
        return None;
    }
    let name = section.required_text("server_name")?;
    if name.contains('_') {
        // Pingora verifies another name in place of such a one.
        section.fault(
            "server_name",
            "has an underscore, which no certificate's name has",
            "name the upstream as its certificate does",
        );
        return None;
    }
    section.usable("server_name", ServerName::try_from(name).map_err(|_| "is not a host name".to_owned()))
}

fn sources(section: &Section<'_>, tls: bool) -> Option<TrustSources> {
    let (has_certificate, has_key) = (section.has("client_certificate"), section.has("client_key"));
    if has_certificate != has_key {
        section.fault("", "has only one of client_certificate and client_key", "mutual TLS needs both");
    }
    let certificate = section.path("client_certificate");
    let key = section.secret_and_source("client_key").map(|(_, source)| source);
    let ca = section.path("ca");
    let pins = section.parsed_list::<Pin>("pins", "public keys such as \"sha256/BASE64=\"");
    if section.is_empty_list("pins") {
        section.fault("pins", "names no public key", "list at least one, or leave it out");
    }
    if !tls && !pins.is_empty() {
        section.fault("pins", "has nothing to hold without TLS", "take it out, or tls = false");
    }
    // What was given and could not be read has its fault already.
    let as_given = |key, is_read: bool| section.has(key) == is_read;
    let complete = as_given("ca", ca.is_some()) && as_given("client_certificate", certificate.is_some());
    (complete && as_given("client_key", key.is_some())).then(|| TrustSources {
        ca,
        client: certificate.zip(key),
        pins: pins.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::reader::Document;
    use super::*;

    /// Reads `text` beside a CA (`ca.pem`), a certificate with its key (`edge.crt`, `edge.key`), and one of the same key
    /// that has ended (`old.crt`).
    fn parse(text: &str) -> Result<TrustConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = |days: i64| {
            let mut params = rcgen::CertificateParams::new(vec!["edge".to_owned()]).unwrap();
            params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
            params.self_signed(&key).unwrap().pem()
        };
        let files = [("ca.pem", certificate(9)), ("edge.crt", certificate(9)), ("old.crt", certificate(-9))];
        for (name, content) in files.into_iter().chain([("edge.key", key.serialize_pem())]) {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let document = Document::new(&folder.path().join("portcullis.toml"), format!("[upstream]\n{text}"));
        document.read(|root| root.table("upstream", read)).map_err(|faults| faults.to_string())
    }

    const PIN: &str = "sha256/d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=";

    #[test]
    fn all_that_is_given_is_in_force() {
        let trust = parse(&format!(
            "server_name = \"api.anthropic.com\"\nca = \"ca.pem\"\npins = [\"{PIN}\"]\n\
             client_certificate = \"edge.crt\"\nclient_key = {{ file = \"edge.key\" }}"
        ));
        let trust = trust.unwrap();
        let store = trust.tls.unwrap();
        let current = store.current();
        assert_eq!(
            (&*trust.server_name, store.server_name().to_str().as_ref()),
            ("api.anthropic.com", "api.anthropic.com")
        );
        assert!(current.client().is_some() && current.ca().is_some() && current.known().is_some());
        assert_eq!(store.expiries().len(), 2, "what ends within days serves until then");
    }

    #[test]
    fn without_a_ca_the_systems_roots_are_believed_and_without_tls_nobody() {
        let store = parse("server_name = \"api.anthropic.com\"").unwrap().tls.unwrap();
        assert!(store.current().ca().is_none() && store.expiries().is_empty());
        let plain = parse("tls = false").unwrap();
        assert!(plain.tls.is_none() && plain.server_name.is_empty());
        assert_eq!(parse("tls = false\nserver_name = \"x\"").unwrap().server_name, "x");
    }

    #[test]
    fn faults_name_their_key() {
        for (text, expected) in [
            ("server_name = \"a b\"", "upstream.server_name: is not a host name"),
            ("server_name = \"\"", "upstream.server_name: is empty"),
            ("server_name = \"x\"\nca = \"gone.pem\"", "gone.pem: cannot read it: No such file"),
            ("server_name = \"x\"\nca = \"old.crt\"", "upstream.ca: has ended at 2"),
            (
                "server_name = \"x\"\nclient_certificate = \"old.crt\"\nclient_key = { file = \"edge.key\" }",
                "upstream.client_certificate: has ended at 2",
            ),
            (
                "server_name = \"x\"\nclient_certificate = \"edge.crt\"\nclient_key = { file = \"gone.key\" }",
                "upstream.client_key: cannot read",
            ),
            ("server_name = \"x\"\npins = []", "upstream.pins: names no public key"),
            ("server_name = \"x\"\npins = [\"sha256/x\"]", "upstream.pins: is not a list of public keys such as"),
            (&format!("tls = false\npins = [\"{PIN}\"]"), "upstream.pins: has nothing to hold without TLS"),
        ] {
            let faults = parse(text).err().unwrap_or_default();
            assert!(faults.contains(expected) && faults.lines().count() == 1, "{text}: {faults}");
        }
    }
}
