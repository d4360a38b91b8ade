//! The configuration files that are shipped.

use std::path::Path;

use portcullis::config::Config;

use super::harness::Sandbox;

/// Loads every file of conf/ in a folder that has what they name.
#[test]
fn every_shipped_configuration_loads() {
    let sandbox = Sandbox::shared();
    let made = |name: &str| sandbox.folder.path().join(name);
    let conf = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let folder = tempfile::tempdir().unwrap();
    for (name, source) in [
        ("server.crt", "server.crt"),
        ("server.key", "server.key"),
        ("clients.pem", "ca.crt"),
        ("upstream-ca.pem", "ca.crt"),
        ("ca.crt", "ca.crt"),
        ("edge.crt", "client.crt"),
        ("edge.key", "client.key"),
        ("client.crt", "client.crt"),
        ("client.key", "client.key"),
        ("issuer.key", "issuer.key"),
        ("anthropic-key", "anthropic-key"),
        ("hs256.secret", "anthropic-key"),
        ("identity-token", "anthropic-key"),
        ("redis-ca.pem", "ca.crt"),
        ("redis-password", "anthropic-key"),
        ("collector-authorization", "anthropic-key"),
    ] {
        std::fs::copy(made(source), folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("revoked.json"), "{}").unwrap();
    std::fs::copy(conf.join("prices.json"), folder.path().join("prices.json")).unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(&conf).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "toml") {
            continue; // prices
        }
        let text = std::fs::read_to_string(&file).unwrap();
        // The folder of a test is no place for the service's own, and no credential is passed to a test.
        let text = text
            .replace("/var/log/portcullis", "audit")
            .replace("/var/lib/portcullis", "state")
            .replace("{ credential = ", "{ file = ");
        let loaded = Config::parse(&folder.path().join(file.file_name().unwrap()), text);
        assert!(loaded.is_ok(), "{}", loaded.err().unwrap());
        files += 1;
    }
    assert!(files >= 2);
}
