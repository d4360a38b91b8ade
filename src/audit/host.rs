//! What the audit log calls this host: in the name of its chains, and in the keys of shipped segments.

/// The host's name, in characters that neither a record nor a key has to escape.
pub fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let safe = |character: char| if is_safe(character) { character } else { '_' };
    let name: String = name.chars().map(safe).take(MAX_HOST).collect();
    if is_host(&name) { name } else { "localhost".to_owned() }
}

/// Whether `name` can stand for a host.
pub fn is_host(name: &str) -> bool {
    // A path would lose a part that is all dots.
    name.len() <= MAX_HOST && name.chars().all(is_safe) && name.chars().any(|character| character != '.')
}

fn is_safe(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_')
}

/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_character_that_a_path_reads_otherwise() {
        for (name, expected) in
            [("edge-1.corp", true), ("Edge_1", true), ("a/b", false), ("", false), ("..", false), ("\u{fc}", false)]
        {
            assert_eq!(is_host(name), expected, "{name}");
        }
        assert!(is_host(&host()));
    }
}
