//! Identity with real peers: an OpenID provider, key sets on disk, and tokens bound to their sender.

use std::process::Command;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Client, Identity, Method};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::harness::{HAIKU, Process, Proxy, Sandbox, free_addresses, message, now, request_id, trusting, unique_id};

/// `oidc-provider`, which certified clients are tested against.
struct Provider {
    issuer: String,
    http: Client,
    _process: Process,
}

impl Provider {
    fn start() -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/idp");
        let installed = std::path::Path::new(folder).join("node_modules");
        assert!(installed.exists(), "`make test` installs the provider");
        let mut command = Command::new("node");
        command.arg("idp.mjs").current_dir(folder);
        let (process, line) = Process::start_and_read(command, "issuer ");
        let issuer = line.strip_prefix("issuer ").unwrap().to_owned();
        Self { issuer, http: Client::new(), _process: process }
    }

    async fn token(&self, client: &str, scope: &str) -> String {
        let form = format!("grant_type=client_credentials&scope={}", scope.replace(' ', "%20"));
        let request =
            self.http.post(format!("{}/token", self.issuer)).basic_auth(client, Some(format!("{client}-secret")));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    async fn tell(&self, change: &str) {
        let answer = self.http.post(format!("{}/{change}", self.issuer)).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    fn configuration(&self) -> String {
        let issuer = &self.issuer;
        format!(
            "[[issuer]]\nname = \"provider\"\nissuer = \"{issuer}\"\naudience = [\"api://claude\"]\nalgorithms = [\"RS256\"]\n\
             max_lifetime = \"10m\"\nteam_claim = \"groups\"\nrequired_claims = {{ tenant = \"acme\" }}\n"
        )
    }
}

#[tokio::test]
async fn tokens_of_a_real_provider_are_verified_through_discovery_and_rotation() {
    let provider = Provider::start();
    let proxy = Proxy::with("provider", &provider.configuration()).await;
    let haiku = provider.token("haiku-service", "claude:haiku").await;
    let answer = proxy.post(&haiku, &message(HAIKU)).await;
    assert_eq!(answer.status(), 200);
    let record = proxy.record(&request_id(&answer)).await;
    assert_eq!((&record["issuer"], &record["subject"]), (&json!("provider"), &json!("haiku-service")));
    let opus = proxy.post(&haiku, &message("claude-opus-5-5")).await;
    assert_eq!(opus.status(), 403);
    provider.tell("rotate").await;
    let rotated = provider.token("opus-service", "claude:haiku claude:opus").await;
    // The new key is fetched because a token names it, without a token of the old one being refused meanwhile.
    let mut tries = 0;
    while proxy.post(&rotated, &message(HAIKU)).await.status() != 200 {
        assert_eq!(proxy.post(&haiku, &message(HAIKU)).await.status(), 200);
        tries += 1;
        assert!(tries < 600, "the new key was never fetched");
        tokio::time::sleep(Duration::from_millis(50)).await; // a poll with a bound: a fetch waits for its interval
    }
    assert_eq!(proxy.post(&rotated, &message("claude-opus-5-5")).await.status(), 200);
    assert_eq!(proxy.post(&haiku, &message(HAIKU)).await.status(), 200);
}

#[tokio::test]
async fn a_start_without_the_provider_serves_from_the_keys_on_disk() {
    let provider = Provider::start();
    let configuration = provider.configuration();
    let proxy = Proxy::with("disk", &configuration).await;
    let token = provider.token("haiku-service", "claude:haiku").await;
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
    proxy.stop();
    drop(provider);
    let proxy = Proxy::with("disk", &configuration).await;
    assert_eq!(proxy.post(&token, &message(HAIKU)).await.status(), 200);
    assert!(proxy.metrics().await.contains("portcullis_jwks_age_seconds{issuer=\"provider\"}"));
}

#[tokio::test]
async fn one_issuers_outage_does_not_concern_another() {
    let (nowhere, _) = free_addresses();
    let down = format!("[[issuer]]\nname = \"down\"\nissuer = \"http://{nowhere}\"\naudience = [\"a\"]\n");
    let proxy = Proxy::start("outage", |text| format!("{text}\n{down}"));
    assert_eq!(proxy.call().await.status(), 200);
}

/// A key of a client that proves possession (RFC 9449).
struct Dpop {
    key: EncodingKey,
    jwk: Jwk,
}

impl Dpop {
    fn new() -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let jwk = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        Self { key, jwk }
    }

    fn thumbprint(&self) -> String {
        self.jwk.thumbprint(ThumbprintHash::SHA256).unwrap()
    }

    fn proof(&self, method: &str, url: &str, token: &str) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some("dpop+jwt".to_owned());
        header.jwk = Some(self.jwk.clone());
        let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(token));
        let claims = json!({ "jti": unique_id(), "htm": method, "htu": url, "iat": now(), "ath": hash });
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

