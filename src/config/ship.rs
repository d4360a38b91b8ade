//! `[audit.ship]`: where closed segments of the audit log are kept.

use std::time::Duration;

use http::Uri;
use object_store::path::Path as ObjectPath;

use super::pem;
use super::reader::Section;
use crate::credential::SecretSource;

/// Where closed segments are kept: a bucket of S3, or of what speaks its language.
pub struct ShipConfig {
    /// The bucket.
    pub bucket: String,
    /// What every key begins with; may be empty.
    pub prefix: ObjectPath,
    /// The region; `None`: what the environment says, else us-east-1.
    pub region: Option<String>,
    /// Where the service is, if not where AWS has it: a VPC endpoint, or another S3.
    pub endpoint: Option<String>,
    /// Who we are; `None`: what the environment or the instance says.
    pub credentials: Option<ShipCredentials>,
    /// Certificates (PEM) that the endpoint's chain must end in; `None` for the system's roots.
    pub ca: Option<Vec<u8>>,
    /// How long an object may not be deleted; `None` is the bucket's own rule.
    pub retention: Option<Retention>,
    /// How objects are encrypted; `None` is the bucket's own rule.
    pub encryption: Option<Encryption>,
    /// How often closed segments are looked for.
    pub interval: Duration,
    /// What this host is called in keys.
    pub host: String,
}

/// Where a key pair of S3 is. It is read anew for each round, so that it may change.
pub struct ShipCredentials {
    /// The access key's id.
    pub access_key_id: SecretSource,
    /// The access key.
    pub secret_access_key: SecretSource,
    /// The token of a session, for temporary keys.
    pub session_token: Option<SecretSource>,
}

/// Object Lock of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may shorten it.
    pub lock: Lock,
    /// For how long from the upload.
    pub time: Duration,
}

/// Modes of S3 Object Lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Nobody may delete before the time is over.
    Compliance,
    /// Who has `s3:BypassGovernanceRetention` may.
    Governance,
}

/// Encryption by the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys of S3 itself.
    S3,
    /// With a key of KMS; `None` is the account's own for S3.
    Kms(Option<String>),
}

/// Reads the section; `Some(None)` when there is none.
#[allow(clippy::option_option)] // none at all, or one that is wrong
pub(super) fn read(audit: &Section<'_>) -> Option<Option<ShipConfig>> {
    if !audit.has("ship") {
        return Some(None);
    }
    audit.table("ship", ship).map(Some)
}

fn ship(section: &Section<'_>) -> Option<ShipConfig> {
    let url = section.required_text("url").and_then(|url| bucket(section, &url));
    let endpoint = endpoint(section);
    let credentials = credentials(section);
    let ca = if section.has("ca") {
        let file = section.file("ca");
        file.and_then(|file| section.usable("ca", pem::authorities(&file)).map(|_| Some(file)))
    } else {
        Some(None)
    };
    let retention = retention(section);
    let encryption = encryption(section);
    let host = section.text("host").unwrap_or_else(|| own_host().unwrap_or_else(|| "unknown".to_owned()));
    if host.is_empty() || host != sanitised(&host) {
        section.fault("host", "is no host name", "use small letters, digits, dots and hyphens");
    }
    let region = section.text("region");
    let interval = section.nonzero_duration("interval").unwrap_or(DEFAULT_INTERVAL);
    let (bucket, prefix) = url?;
    Some(ShipConfig {
        bucket,
        prefix,
        region,
        endpoint: endpoint?,
        credentials: credentials?,
        ca: ca?,
        retention: retention?,
        encryption: encryption?,
        interval,
        host,
    })
}

fn bucket(section: &Section<'_>, url: &str) -> Option<(String, ObjectPath)> {
    let read = || {
        let (bucket, prefix) = url.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, "")))?;
        // The rules of S3, "General purpose bucket naming rules".
        let is_name = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
        Some((is_name.then(|| bucket.to_owned())?, ObjectPath::parse(prefix.trim_end_matches('/')).ok()?))
    };
    let read = read();
    if read.is_none() {
        section.fault("url", "names no bucket", "write it as \"s3://bucket/prefix\"");
    }
    read
}

