use std::time::Duration;

use rcgen::KeyPair;
use rustls::ServerConfig;

use super::super::testing::{ANSWER, Authority, DAY, Files, Listening, NAME, TIMEOUTS};
use super::*;

const LONG: Duration = Duration::from_secs(10);

fn get(path: &str) -> Request<Bytes> {
    Request::get(format!("https://elsewhere{path}")).header("x-test", "1").body(Bytes::new()).unwrap()
}

/// What a handshake with an upstream of this set-up comes to, for one who believes `authority`.
async fn handshake(authority: &Authority, upstream: ServerConfig) -> Result<Handshake, DirectFault> {
    let upstream = Listening::tls(upstream).await;
    Files::new(authority, None).direct(&[]).handshake(upstream.address).await
}

#[tokio::test]
async fn a_handshake_shows_what_was_agreed_on() {
    let authority = Authority::new();
    let leaf = authority.leaf(NAME);
    let shown = handshake(&authority, leaf.open()).await.unwrap().tls.unwrap();
    assert_eq!((shown.version, shown.leaf_pin), ("TLSv1_3", leaf.pin()));
    assert!(shown.leaf_issuer.starts_with("CN="), "{}", shown.leaf_issuer);
    let left = shown.leaf_not_after.duration_since(SystemTime::now()).unwrap();
    assert!(left > 59 * DAY && left <= 60 * DAY, "{left:?}");
}

#[tokio::test]
async fn each_wrong_certificate_has_its_own_fault() {
    let authority = Authority::new();
    let made = |from, to| authority.leaf_of(NAME, KeyPair::generate().unwrap(), from, to);
    let DirectFault::Tls(wrong_name) = handshake(&authority, authority.leaf("other").open()).await.unwrap_err() else {
        panic!("no fault of TLS")
    };
    assert_eq!(wrong_name, TlsFault::Name { presented: vec!["DnsName(\"other\")".to_owned()] });
    let expired = handshake(&authority, made(-9, -1).open()).await.unwrap_err().to_string();
    assert!(expired.starts_with("no TLS: the upstream's certificate has ended at 20"), "{expired}");
    let early = handshake(&authority, made(1, 9).open()).await.unwrap_err();
    assert_eq!(early, TlsFault::Time("does not count yet".to_owned()).into());
    let stranger = handshake(&authority, Authority::new().leaf(NAME).open()).await.unwrap_err();
    assert_eq!(stranger, TlsFault::UnknownIssuer.into());
    let (ours, namesake) = (Authority::named("CA", -1, 9), Authority::named("CA", -1, 9));
    assert_eq!(handshake(&ours, namesake.leaf(NAME).open()).await.unwrap_err(), stranger);
}

#[tokio::test]
async fn a_refused_client_certificate_is_told_by_the_handshake() {
    let authority = Authority::new();
    let (ours, others) = (authority.leaf("edge"), Authority::new().leaf("edge"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut config = authority.asking(&authority.leaf(NAME), &[version]);
        config.send_tls13_tickets = 0; // the hardest case: nothing says that we were accepted
        let upstream = Listening::tls(config).await;
        for (client, accepted) in [(None, false), (Some(&others), false), (Some(&ours), true)] {
            let shaken = Files::new(&authority, client).direct(&[]).handshake(upstream.address).await;
            match shaken {
                Ok(shaken) => assert!(accepted && shaken.tls.unwrap().version == version_name(version)),
                Err(DirectFault::Tls(TlsFault::ClientCertificateRefused(_))) => assert!(!accepted),
                // TLS 1.2 has no alert of its own for a client that shows none.
                Err(fault) => panic!("{version:?} {fault}"),
            }
        }
    }
}

fn version_name(version: &rustls::SupportedProtocolVersion) -> &'static str {
    version.version.as_str().unwrap()
}

#[tokio::test]
async fn a_session_ticket_ends_the_wait_for_the_last_word() {
    let authority = Authority::new();
    let upstream = Listening::tls(authority.leaf(NAME).open()).await;
    let began = std::time::Instant::now();
    Files::new(&authority, None).direct(&[]).handshake(upstream.address).await.unwrap();
    assert!(began.elapsed() < LAST_WORD, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_has_the_upstreams_name_and_its_own_headers() {
    let authority = Authority::new();
    let upstream = Listening::start(Some(authority.leaf(NAME).open()), b"{head}".to_vec()).await;
    let direct = Files::new(&authority, None).direct(&[]);
    for _ in 0..2 {
        let answer = direct.send(upstream.address, get("/v1/models?limit=1"), LONG).await.unwrap();
        assert_eq!(answer.status(), 200);
        let head = std::str::from_utf8(answer.body()).unwrap();
        assert!(head.starts_with("GET /v1/models?limit=1 HTTP/1.1\r\n"), "{head}");
        for line in ["host: api.anthropic.com\r\n", "x-test: 1\r\n", "connection: close\r\n"] {
            assert!(head.contains(line), "{head}");
        }
    }
}

#[tokio::test]
async fn plain_text_is_spoken_without_trust() {
    let upstream = Listening::start(None, b"{head}".to_vec()).await;
    let direct = Direct::new(None, "", TIMEOUTS);
    assert_eq!(direct.handshake(upstream.address).await, Ok(Handshake { tls: None }));
    let answer = direct.send(upstream.address, get("/"), LONG).await.unwrap();
    let head = std::str::from_utf8(answer.body()).unwrap();
    assert!(head.contains(&format!("host: {}\r\n", upstream.address)), "{head}");
}

#[tokio::test]
async fn answers_are_bounded_and_must_be_whole() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let large = [head(MAX_BODY + 1), vec![b'x'; MAX_BODY + 1]].concat();
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; MAX_BODY + 1]].concat();
    let whole = [head(MAX_BODY), vec![b'x'; MAX_BODY]].concat();
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(MAX_HEAD)).into_bytes();
    let many_headers = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000)).into_bytes();
    let direct = Direct::new(None, NAME, TIMEOUTS);
    for (answer, expected) in [
        (whole, Ok(MAX_BODY)),
        (ANSWER.to_vec(), Ok(2)),
        (large, Err("the answer is too large")),
        (endless, Err("the answer is too large")),
        (long_head, Err("the answer is too large")),
        (many_headers, Err("the answer is too large")),
        (head(5), Err("no HTTP: ")),
        (b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), Err("no HTTP: ")),
        (Vec::new(), Err("no HTTP: ")),
    ] {
        let shown = String::from_utf8_lossy(&answer).chars().take(60).collect::<String>();
        let upstream = Listening::start(None, answer).await;
        let answer = direct.send(upstream.address, get("/"), LONG).await;
        match (answer, expected) {
            (Ok(answer), Ok(length)) => assert_eq!(answer.body().len(), length),
            (Err(fault), Err(expected)) => assert!(fault.to_string().starts_with(expected), "{shown}: {fault}"),
            (answer, _) => panic!("{shown}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn silence_ends_at_the_bound_of_its_phase() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let short = Duration::from_millis(50);
    let store = Files::new(&Authority::new(), None).store(&[]);
    let direct = Direct::new(Some(store), NAME, ConnectTimeouts { tcp: LONG, tls: short });
    assert_eq!(direct.handshake(address).await, Err(DirectFault::TlsTimeout));
    let direct = Direct::new(None, NAME, TIMEOUTS);
    assert_eq!(direct.send(address, get("/"), short).await.unwrap_err(), DirectFault::Timeout);
    drop(silent);
    assert!(matches!(direct.handshake(address).await, Err(DirectFault::Tcp(_))));
}
