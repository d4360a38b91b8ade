//! Digests of the bodies that pass: the receipt that nothing was altered on the way.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::audit::{Digests, to_hex};

/// What has passed of a request's body and of its answer's.
#[derive(Default)]
pub(super) struct Receipt {
    /// The body that was judged, and its digest.
    judged: Option<(Bytes, [u8; 32])>,
    /// What this attempt has sent up, unless it is the judged body itself.
    sent: Option<Sha256>,
    /// Whether this attempt has sent the judged body, by its memory: bytes that are shared cannot differ.
    sent_judged: bool,
    received_back: Option<Sha256>,
    /// What the client was sent, from where it differs from what the upstream sent.
    sent_back: Option<Sha256>,
}

impl Receipt {
    /// Of a body that was read whole.
    pub(super) fn of_judged(body: Bytes, digest: [u8; 32]) -> Self {
        Self { judged: Some((body, digest)), ..Self::default() }
    }

    /// The digest of the judged body.
    pub(super) fn judged(&self) -> Option<&[u8; 32]> {
        self.judged.as_ref().map(|(_, digest)| digest)
    }

    /// Another attempt sends from the start.
    pub(super) fn restart(&mut self) {
        self.sent = None;
        self.sent_judged = false;
    }

    /// A piece goes to the upstream.
    pub(super) fn up(&mut self, piece: &Bytes) {
        let whole = self.judged.as_ref().filter(|_| self.sent.is_none());
        if whole.is_some_and(|(body, _)| body.as_ptr() == piece.as_ptr() && body.len() == piece.len()) {
            self.sent_judged = true;
        } else {
            self.sent.get_or_insert_default().update(piece);
        }
    }

    /// A piece came from the upstream and goes to the client as it is.
    pub(super) fn relay(&mut self, piece: &[u8]) {
        self.received_back.get_or_insert_default().update(piece);
        if let Some(sent) = &mut self.sent_back {
            sent.update(piece);
        }
    }

    /// A piece came from the upstream and is held back.
    pub(super) fn hold(&mut self, piece: &[u8]) {
        let received = self.received_back.get_or_insert_default();
        self.sent_back.get_or_insert_with(|| received.clone());
        received.update(piece);
    }

    /// A piece of ours goes to the client.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let received = &self.received_back;
        self.sent_back.get_or_insert_with(|| received.clone().unwrap_or_default()).update(piece);
    }

    /// What the record shows. Of an upload, which is read piece by piece as it goes up, what was received is what was sent.
    pub(super) fn digests(&self) -> Digests {
        let finish = |hasher: &Sha256| to_hex(&hasher.clone().finalize());
        let judged = self.judged().map(|digest| to_hex(digest));
        let sent = self.sent.as_ref().map(finish);
        Digests {
            request_received: judged.clone().or_else(|| sent.clone()),
            request_sent: if self.sent_judged { judged } else { sent },
            response_received: self.received_back.as_ref().map(finish),
            response_sent: self.sent_back.as_ref().or(self.received_back.as_ref()).map(finish),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps)] // as the record has it
    fn of(bytes: &[u8]) -> Option<String> {
        Some(to_hex(&Sha256::digest(bytes)))
    }

    fn judged(body: &Bytes) -> Receipt {
        Receipt::of_judged(body.clone(), Sha256::digest(body).into())
    }

    #[test]
    fn what_passes_as_it_is_has_equal_digests() {
        let body = Bytes::from_static(b"{\"model\":1}");
        let mut receipt = judged(&body);
        receipt.up(&body);
        receipt.relay(b"one ");
        receipt.relay(b"two");
        let digests = receipt.digests();
        assert_eq!((digests.request_received, digests.request_sent), (of(&body), of(&body)));
        assert_eq!((digests.response_received, digests.response_sent), (of(b"one two"), of(b"one two")));
    }

    #[test]
    fn other_bytes_than_the_judged_ones_show() {
        let body = Bytes::from_static(b"judged");
        let mut receipt = judged(&body);
        receipt.up(&Bytes::from_static(b"altered"));
        assert_eq!(receipt.digests().request_sent, of(b"altered"));
        receipt.restart();
        assert_eq!(receipt.digests().request_sent, None, "the next attempt has sent nothing yet");
        receipt.up(&body.slice(..3));
        receipt.up(&body.slice(3..));
        assert_eq!(receipt.digests().request_sent, of(b"judged"), "in two pieces");
    }

    #[test]
    fn what_is_changed_or_added_is_told_apart() {
        let mut receipt = Receipt::default();
        receipt.hold(b"a list of ");
        receipt.hold(b"models");
        receipt.add(b"a shorter list");
        let digests = receipt.digests();
        assert_eq!(
            (digests.response_received, digests.response_sent),
            (of(b"a list of models"), of(b"a shorter list"))
        );

        let mut receipt = Receipt::default();
        receipt.relay(b"event one");
        receipt.add(b"event: error");
        receipt.relay(b"late");
        let digests = receipt.digests();
        assert_eq!(digests.response_received, of(b"event onelate"));
        assert_eq!(digests.response_sent, of(b"event oneevent: errorlate"));
    }

    #[test]
    fn an_upload_is_received_as_it_is_sent() {
        let mut receipt = Receipt::default();
        receipt.up(&Bytes::from_static(b"one "));
        receipt.up(&Bytes::from_static(b"file"));
        let digests = receipt.digests();
        assert_eq!((digests.request_received, digests.request_sent), (of(b"one file"), of(b"one file")));
        assert_eq!(Receipt::default().digests(), Digests::default());
    }
}
