use std::sync::atomic::Ordering;

use rcgen::{KeyPair, PublicKeyData};

use super::super::direct::TlsFault;
use super::super::testing::{Authority, Files, Leaf, Listening, NAME};
use super::*;

fn digest(leaf: &Leaf) -> [u8; 32] {
    Sha256::digest(leaf.der()).into()
}

/// The same key in another certificate.
fn renewed(authority: &Authority, leaf: &Leaf) -> Leaf {
    authority.leaf_of(NAME, KeyPair::from_pem(&leaf.key.serialize_pem()).unwrap(), -1, 90)
}

fn gate(authority: &Authority, pins: &[Pin]) -> PinGate {
    PinGate::new(Arc::new(Files::new(authority, None).direct(pins)))
}

#[test]
fn pins_are_written_as_they_are_read() {
    // RFC 7469 section 2.1.5 has this hash.
    let text = "sha256/d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM=";
    assert_eq!(text.parse::<Pin>().unwrap().to_string(), text);
    for wrong in
        ["", "sha256/", "sha1/d6qzRu9zOECb90Uez27xWltNsj0=", "sha256/d6qzRu9zOECb90Uez27xWltNsj0e1Md7GkYYkVoZWmM"]
    {
        assert_eq!(wrong.parse::<Pin>(), Err(NoPin), "{wrong}");
    }
}

#[test]
fn a_pin_is_the_hash_of_the_public_key_alone() {
    let authority = Authority::new();
    let leaf = authority.leaf(NAME);
    assert_eq!(leaf.pin(), Pin(Sha256::digest(leaf.key.subject_public_key_info()).into()));
    assert_eq!(renewed(&authority, &leaf).pin(), leaf.pin());
    assert_eq!(Pin::of(&CertificateDer::from_slice(b"0")), None);
}

proptest::proptest! {
    #[test]
    fn every_pin_reads_as_it_was_written_and_no_text_panics(hash: [u8; 32], text: String) {
        proptest::prop_assert_eq!(Pin(hash).to_string().parse(), Ok(Pin(hash)));
        let read = format!("sha256/{text}").parse::<Pin>();
        proptest::prop_assert!(read.is_err() || text.len() == 44);
    }
}

#[tokio::test]
async fn our_own_connections_ask_chain_and_name_before_the_pin() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (leaf, next) = (authority.leaf(NAME), authority.leaf(NAME));
    let pins = [next.pin(), leaf.pin()];
    let of_stranger = renewed(&stranger, &leaf);
    let of_other_name = authority.leaf_of("other", KeyPair::from_pem(&leaf.key.serialize_pem()).unwrap(), -1, 9);
    let unpinned = authority.leaf(NAME);
    for (shown, expected) in [
        (&leaf, None),
        (&next, None),
        (&renewed(&authority, &leaf), None),
        (&unpinned, Some(TlsFault::NotPinned(unpinned.pin()))),
        (&of_stranger, Some(TlsFault::UnknownIssuer)),
        (&of_other_name, Some(TlsFault::Name { presented: vec!["DnsName(\"other\")".to_owned()] })),
    ] {
        let upstream = Listening::tls(shown.open()).await;
        let shaken = Files::new(&authority, None).direct(&pins).handshake(upstream.address).await;
        assert_eq!(shaken.err(), expected.map(DirectFault::Tls));
    }
}

#[tokio::test]
async fn a_leaf_is_learned_by_one_handshake_and_known_from_then_on() {
    let authority = Authority::new();
    let leaf = authority.leaf(NAME);
    let upstream = Listening::tls(leaf.open()).await;
    let gate = gate(&authority, &[leaf.pin()]);
    let digest = digest(&leaf);
    let asked = (0..50).map(|_| gate.admits(upstream.address, &digest));
    assert!(futures_util::future::join_all(asked).await.iter().all(Result::is_ok));
    assert_eq!(gate.admits(upstream.address, &digest).await, Ok(()));
    assert_eq!(upstream.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_renewed_leaf_of_the_same_key_is_admitted_and_others_are_refused() {
    let authority = Authority::new();
    let leaf = authority.leaf(NAME);
    let gate = gate(&authority, &[leaf.pin()]);
    let renewed = renewed(&authority, &leaf);
    let upstream = Listening::tls(renewed.open()).await;
    assert_eq!(gate.admits(upstream.address, &digest(&renewed)).await, Ok(()));
    // Pinned, but not what our own handshake is shown; then nothing that could be a digest.
    assert_eq!(gate.admits(upstream.address, &digest(&leaf)).await, Err(PinFault::NotShown));
    assert_eq!(gate.admits(upstream.address, b"").await, Err(PinFault::NotShown));
    let unpinned = authority.leaf(NAME);
    let other = Listening::tls(unpinned.open()).await;
    let refused = gate.admits(other.address, &digest(&unpinned)).await;
    assert_eq!(refused, Err(PinFault::Handshake(TlsFault::NotPinned(unpinned.pin()).into())));
}

#[tokio::test]
async fn a_caller_that_goes_leaves_the_handshake_to_the_next() {
    let authority = Authority::new();
    let leaf = authority.leaf(NAME);
    let upstream = Listening::tls(leaf.open()).await;
    let gate = gate(&authority, &[leaf.pin()]);
    let digest = digest(&leaf);
    let mut first = Box::pin(gate.admits(upstream.address, &digest));
    let second = gate.admits(upstream.address, &digest);
    assert!(futures_util::poll!(&mut first).is_pending());
    drop(first);
    assert_eq!(second.await, Ok(()));
    let left = gate.flights.lock().unwrap().iter().filter(|(_, flight)| flight.strong_count() > 0).count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn without_pins_nothing_is_asked() {
    let authority = Authority::new();
    let nobody = "127.0.0.1:1".parse().unwrap();
    assert_eq!(gate(&authority, &[]).admits(nobody, b"").await, Ok(()));
}

#[test]
fn known_leaves_are_bounded_and_forget_the_oldest() {
    let known = KnownLeaves::new();
    let leaf = |number: usize| CertificateDer::from(number.to_be_bytes().to_vec());
    for number in (0..=KnownLeaves::MAX).chain([KnownLeaves::MAX]) {
        known.learn(&leaf(number));
    }
    assert_eq!(known.0.load().len(), KnownLeaves::MAX);
    let is_known = |number| known.contains(&Sha256::digest(leaf(number)));
    assert!(!is_known(0) && is_known(1) && is_known(KnownLeaves::MAX));
}
