//! Every revocation that is read revokes what it names, whatever stands beside it, and nothing panics.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis::identity::Revocations;
use portcullis::identity::revocation::{Entry, Source};

fuzz_target!(|input: (&[u8], Vec<&str>)| {
    let (file, members) = input;
    let file = Entry::parse_document(file).unwrap_or_default();
    let members: Vec<Entry> = members.into_iter().filter_map(Entry::parse_member).collect();
    let revocations = Revocations::new();
    for (source, entries) in [(Source::File, &file), (Source::Store, &members)] {
        let changes = revocations.replace(source, entries.clone());
        assert_eq!(changes, !entries.is_empty());
        assert!(!revocations.replace(source, entries.clone()), "the same again is no change");
        assert!(revocations.entries(source) <= entries.len());
    }
    for entry in file.iter().chain(&members) {
        let revoked = match entry {
            Entry::TokenId { issuer, id } => revocations.revoked(named(issuer), "", Some(id), None),
            Entry::Subject { issuer, subject } => revocations.revoked(named(issuer), subject, None, None),
            Entry::IssuedBefore { issuer, subject, before } => {
                let subject = subject.as_deref().unwrap_or("anybody");
                let issued = before.checked_sub(Duration::from_nanos(1));
                revocations.revoked(named(issuer), subject, None, issued)
            }
        };
        assert!(revoked.is_some(), "{entry:?}");
    }
});

/// An issuer that the entry is for.
fn named(issuer: &Option<String>) -> &str {
    issuer.as_deref().unwrap_or("any")
}