#[allow(clippy::option_option)] // none at all, or one that is wrong
fn endpoint(section: &Section<'_>) -> Option<Option<String>> {
    if !section.has("endpoint") {
        return Some(None);
    }
    let url = section.text("endpoint")?;
    let uri = url.parse::<Uri>().ok().filter(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
    let scheme = uri.as_ref().and_then(|uri| Some((uri.scheme_str()?, uri.host()?)));
    let problem = match scheme {
        Some(("https", _)) => return Some(Some(url)),
        Some(("http", host)) if is_loopback(host) => return Some(Some(url)),
        Some(("http", _)) => ("is plain text to another host", "write https://"),
        _ => (
            "is not a URL such as \"https://bucket.vpce-0123.s3.us-east-1.vpce.amazonaws.com\"",
            "write scheme and host",
        ),
    };
    section.fault("endpoint", problem.0, problem.1);
    None
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[allow(clippy::option_option)] // none at all, or some that are wrong
fn credentials(section: &Section<'_>) -> Option<Option<ShipCredentials>> {
    let (has_id, has_secret) = (section.has("access_key_id"), section.has("secret_access_key"));
    let has_token = section.has("session_token");
    if !has_id && !has_secret && !has_token {
        return Some(None);
    }
    let source = |key| section.secret_and_source(key).map(|(_, source)| source);
    let (id, secret) = (source("access_key_id"), source("secret_access_key"));
    let token = source("session_token");
    if !has_id || !has_secret {
        section.fault(
            "",
            "has not both of access_key_id and secret_access_key",
            "give both, or neither: then the environment or the instance says who we are",
        );
        return None;
    }
    if has_token && token.is_none() {
        return None;
    }
    Some(Some(ShipCredentials { access_key_id: id?, secret_access_key: secret?, session_token: token }))
}

#[allow(clippy::option_option)] // none at all, or one that is wrong
fn retention(section: &Section<'_>) -> Option<Option<Retention>> {
    let time = section.nonzero_duration("retention");
    let lock = section.text("lock");
    let (has_time, has_lock) = (section.has("retention"), section.has("lock"));
    if !has_time && !has_lock {
        return Some(None);
    }
    if !has_time || !has_lock {
        section.fault(
            "",
            "has only one of retention and lock",
            "give both, or neither: then the bucket's default retention holds",
        );
        return None;
    }
    let lock = match lock?.as_str() {
        "compliance" => Lock::Compliance,
        "governance" => Lock::Governance,
        _ => {
            section.fault("lock", "is no mode of Object Lock", "write \"compliance\" or \"governance\"");
            return None;
        }
    };
    let time = time?;
    if time > MAX_RETENTION {
        section.fault("retention", "is above a hundred years", "S3 takes up to \"36500d\"");
        return None;
    }
    Some(Some(Retention { lock, time }))
}

#[allow(clippy::option_option)] // none at all, or one that is wrong
fn encryption(section: &Section<'_>) -> Option<Option<Encryption>> {
    let key = section.text("kms_key");
    let kind = section.text("server_side_encryption");
    let encryption = match kind.as_deref() {
        None if !section.has("server_side_encryption") => None,
        Some("AES256") => Some(Encryption::S3),
        Some("aws:kms") => return Some(Some(Encryption::Kms(key))),
        None => return None,
        Some(_) => {
            section.fault("server_side_encryption", "is no encryption of S3", "write \"AES256\" or \"aws:kms\"");
            return None;
        }
    };
    if key.is_some() {
        section.fault("kms_key", "has no use", "set server_side_encryption = \"aws:kms\", or take it out");
        return None;
    }
    Some(encryption)
}

/// The machine's name, as far as a key may hold it.
fn own_host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(sanitised(name.trim())).filter(|name| !name.is_empty())
}

/// `name` in small letters, with hyphens for what a host's name does not have.
fn sanitised(name: &str) -> String {
    let fit = |char: char| match char.to_ascii_lowercase() {
        fit @ ('a'..='z' | '0'..='9' | '.' | '-') => fit,
        _ => '-',
    };
    name.chars().take(MAX_HOST).map(fit).collect::<String>().trim_matches(['.', '-']).to_owned()
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);
/// What S3 takes (`Days` of a default retention, at most 100 years).
const MAX_RETENTION: Duration = Duration::from_secs(36_500 * 86_400);
/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::super::reader::Document;
    use super::*;

    fn parse(text: &str) -> Result<Option<ShipConfig>, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), "hunter2\n").unwrap();
        let file = folder.path().join("portcullis.toml");
        Document::new(&file, text.to_owned())
            .read(|root| root.table("audit", read))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn what_is_left_out_is_the_buckets_to_say() {
        assert!(parse("").unwrap().is_none());
        let ship = parse("[audit.ship]\nurl = \"s3://evidence\"").unwrap().unwrap();
        assert_eq!((&*ship.bucket, ship.prefix.as_ref(), ship.interval), ("evidence", "", DEFAULT_INTERVAL));
        assert!(ship.retention.is_none() && ship.encryption.is_none() && ship.credentials.is_none());
        assert!(!ship.host.is_empty());
    }

    #[test]
    fn all_that_is_given_is_in_force() {
        let ship = parse(
            "[audit.ship]\nurl = \"s3://evidence/edge/audit/\"\nregion = \"eu-central-1\"\nhost = \"edge-1\"\n\
             endpoint = \"http://127.0.0.1:9\"\naccess_key_id = { file = \"key\" }\nsecret_access_key = { file = \"key\" }\n\
             retention = \"2190d\"\nlock = \"compliance\"\nserver_side_encryption = \"aws:kms\"\nkms_key = \"alias/audit\"",
        );
        let ship = ship.unwrap().unwrap();
        assert_eq!((&*ship.bucket, ship.prefix.as_ref(), &*ship.host), ("evidence", "edge/audit", "edge-1"));
        let retention = Retention { lock: Lock::Compliance, time: Duration::from_secs(2190 * 86_400) };
        assert_eq!(ship.retention, Some(retention));
        assert_eq!(ship.encryption, Some(Encryption::Kms(Some("alias/audit".to_owned()))));
        assert!(ship.credentials.is_some());
    }

    #[test]
    fn faults_name_their_mend() {
        for (text, expected) in [
            ("url = \"https://evidence\"", "audit.ship.url: names no bucket; write it as \"s3://bucket/prefix\""),
            ("url = \"s3://Evidence\"", "audit.ship.url: names no bucket"),
            ("url = \"s3://evidence/a//b\"", "audit.ship.url: names no bucket"),
            (
                "url = \"s3://evidence\"\nendpoint = \"http://s3.internal\"",
                "is plain text to another host; write https://",
            ),
            ("url = \"s3://evidence\"\nendpoint = \"s3.internal\"", "audit.ship.endpoint: is not a URL"),
            ("url = \"s3://evidence\"\naccess_key_id = { file = \"key\" }", "has not both of access_key_id and"),
            ("url = \"s3://evidence\"\nsecret_access_key = \"hunter2\"", "audit.ship.secret_access_key: is a value"),
            ("url = \"s3://evidence\"\nretention = \"1d\"", "audit.ship: has only one of retention and lock"),
            ("url = \"s3://evidence\"\nlock = \"legal\"\nretention = \"1d\"", "lock: is no mode of Object Lock"),
            ("url = \"s3://evidence\"\nlock = \"governance\"\nretention = \"36501d\"", "retention: is above a hundred"),
            ("url = \"s3://evidence\"\nserver_side_encryption = \"aes\"", "write \"AES256\" or \"aws:kms\""),
            ("url = \"s3://evidence\"\nkms_key = \"x\"", "audit.ship.kms_key: has no use"),
            ("url = \"s3://evidence\"\nhost = \"a/b\"", "audit.ship.host: is no host name"),
            ("url = \"s3://evidence\"\nca = \"key\"", "audit.ship.ca: holds no certificate"),
            ("url = \"s3://evidence\"\nbuckt = 1", "audit.ship.buckt: unknown key"),
        ] {
            let faults = parse(&format!("[audit.ship]\n{text}")).err().unwrap_or_default();
            assert!(faults.contains(expected) && !faults.contains("hunter2"), "{text}: {faults}");
        }
    }

    #[test]
    fn a_host_is_made_fit_for_a_key() {
        for (name, fit) in [("edge-1.corp", "edge-1.corp"), ("Edge_1/..", "edge-1"), ("", ""), ("ü", "")] {
            assert_eq!(sanitised(name), fit, "{name}");
        }
    }
}
