//! `portcullis audit key`: the public half of the key that signs.

use std::path::Path;

use super::super::{Outcome, load};
use crate::audit::SigningKey;

pub(super) fn command(config: &Path) -> Outcome {
    let config = load(config)?;
    let key = config.audit.signing_key.map_or_else(|| SigningKey::of_host(&config.state_directory), Ok)?;
    print!("{}", key.public().to_pem());
    eprintln!("key {}", key.public().id());
    Ok(())
}
