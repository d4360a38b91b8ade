use std::future::ready;

use serde_json::{Value, json};

use super::super::tests::{at, federated};
use super::super::{NamedKey, Origin};
use super::*;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.real-identity.c2ln";

struct Workload {
    folder: tempfile::TempDir,
    federation: Federation,
}

impl Workload {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        let NamedKey { origin: Origin::Federation(federation), .. } = federated(&path) else { panic!("no federation") };
        Self { folder, federation }
    }

    fn write(&self, token: &[u8]) {
        std::fs::write(self.folder.path().join("token"), token).unwrap();
    }

    /// Exchanges once; `answer` is what the endpoint says to the request.
    fn exchange(
        &self,
        answer: impl Fn(Request<Bytes>) -> Result<Response<Bytes>, String>,
    ) -> Result<Issued, ExchangeFault> {
        let send = |request| ready(answer(request));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.federation.exchange(&"two".into(), &send, at(0)))
    }

    /// Exchanges in vain; what comes of it when `look` has seen the request.
    fn request(&self, look: impl Fn(&Request<Bytes>)) -> ExchangeFault {
        let fault = self.exchange(|request| {
            look(&request);
            Err("seen".to_owned())
        });
        fault.unwrap_err()
    }

    fn answered(&self, status: u16, body: impl Into<Bytes>) -> Result<Issued, ExchangeFault> {
        let body = body.into();
        self.exchange(|_| Ok(Response::builder().status(status).body(body.clone()).unwrap()))
    }
}

fn token(changes: &Value) -> String {
    let mut answer =
        json!({"access_token": "sk-ant-oat-real", "token_type": "Bearer", "expires_in": 600, "scope": "x"});
    answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    answer.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    answer.to_string()
}

#[test]
fn the_exchange_is_that_of_the_official_sdks() {
    let mut workload = Workload::new();
    let seen = ExchangeFault::Unreachable("seen".to_owned());
    let fault = workload.request(|request| {
        assert_eq!((request.method(), request.uri().to_string()), (&Method::POST, "/v1/oauth/token".to_owned()));
        assert_eq!(request.headers()["anthropic-beta"], "oauth-2025-04-20,oidc-federation-2026-04-01");
        assert_eq!(request.headers()["content-type"], "application/json");
        let expected = json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": TOKEN,
            "federation_rule_id": "fdrl_1",
            "organization_id": "4d7b4d5c-0000-4000-8000-000000000001",
            "workspace_id": "wrkspc_1",
        });
        assert_eq!(serde_json::from_slice::<Value>(request.body()).unwrap(), expected);
    });
    assert_eq!(fault, seen);
    workload.federation.service_account = Some("svac_1".to_owned());
    workload.federation.workspace = None;
    let fault = workload.request(|request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["service_account_id"], "svac_1");
        assert_eq!(body.get("workspace_id"), None);
    });
    assert_eq!(fault, seen);
}

#[test]
fn what_is_given_is_a_bearer_for_its_time() {
    let issued = Workload::new().answered(200, token(&json!({}))).unwrap();
    assert_eq!(issued.life, Duration::from_secs(600));
    let mut headers = http::HeaderMap::new();
    issued.key.authenticate(&mut headers);
    assert_eq!(headers["authorization"], "Bearer sk-ant-oat-real");
    assert!(!issued.key.has_ended(at(594)) && issued.key.has_ended(at(595)), "it is not used in its last seconds");
    for (changes, life) in [
        (json!({"token_type": "bearer"}), 600),
        (json!({"token_type": null}), 600),
        (json!({"expires_in": 59.9}), 59),
        (json!({"expires_in": 1}), 1),
    ] {
        assert_eq!(Workload::new().answered(200, token(&changes)).unwrap().life.as_secs(), life, "{changes}");
    }
}

#[test]
fn an_answer_that_is_no_token_gives_none() {
    for changes in [
        json!({"token_type": "mac"}),
        json!({"access_token": null}),
        json!({"access_token": ""}),
        json!({"access_token": 7}),
        json!({"access_token": "sk real"}),
        json!({"access_token": "x".repeat(20_000)}),
        json!({"expires_in": null}),
        json!({"expires_in": 0}),
        json!({"expires_in": 0.5}),
        json!({"expires_in": -600}),
        json!({"expires_in": 1e300}),
        json!({"expires_in": u64::MAX}),
        json!({"expires_in": "soon"}),
    ] {
        assert!(Workload::new().answered(200, token(&changes)).is_err(), "{changes}");
    }
    for body in ["", "[]", "null", "<html>", r#"{"access_token": "a", "access_token": "b", "expires_in": 1}"#] {
        assert!(matches!(Workload::new().answered(200, body), Err(ExchangeFault::Malformed(_))), "{body}");
    }
    let long = token(&json!({"padding": "x".repeat(MAX_ANSWER)}));
    assert_eq!(Workload::new().answered(200, long).unwrap_err(), ExchangeFault::Malformed("is above 1 MiB"));
}

#[test]
fn a_refusal_shows_its_status_and_code_alone() {
    for (body, shown) in [
        (json!({"error": "invalid_grant", "error_description": TOKEN}), " (invalid_grant)"),
        (
            json!({"type": "error", "error": {"type": "authentication_error", "message": TOKEN}}),
            " (authentication_error)",
        ),
        (json!({"error": TOKEN}), ""),
        (json!({"error": format!("{}\n", "invalid")}), ""),
        (json!({"error": "x".repeat(41)}), ""),
        (json!(TOKEN), ""),
    ] {
        let fault = Workload::new().answered(401, body.to_string()).unwrap_err();
        assert_eq!(fault.to_string(), format!("the token endpoint refuses with 401 Unauthorized{shown}"));
    }
    let redirect = Workload::new().answered(302, token(&json!({}))).unwrap_err();
    assert_eq!(redirect.to_string(), "the token endpoint refuses with 302 Found");
}

#[test]
fn the_identity_token_is_read_anew_for_each_exchange() {
    let workload = Workload::new();
    workload.write(b"another.identity.token");
    let fault = workload.request(|request| {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(body["assertion"], "another.identity.token");
    });
    assert_eq!(fault, ExchangeFault::Unreachable("seen".to_owned()));
}

#[test]
fn what_is_no_identity_token_is_not_sent() {
    let workload = Workload::new();
    let long = vec![b'x'; 16_385];
    for wrong in [b"".as_slice(), b"\n", b"a b", b"-----BEGIN\nkey", b"\xff\xfe", &long] {
        workload.write(wrong);
        let fault = workload.exchange(|_| panic!("it was sent")).unwrap_err();
        assert!(matches!(fault, ExchangeFault::Identity(_)), "{fault}");
    }
    std::fs::remove_file(workload.folder.path().join("token")).unwrap();
    assert!(workload.exchange(|_| panic!("it was sent")).is_err());
}

#[test]
fn neither_debug_output_nor_faults_show_a_token() {
    let workload = Workload::new();
    let issued = workload.answered(200, token(&json!({}))).unwrap();
    let faults = [
        workload.answered(200, token(&json!({"token_type": TOKEN}))).unwrap_err(),
        workload.answered(200, format!("{{\"access_token\": {TOKEN}")).unwrap_err(),
        workload.answered(400, TOKEN).unwrap_err(),
        workload.answered(200, token(&json!({"access_token": "real\n"}))).unwrap_err(),
    ];
    let shown = format!("{:?} {issued:?} {faults:?} {}", workload.federation, faults[0]);
    assert!(!shown.contains("real"), "{shown}");
}
