//! The bucket: clients of S3 as the configuration says.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, AwsCredentialProvider, Checksum};
use object_store::path::Path as ObjectPath;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use crate::config::{Encryption, Lock, Retention, ShipConfig};
use crate::credential::{Secret, SecretSource};

/// Where segments go.
pub(super) struct Bucket {
    config: ShipConfig,
}

/// A bucket for one round: its credentials are those of now.
pub(super) struct Client {
    /// What objects are read with.
    pub reader: Arc<dyn ObjectStore>,
    /// What one upload is made with, at the time of it.
    pub writer: Writer,
    /// `s3://bucket`.
    pub url: String,
    /// What every key begins with.
    pub prefix: ObjectPath,
    /// This host, as keys call it.
    pub host: String,
}

/// Makes what one upload at this time is made with.
pub(super) type Writer = Box<dyn Fn(SystemTime) -> Result<Arc<dyn ObjectStore>, Failure> + Send + Sync>;

impl Bucket {
    pub(super) fn new(config: ShipConfig) -> Self {
        Self { config }
    }

    /// Makes the clients; nothing is sent. Reads the secrets, and so blocks.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let config = &self.config;
        let mut builder = self.builder();
        if let Some(credentials) = &config.credentials {
            builder = builder
                .with_access_key_id(text(&credentials.access_key_id)?)
                .with_secret_access_key(text(&credentials.secret_access_key)?);
            if let Some(token) = &credentials.session_token {
                builder = builder.with_token(text(token)?);
            }
        } else {
            builder = from_environment(builder);
        }
        let options = self.options()?;
        let reader = builder.clone().with_client_options(options.clone()).build().map_err(Failure::of_get)?;
        // One provider for both, so that a role's temporary keys are asked for once.
        let provider = Arc::clone(reader.credentials());
        let retention = config.retention;
        let writer = move |now| -> Result<Arc<dyn ObjectStore>, Failure> {
            let writer = uploader(&builder, options.clone(), &provider, retention, now)?;
            Ok(Arc::new(writer))
        };
        Ok(Client {
            reader: Arc::new(reader),
            writer: Box::new(writer),
            url: format!("s3://{}", config.bucket),
            prefix: config.prefix.clone(),
            host: config.host.clone(),
        })
    }

    fn builder(&self) -> AmazonS3Builder {
        let config = &self.config;
        // Our own rounds come again: a try of ours must end within a stop's patience.
        let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: 2, retry_timeout: RETRY };
        let mut builder = AmazonS3Builder::new().with_bucket_name(&config.bucket).with_retry(retry);
        let region =
            config.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        match &config.endpoint {
            Some(endpoint) => builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false),
            // A dot in the bucket's name would not fit the certificate's wildcard.
            None => builder = builder.with_virtual_hosted_style_request(!config.bucket.contains('.')),
        }
        match &config.encryption {
            None => {}
            Some(Encryption::S3) => builder = set(builder, ENCRYPTION, "AES256"),
            Some(Encryption::Kms(key)) => {
                builder = set(builder, ENCRYPTION, "aws:kms");
                if let Some(key) = key {
                    builder = set(builder, KMS_KEY, key);
                }
            }
        }
        builder
    }

    fn options(&self) -> Result<ClientOptions, Failure> {
        let is_plain = self.config.endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
        let mut options = ClientOptions::new()
            .with_allow_http(is_plain)
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST)
            .with_pool_idle_timeout(CONNECT);
        if let Some(ca) = &self.config.ca {
            options = options.with_no_system_certificates(true);
            for certificate in Certificate::from_pem_bundle(ca).map_err(Failure::of_get)? {
                options = options.with_root_certificate(certificate);
            }
        }
        Ok(options)
    }
}

/// A client for one upload: retention counts from its time, and `object_store` has fixed headers for it alone.
fn uploader(
    builder: &AmazonS3Builder,
    options: ClientOptions,
    provider: &AwsCredentialProvider,
    retention: Option<Retention>,
    now: SystemTime,
) -> Result<AmazonS3, Failure> {
    let mut headers = HeaderMap::new();
    // S3 takes an upload under retention only with the checksum's name beside the checksum.
    headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static("SHA256"));
    if let Some(Retention { lock, time }) = retention {
        let mode = match lock {
            Lock::Compliance => "COMPLIANCE",
            Lock::Governance => "GOVERNANCE",
        };
        headers.insert("x-amz-object-lock-mode", HeaderValue::from_static(mode));
        headers.insert("x-amz-object-lock-retain-until-date", retain_until(now, time)?);
    }
    builder
        .clone()
        .with_credentials(Arc::clone(provider))
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(options.with_default_headers(headers))
        .build()
        .map_err(Failure::of_put)
}

/// `now` and `time` after it, to the second, as S3 wants it.
fn retain_until(now: SystemTime, time: Duration) -> Result<HeaderValue, Failure> {
    // The conversion from `SystemTime` panics beyond the year 9999, so the addition comes after it.
    let time = time::Duration::try_from(time).ok();
    let until = time.and_then(|time| OffsetDateTime::from(now).checked_add(time));
    let until = until.and_then(|until| until.replace_nanosecond(0).ok());
    let text = until.and_then(|until| until.format(&Rfc3339).ok());
    text.and_then(|text| HeaderValue::from_str(&text).ok())
        .ok_or_else(|| Failure::Local(std::io::Error::other("the clock is beyond the year 9999")))
}

/// Sets what `object_store` has a type for that it does not show, by the name that it documents.
fn set(builder: AmazonS3Builder, name: &str, value: &str) -> AmazonS3Builder {
    match name.parse::<AmazonS3ConfigKey>() {
        Ok(key) => builder.with_config(key, value),
        Err(_) => builder,
    }
}

/// Who we are by the environment: keys, a web identity, a container's role; without them `object_store` asks the instance.
/// Other variables of AWS could send segments elsewhere than the configuration says, and are not read.
fn from_environment(builder: AmazonS3Builder) -> AmazonS3Builder {
    IDENTITY.iter().fold(builder, |builder, name| match variable(name) {
        Some(value) => set(builder, &name.to_ascii_lowercase(), &value),
        None => builder,
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn text(source: &SecretSource) -> Result<String, Failure> {
    let secret: Secret = source.read().map_err(Failure::Secret)?;
    let text = std::str::from_utf8(secret.expose()).map(str::to_owned);
    text.map_err(|_| Failure::Secret("is not text".to_owned()))
}

const IDENTITY: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];
const ENCRYPTION: &str = "aws_server_side_encryption";
const KMS_KEY: &str = "aws_sse_kms_key_id";
const CONNECT: Duration = Duration::from_secs(5);
/// For one request: 64 MiB at 1 MB/s take a minute.
const REQUEST: Duration = Duration::from_secs(120);
/// After this long, a request that failed is not sent again.
const RETRY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_ends_at_a_whole_second_of_utc() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_020_445_678);
        let until = retain_until(now, Duration::from_secs(86_400)).unwrap();
        assert_eq!(until, "2025-11-25T21:40:45Z");
        assert!(retain_until(now, Duration::from_secs(u64::MAX >> 2)).is_err());
    }

    #[test]
    fn every_name_that_is_set_has_a_meaning() {
        for name in IDENTITY.iter().chain(&[ENCRYPTION, KMS_KEY]) {
            assert!(name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>().is_ok(), "{name}");
        }
    }
}
