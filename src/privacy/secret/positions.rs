//! Values that the name before them calls a secret: assignments, settings, arguments.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::super::Kind;
use super::super::rule::{Proof, Rule};
use super::chance::{entropy, placeholder, random, random_enough, serial, uuid};

pub(super) const RULES: &[Rule] = &[
    Rule {
        longest: 160,
        context: is_position,
        proof: Proof::Hinted,
        read: Some(read),
        ..Rule::new(Kind::GENERIC_SECRET, "named", NAMES, LEAD)
    },
    Rule {
        longest: 160,
        context: is_of_provider,
        proof: Proof::Hinted,
        read: Some(read_key),
        ..Rule::new(Kind::OTHER_SECRET, "provider", PROVIDERS, LEAD)
    },
];

/// From an anchor to the value: the rest of the name, perhaps its type, an assignment in one of many languages.
const LEAD: &str = r#"[0-9A-Za-z_]{2,16}[0-9A-Za-z_.-]{0,40}\\?["'`\])]{0,2}(?:[ \t]{1,24}(?:[a-z]{1,10}[ \t]{1,4})?)?(?::[ \t]{0,2}[&'A-Za-z<>: ]{1,20}[ \t])?(?:(?::{0,3}|[?.+|])=[=>]?|::?|->|\|\||,|>|is[ \t])[ \t=(]{0,6}(?:[>,]?[\r\n]{1,2}[ \t]{0,24})?"#;

/// Bytes of the longest value.
const LONGEST: usize = 400;

/// The value at `at`, in quotes or without.
fn read(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let start = at + run(bytes, at, 2, |byte| byte == b'\\');
    if bytes.get(start).is_some_and(|byte| b"\"'`".contains(byte)) {
        let inside = |byte| !matches!(byte, b'\t'..=b'\r' | b' ' | b'"' | b'\'' | b'`' | b'\\');
        let end = start + 1 + run(bytes, start + 1, LONGEST, inside);
        let value = text.get(start + 1..end).filter(|value| value.len() >= 6 && !value.contains(char::is_whitespace));
        let is_closed = bytes.get(end).is_none_or(|byte| b"\"'`\\".contains(byte));
        return value.filter(|_| is_closed).map(|_| start + 1..end);
    }
    let inside = |byte| {
        matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'=' | b'~' | b'+' | b'/' | b'@' | b'%' | b'!'
            | b'$' | b'#' | b'*' | b'^' | b':' | b'?' | b'|' | b'-')
    };
    if start > at { None } else { bare(text, at, 6, inside) }
}

/// The value at `at` that only has characters of keys.
fn read_key(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let at = at + run(bytes, at, 2, |byte| byte == b'\\');
    let at = at + run(bytes, at, 2, |byte| b"\"'`(".contains(&byte));
    bare(
        text,
        at,
        12,
        |byte| matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'.' | b'=' | b'~' | b'+' | b'/' | b'%' | b':' | b'|' | b'-'),
    )
}

/// The bytes from `at` on that are `inside`, where they are at least `least` and something follows that ends a value.
fn bare(text: &str, at: usize, least: usize, inside: impl Fn(u8) -> bool) -> Option<Range<usize>> {
    let end = at + run(text.as_bytes(), at, LONGEST, inside);
    let next = text.get(end..)?.chars().next();
    let is_ended = next.is_none_or(|c| c.is_whitespace() || ";,\"'`<&)]}\\".contains(c));
    (end - at >= least && is_ended).then_some(at..end)
}

/// How many bytes from `at` on satisfy `of`, at most `most`.
fn run(bytes: &[u8], at: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
    bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|byte| of(**byte)).count()
}

/// Whether a name such as `db_password` or `x-api-key` stands before the value, and the value is such a thing.
fn is_position(before: &str, value: &str) -> bool {
    static NAME: LazyLock<Words> = LazyLock::new(|| Words::new(NAMES));
    static NO_SECRET: LazyLock<Words> = LazyLock::new(|| Words::new(NOT_SECRET));
    let Some(name) = name_in(before, &NAME) else {
        return false;
    };
    if NO_SECRET.are_in(&name) || NOT_SECRET_ENDS.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    let is_quoted = before.ends_with(QUOTES);
    // In `set("password", "...")` a comma assigns; in a list it only separates.
    if let Some(name) = before.trim_end_matches(QUOTES).trim_end().strip_suffix(',') {
        return is_quoted && name.ends_with(QUOTES) && value.len() >= 10 && random(value);
    }
    if PASSWORDS.iter().any(|word| name.contains(word)) {
        return is_password(value, is_quoted);
    }
    if WEAK.iter().any(|word| name.contains(word)) && !STRONG.iter().any(|word| name.contains(word)) {
        return value.len() >= 20 && !uuid(value) && entropy(value) >= 3.5 && random(value);
    }
    value.len() >= 10 && (random_enough(value) || serial(value))
}