#[tokio::test]
async fn a_token_bound_to_a_dpop_key_needs_a_fresh_proof() {
    let proxy = Proxy::with("dpop", "").await;
    let sandbox = Sandbox::shared();
    let dpop = Dpop::new();
    let mut claims = sandbox.claims("alice", "claude:haiku");
    claims["cnf"] = json!({ "jkt": dpop.thumbprint() });
    let token = sandbox.sign(&claims);
    let url = format!("{}/v1/messages", proxy.base_url);
    let send = |proof: Option<String>| {
        let call = proxy.http.post(format!("{url}?beta=true")).header("anthropic-version", "2023-06-01");
        let call = call.header("authorization", format!("DPoP {token}")).body(message(HAIKU).to_string());
        let call = proof.into_iter().fold(call, |call, proof| call.header("dpop", proof)).send();
        async { call.await.unwrap() }
    };
    let proof = dpop.proof("POST", &url, &token);
    assert_eq!(send(Some(proof.clone())).await.status(), 200);
    for (name, wrong) in [
        ("replayed", Some(proof)),
        ("missing", None),
        ("another method", Some(dpop.proof("GET", &url, &token))),
        ("another path", Some(dpop.proof("POST", &format!("{}/v1/files", proxy.base_url), &token))),
        ("another token", Some(dpop.proof("POST", &url, &proxy.token))),
        ("another key", Some(Dpop::new().proof("POST", &url, &token))),
        ("no proof at all", Some("a.b.c".to_owned())),
    ] {
        let answer = send(wrong).await;
        assert_eq!(answer.status(), 401, "{name}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("DPoP "), "{name}");
        assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "token_binding", "{name}");
    }
    assert_eq!(send(Some(dpop.proof("POST", &url, &token))).await.status(), 200);
}

#[tokio::test]
async fn a_token_bound_to_a_client_certificate_is_good_on_its_connection_only() {
    let sandbox = Sandbox::shared();
    let folder = sandbox.folder.path();
    let tls = "tls = { certificate = \"server.crt\", key = \"server.key\" }\nclient_ca = \"ca.crt\"\n\
               client_certificate_optional = true\n[admin]";
    let proxy = Proxy::start("bound", |text| text.replace("[admin]", tls));
    proxy.until_ready().await;
    let url = proxy.base_url.replace("http://", "https://");
    let identity = |name: &str| {
        let read = |end: &str| std::fs::read(folder.join(format!("{name}.{end}"))).unwrap();
        Identity::from_pem(&[read("crt"), read("key")].concat()).unwrap()
    };
    let pem = std::fs::read(folder.join("client.crt")).unwrap();
    let der = portcullis::config::pem::certificates(&pem).unwrap().remove(0);
    let mut claims = sandbox.claims("alice", "claude:haiku");
    claims["cnf"] = json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&der)) });
    let own = sandbox.sign(&claims);
    claims["cnf"] = json!({ "x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(b"another certificate")) });
    let anothers = sandbox.sign(&claims);
    let plain = trusting(&sandbox.ready.ca_file).build().unwrap();
    let with_certificate = trusting(&sandbox.ready.ca_file).identity(identity("client")).build().unwrap();
    for (http, token, status) in [
        (&with_certificate, &own, 200),
        (&with_certificate, &anothers, 401),
        (&plain, &own, 401),
        (&plain, &proxy.token, 200),
    ] {
        let call = http.request(Method::POST, format!("{url}/v1/messages")).bearer_auth(token);
        let answer =
            call.header("anthropic-version", "2023-06-01").body(message(HAIKU).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), status);
        if status == 401 {
            assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "token_binding");
        }
    }
}

#[tokio::test]
async fn an_issuer_may_demand_that_its_tokens_are_bound() {
    let proxy = Proxy::start("demand", |text| {
        text.replace("max_lifetime = \"24h\"", "require_binding = \"any\"")
            .replace("[admin]", "origins = [\"https://gateway.example\"]\n[admin]")
    });
    proxy.until_ready().await;
    let answer = proxy.post(&proxy.token, &message(HAIKU)).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(proxy.record(&request_id(&answer)).await["reason"], "token_binding");
}
