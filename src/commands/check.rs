//! `portcullis check`: every fault of a configuration at once.

use std::path::Path;

use super::{Outcome, load};

pub(super) fn command(path: &Path) -> Outcome {
    let config = load(path)?;
    eprintln!(
        "{}: no fault found; {} issuer(s), listening on {}",
        path.display(),
        config.issuers.len(),
        config.listen.address
    );
    Ok(())
}
