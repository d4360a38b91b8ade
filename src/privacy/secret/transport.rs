//! Secrets that the protocol or the file around them makes known.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{entropy, placeholder, random};

pub(super) const RULES: &[Rule] = &[
    // RFC 9110 section 11.6.2: a scheme, then what proves the caller.
    Rule {
        longest: 2048,
        check: is_credential,
        ..Rule::new(
            Kind::CURL_AUTH,
            "authorization",
            &["authorization"],
            r#"(?i:authorization)\\?["'\]]{0,2}[ \t]{0,4}(?:=>|[:=,])[ \t]{0,4}\\?["'`]?(?:(?i:basic|bearer|(?:api-?)?token|apikey|key|oauth|digest|negotiate|ssws|bot|aws4-hmac-sha256)[ \t]{1,4}(?:(?i:token|key|credential)=)?)?"?(?P<v>[0-9A-Za-z_=~@.+/-]{8,})"#,
        )
    },
    Rule {
        longest: 2048,
        check: |value| value.len() >= 16 && is_credential(value),
        ..Rule::new(Kind::CURL_AUTH, "bearer", &["bearer "], r"(?i:bearer) (?P<v>[0-9A-Za-z_=~@.+/-]{16,})")
    },
    // RFC 7617 in any place: base64 of user and password.
    Rule {
        check: |value| value.len() >= 12 && random(value),
        ..Rule::new(Kind::CURL_AUTH, "basic", &["basic "], r"(?i:basic) (?P<v>[0-9A-Za-z+/]{12,400}={0,2})")
    },
    // `curl -u user:password`, on one line or on lines that a backslash continues.
    Rule {
        longest: 1024,
        apart: true,
        check: is_user_and_password,
        ..Rule::new(
            Kind::CURL_AUTH,
            "curl_user",
            &["curl "],
            r#"curl(?s-u:[\x00-\x7f]){0,600}?[ \t\n\r](?:-u|--user|--proxy-user|-U)(?:=|[ \t]{0,5})(?P<v>"[^"\n]{3,200}"(?::"[^"\n]{3,200}")?|'[^'\n]{3,200}'(?::'[^'\n]{3,200}')?|[^\s"':]{1,100}:[^\s"']{3,200})(?:\s|$)"#,
        )
    },
    // RFC 3986 section 3.2.1: user and password before the host.
    Rule {
        check: is_user_and_password,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "url_user",
            &["://"],
            r#"://(?P<v>[^\s/:@"'<>{}$?#\\]{0,80}:[^\s/@"'<>{}\\]{3,160})@[0-9A-Za-z\[]"#,
        )
    },
    // NuGet's configuration and others that name and value their settings in XML.
    Rule {
        check: |value| value.len() >= 4 && !placeholder(value) && !(value.starts_with('%') && value.ends_with('%')),
        ..Rule::new(
            Kind::OTHER_SECRET,
            "xml_password",
            &["password\""],
            r#"(?i:password)"\s{1,4}value="(?P<v>[^"\n]{4,200})""#,
        )
    },
    // Machine, login, password. https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html
    Rule {
        check: |value| !placeholder(value),
        ..Rule::new(
            Kind::OTHER_SECRET,
            "netrc",
            &["machine "],
            r"machine[ \t]{1,4}[0-9A-Za-z_.-]{1,100}\s{1,8}login[ \t]{1,4}[^\s]{1,100}\s{1,8}password[ \t]{1,4}(?P<v>[^\s]{4,200})",
        )
    },
    // Docker's and npm's own: user and password in base64.
    Rule {
        check: random,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "registry_auth",
            &["\"auth\"", "_auth=", "_authtoken="],
            r#"(?:"auth"\s{0,4}:\s{0,4}"|_auth(?:Token)?=)(?P<v>[0-9A-Za-z+/_-]{12,400}={0,2})"#,
        )
    },
    // What a Secret of Kubernetes holds, before its kind and after. Names are masked with their values, as the block they are.
    Rule {
        longest: Rule::LONGEST,
        apart: true,
        ..Rule::new(
            Kind::K8S_SECRET,
            "kubernetes_after_kind",
            &["kind: secret", "kind: \"secret", "kind: 'secret"],
            concat!(r#"(?i:kind):[ \t]["']?(?i:secret)["']?[ \t]{0,4}\r?\n(?:[^\n]*\n){0,40}?"#, block!()),
        )
    },
    Rule {
        longest: Rule::LONGEST,
        apart: true,
        ..Rule::new(
            Kind::K8S_SECRET,
            "kubernetes_before_kind",
            &["\ndata:", "\nstringdata:"],
            concat!(r"\n", block!(), r#"(?:[^\n]*\n){0,40}?(?i:kind):[ \t]["']?(?i:secret)["']?(?:\s|$)"#),
        )
    },
    Rule {
        longest: Rule::LONGEST,
        apart: true,
        ..Rule::new(
            Kind::K8S_SECRET,
            "kubernetes_json",
            &["\"kind\""],
            r#""kind"\s{0,4}:\s{0,4}"Secret"[^{}]*(?:\{[^{}]*\}[^{}]*){0,8}?"(?:data|stringData)"\s{0,4}:\s{0,4}\{(?P<v>[^{}]{8,})\}"#,
        )
    },
    Rule {
        longest: Rule::LONGEST,
        apart: true,
        ..Rule::new(
            Kind::K8S_SECRET,
            "kubernetes_json_before_kind",
            &["\"data\"", "\"stringdata\""],
            r#""(?:data|stringData)"\s{0,4}:\s{0,4}\{(?P<v>[^{}]{8,})\}[^{}]*(?:\{[^{}]*\}[^{}]*){0,8}?"kind"\s{0,4}:\s{0,4}"Secret""#,
        )
    },
];

/// The lines of a mapping of names to base64 below `data:`, or to one word below `stringData:`. A name may have its value on
/// lines of its own.
macro_rules! block {
    () => {
        r#"(?:[ \t]*(?:stringD|d)ata:[^\n]{0,80}\n(?:[ \t]*#[^\n]*\n)*[ \t]*(?P<v>["']?[0-9A-Za-z_./-]{1,100}["']?:[ \t]*(?:[|>][+-]?[ \t]*\n[ \t]+)?["']?[0-9A-Za-z+/]{4,}={0,2}["']?[ \t]*(?:\r?\n[ \t]+(?:["']?[0-9A-Za-z_./-]{1,100}["']?:[ \t]*(?:[|>][+-]?[ \t]*\n[ \t]+)?)?["']?[0-9A-Za-z+/]{4,}={0,2}["']?[ \t]*)*)(?:\r?\n|$))"#
    };
}
use block;

fn is_credential(value: &str) -> bool {
    !placeholder(value)
        && entropy(value) >= 2.75
        && (value.bytes().any(|byte| byte.is_ascii_digit()) || value.len() >= 20 && random(value))
}

/// Whether a `user:password` holds a password rather than the word for one.
fn is_user_and_password(value: &str) -> bool {
    if value.starts_with('<') || value.starts_with('$') && value.contains(":$") {
        return false;
    }
    let plain: String = value.chars().filter(|c| !matches!(c, '"' | '\'')).collect();
    let Some((user, password)) = plain.split_once(':') else {
        return false;
    };
    let secret = if password.is_empty() { user } else { password };
    let word = secret.to_ascii_lowercase();
    let is_blank = secret.bytes().all(|byte| matches!(byte, b'*' | b'x' | b'X' | b'.'));
    let is_template = secret.starts_with(['$', '<', '[', '%']) || secret.starts_with("{{") || placeholder(secret);
    // Two numbers are an account's and a group's, or a host's port.
    let is_number = plain.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let is_word = WORDS.contains(&word.as_str());
    secret.len() >= 3 && !(is_blank || is_template || is_number || is_word)
}

/// What documentation writes for a password.
const WORDS: &[&str] = &[
    "pass", "password", "passwd", "pwd", "secret", "token", "test", "changeit", "changeme", "api_key", "apikey", "key",
    "pw",
];