/// Whether the value is a key of the provider that is named before it.
fn is_of_provider(before: &str, value: &str) -> bool {
    static PROVIDER: LazyLock<Words> = LazyLock::new(|| Words::new(PROVIDERS));
    let Some(name) = name_in(before, &PROVIDER) else {
        return false;
    };
    if NOT_SECRET_ENDS.iter().any(|end| name.ends_with(end) && !end.ends_with("id")) || !stands_out(before) {
        return false;
    }
    random_enough(value) || serial(value)
}

/// A short name also occurs where two words meet, as in `sumObject` and `rookTable`: there it does not keep to one case.
fn stands_out(before: &str) -> bool {
    let lower = before.to_ascii_lowercase();
    PROVIDERS.iter().any(|word| {
        let written = lower.rfind(word).and_then(|at| before.get(at..at + word.len()));
        written.is_some_and(|written| {
            let rest = written.get(1..).unwrap_or_default();
            word.len() > 5
                || !rest.bytes().any(|byte| byte.is_ascii_uppercase())
                || !written.bytes().any(|byte| byte.is_ascii_lowercase())
        })
    })
}

/// Passwords are chosen by people: a digit among letters is enough, and within quotes any string that is no placeholder.
fn is_password(value: &str, is_quoted: bool) -> bool {
    let lower = value.to_ascii_lowercase();
    if placeholder(value)
        || value.starts_with(['$', '%', '{', '[', '<', '(', '/', '.'])
        || WORDS.iter().any(|word| lower == *word)
    {
        return false;
    }
    if random(value) {
        return true;
    }
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let signs = value.bytes().filter(|byte| b"!@#$%^&*+?~".contains(byte)).count();
    if is_quoted {
        value.len() >= 8
            && entropy(value) >= 2.5
            && letters + digits + signs >= value.len() - 2
            && !["password", "require", "invalid", "incorrect", "forgot", "getenv"]
                .iter()
                .any(|word| lower.contains(word))
    } else {
        value.len() >= 8
            && letters >= 2
            && (digits >= 1 || signs >= 2)
            && !value.contains(['_', '.', ':', '=', '/', '('])
            && entropy(value) >= 2.5
    }
}

/// The whole name around the last of `words` before the value, in lower case.
fn name_in(before: &str, words: &Words) -> Option<String> {
    let at = words.last_in(before)?;
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let (head, tail) = before.as_bytes().split_at_checked(at)?;
    let start = at - head.iter().rev().take_while(|byte| is_part(byte)).count();
    let end = at + tail.iter().take_while(|byte| is_part(byte)).count();
    before.get(start..end).map(str::to_ascii_lowercase)
}

/// Words that are looked for all at once, without case. Without an automaton none of them is found.
struct Words(Option<AhoCorasick>);

impl Words {
    fn new(words: &[&str]) -> Self {
        let finder = AhoCorasick::builder().ascii_case_insensitive(true).kind(Some(AhoCorasickKind::DFA)).build(words);
        Self(finder.ok())
    }

    fn are_in(&self, text: &str) -> bool {
        self.0.as_ref().is_some_and(|finder| finder.is_match(text))
    }

    /// Where the last of them begins.
    fn last_in(&self, text: &str) -> Option<usize> {
        self.0.as_ref()?.find_overlapping_iter(text).map(|hit| hit.start()).max()
    }
}

/// Words for secrets. All begin a try, so they are as long as they can be.
const NAMES: &[&str] = &[
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "creds",
    "api_key",
    "apikey",
    "api-key",
    "api key",
    "access_key",
    "accesskey",
    "access-key",
    "private_key",
    "privatekey",
    "private-key",
    "encryption_key",
    "encryptionkey",
    "signing_key",
    "signingkey",
    "license_key",
    "licensekey",
    "master_key",
    "masterkey",
    "auth_key",
    "authkey",
    "account_key",
    "service_key",
    "_key",
    "key",
    "auth",
    "apitoken",
    "access",
];
const QUOTES: [char; 3] = ['"', '\'', '`'];
const PASSWORDS: &[&str] = &["passw", "passphrase", "pwd"];
const STRONG: &[&str] = &[
    "passw",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "creds",
    "api_key",
    "apikey",
    "api-key",
    "api key",
    "private",
];
const WEAK: &[&str] = &["key", "auth", "access"];
/// Names of what is public, or tells of a secret without being one.
const NOT_SECRET: &[&str] = &[
    "public",
    "pubkey",
    "pub_key",
    "foreign",
    "primary",
    "csrf",
    "xsrf",
    "author",
    "keyword",
    "keyboard",
    "tokeniz",
    "secretname",
    "secret_name",
    "secret-name",
    "secretref",
    "secretlength",
    "keyvault_id",
    "keyframe",
    "keypair",
    "keypress",
    "keystone",
    "keyring",
    "keystore",
    "keytab",
    "monkey",
    "turkey",
    "hotkey",
    "issuerkeyhash",
    "bucket",
    "cache",
    "sort_key",
    "sortkey",
    "partition",
    "accessor",
    "accessib",
    "usersecretsid",
    "x-ms-exchange",
    "authentication-results",
    "sequence",
    "schema",
    "natural",
    "fingerprint",
    "thumbprint",
    "checksum",
    "digest",
    "integrity",
];
const NOT_SECRET_ENDS: &[&str] = &[
    "id",
    "ids",
    "name",
    "path",
    "file",
    "url",
    "uri",
    "endpoint",
    "length",
    "size",
    "type",
    "count",
    "limit",
    "ttl",
    "alg",
    "algorithm",
    "hint",
    "label",
    "version",
    "host",
    "host_name",
    "time",
    "expiry",
    "age",
    "date",
    "hash",
    "selector",
    "signature",
    "index",
];
/// What stands where a password goes without being one.
const WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "required",
    "undefined",
    "optional",
    "string",
    "invalid",
    "incorrect",
    "forgot",
    "placeholder",
    "confirm",
    "getenv",
    "environ",
    "default",
];

/// Names of services whose keys have no prefix, so that the name beside them is what makes them known.
const PROVIDERS: &[&str] = &[
    "adafruit",
    "adobe",
    "adyen",
    "airtable",
    "algolia",
    "alibaba",
    "amplitude",
    "asana",
    "atlassian",
    "auth0",
    "beamer",
    "bitbucket",
    "bitly",
    "bittrex",
    "binance",
    "bintray",
    "artifactory",
    "jfrog",
    "xray",
    "braintree",
    "bugsnag",
    "buildkite",
    "circleci",
    "meraki",
    "cloudflare",
    "cloudinary",
    "codecov",
    "codeclimate",
    "cohere",
    "co_api_key",
    "coinbase",
    "confluence",
    "confluent",
    "contentful",
    "coveralls",
    "datadog",
    "digitalocean",
    "discord",
    "docusign",
    "doppler",
    "droneci",
    "drone_",
    "dropbox",
    "elastic",
    "etsy",
    "eventbrite",
    "facebook",
    "fastly",
    "finicity",
    "finnhub",
    "firebase",
    "flickr",
    "foursquare",
    "freshbooks",
    "freshdesk",
    "gitter",
    "gocardless",
    "gumroad",
    "heroku",
    "hubspot",
    "instagram",
    "intercom",
    "intra42",
    "jenkins",
    "jira",
    "jumpcloud",
    "kraken",
    "kucoin",
    "launchdarkly",
    "linear",
    "linkedin",
    "linked_in",
    "linked-in",
    "lob_",
    "lobtoken",
    "looker",
    "mailchimp",
    "mailgun",
    "mailjet",
    "mandrill",
    "mapbox",
    "mattermost",
    "messagebird",
    "message_bird",
    "message-bird",
    "mixpanel",
    "netlify",
    "newrelic",
    "new-relic",
    "new_relic",
    "nytimes",
    "newyorktimes",
    "new-york-times",
    "okta",
    "opsgenie",
    "optimizely",
    "pagerduty",
    "paypal",
    "pendo",
    "plaid",
    "private_ai",
    "private-ai",
    "privateai",
    "pusher",
    "rapidapi",
    "razorpay",
    "rollbar",
    "salesforce",
    "segment_",
    "sendbird",
    "sendinblue",
    "sentry",
    "shodan",
    "sidekiq",
    "snyk",
    "sonar",
    "sourcegraph",
    "spotify",
    "squarespace",
    "strava",
    "sumo",
    "telegr",
    "tencent",
    "todoist",
    "travis",
    "trello",
    "twilio",
    "twitch",
    "twitter",
    "typeform",
    "unsplash",
    "vercel",
    "vimeo",
    "virustotal",
    "vonage",
    "vultr",
    "wakatime",
    "weatherapi",
    "webex",
    "wepay",
    "woocommerce",
    "yandex",
    "yelp",
    "zapier",
    "zendesk",
    "zoho",
    "zoom_",
];
