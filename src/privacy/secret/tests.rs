//! Values are put together from parts, so that no scanner of a code host takes them for real.

use std::sync::LazyLock;

use super::super::masker::Rules;
use super::chance;

/// The text with everything that was found replaced by `#`.
fn masked(text: &str) -> String {
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::new);
    let mut found = Vec::new();
    RULES.find(text, &mut found);
    found.sort_by_key(|one| (one.range.start, one.range.end));
    let (mut masked, mut done) = (String::new(), 0);
    for one in found {
        if one.range.start >= done {
            masked.push_str(&text[done..one.range.start]);
            masked.push('#');
        }
        done = done.max(one.range.end);
    }
    masked + &text[done..]
}

const LETTERS: &str = "q7Zk2Rw9Xb4Tn8Vc1Lp6Ms3Hd5Gf0JyKaEuQiWoBzNxUrTeAl3Dm7Pv2Cs9Yh4Fj8Gk";

#[test]
fn tokens_with_a_prefix_of_their_own_are_found_without_any_context() {
    let hex = "3f8a1c94e07b5d26".repeat(8);
    for (prefix, rest) in [
        ("sk-ant-", format!("api03-{}{}AA", LETTERS, &LETTERS[..24])),
        ("ghp", format!("_{}", &LETTERS[..36])),
        ("github", format!("_pat_{LETTERS}_{}", &LETTERS[..10])),
        ("glpat", format!("-{}", &LETTERS[..20])),
        ("xoxb", format!("-2812{}-9912{}-{}", "36542736", "5789652", &LETTERS[..24])),
        ("sk_live", format!("_{}", &LETTERS[..24])),
        ("AIza", LETTERS[..35].to_owned()),
        ("AKIA", "Q7ZK2RWTNXBVCLP4".to_owned()),
        ("npm", format!("_{}", &LETTERS[..36])),
        ("shpat", format!("_{}", &hex[..32])),
        ("dop_v1", format!("_{}", &hex[..64])),
        ("hvs.", LETTERS[..60].to_owned()),
        ("AGE-SECRET-KEY-1", "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE".to_owned()),
    ] {
        assert_eq!(masked(&format!("see {prefix}{rest} there")), "see # there", "{prefix}");
    }
}

#[test]
fn a_placeholder_of_a_tokens_shape_is_left_alone() {
    for text in [
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAIOSFODNN7EXAMPLE",
        "password = \"${DB_PASSWORD}\"",
        "password: changeme",
        "api_key = \"<your-api-key>\"",
        "token: your_token_goes_here_1234",
        "curl -u <user:password> https://host.test",
        "postgres://user:password@localhost/db",
    ] {
        assert_eq!(masked(text), text);
    }
}

/// A prefix and a length that are a key's make it one, also where the rest was typed and not drawn.
#[test]
fn a_token_whose_rest_counts_is_a_token() {
    let letters: String = ('a'..='z').chain('A'..='Z').chain('0'..='9').collect();
    for (prefix, rest) in [
        ("sk-ant-", format!("api03-{letters}{}AA", &letters[..31])),
        ("ghp", format!("_{}", &letters[..36])),
        ("sk_live", "_0123456789abcdefghijklmn".to_owned()),
        ("npm", format!("_{}", &letters[26..])),
        ("glpat", format!("-{}", &letters[..20])),
    ] {
        assert_eq!(masked(&format!("see {prefix}{rest} there")), "see # there", "{prefix}");
    }
    let text = format!("token: {}", &letters[..30]);
    assert_eq!(masked(&text), text, "without a prefix it is a placeholder");
}

#[test]
fn prose_code_and_hashes_are_left_alone() {
    for text in [
        "The key to success is access to the right token at the right time.",
        "let token = self.tokenizer.next_token_2(source)?;",
        "checksum = \"8f4a1b0c9d3e7f6a5b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a\"",
        "request_id: 0192f1c4-7a3b-7c11-9d55-3a1f0be2c7d4",
        "publicKeyToken=b77a5c561934e089",
        "primary_key = \"a8f3e9c1b2d47f60\"",
        "<UserSecretsId>79a3edd0-2092-40a2-a04d-dcb46d5ca9ed</UserSecretsId>",
        "password: String, // the user's password",
        "sumObject = suGyI5imvADdvU",
        "impl ToTokens for Asn1TagClass2 {",
        "gpg --keyserver keys.test --recv-keys 8FCCA13FEF1D0C2E91008E09770F7A9A5AE15600",
        "a token Winter7Tree2x9 in a sentence",
    ] {
        assert_eq!(masked(text), text);
    }
}

#[test]
fn a_name_before_an_assignment_makes_a_random_value_a_secret() {
    for (text, expected) in [
        ("api_key: 7f3k9x2mq8vn4c1z", "api_key: #"),
        ("datadogToken = \"b4tx2iinp3rh8tv954nnpkkjde8ytlig\"", "datadogToken = \"#\""),
        ("\"client_secret\" => \"9dk2mfl20dkq8vmz\",", "\"client_secret\" => \"#\","),
        ("herokuToken=3a6e86e1-5a87-43ae-8b22-d46703465c7f", "herokuToken=#"),
        ("DB_PASSWORD=Winter7Tree!\n", "DB_PASSWORD=#\n"),
        ("<apiToken>\n    6pz9yg8u8kx2fb8qc7\n</apiToken>", "<apiToken>\n    #\n</apiToken>"),
        ("setProperty(\"APP_TOKEN\", \"6pz9yg8u8kx2fb8qc7\")", "setProperty(\"APP_TOKEN\", \"#\")"),
        ("password is Winter7Tree!", "password is #"),
        ("| apiToken | 6pz9yg8u8kx2fb8qc7 |", "| apiToken | # |"),
        ("- **token**: 6pz9yg8u8kx2fb8qc7", "- **token**: #"),
        ("tool --api-token 6pz9yg8u8kx2fb8qc7 run", "tool --api-token # run"),
        ("ENV API_TOKEN 6pz9yg8u8kx2fb8qc7", "ENV API_TOKEN #"),
        ("let token: String? = \"6pz9yg8u8kx2fb8qc7\"", "let token: String? = \"#\""),
        ("\"token\": @\"6pz9yg8u8kx2fb8qc7\"", "\"token\": @\"#\""),
        ("password = '''Winter7Tree!'''", "password = '''#'''"),
        ("Passwort: Winter7Tree!", "Passwort: #"),
        ("mot de passe = Winter7Tree!", "mot de passe = #"),
        ("contraseña: Winter7Tree!", "contraseña: #"),
        ("parola d'accesso: Winter7Tree!", "parola d'accesso: #"),
        ("clé API: 6pz9yg8u8kx2fb8qc7WQ", "clé API: #"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn what_carries_a_secret_makes_it_known() {
    for (text, expected) in [
        ("curl -u \"joe:s3cr3tW0rd\" https://host.test", "curl -u # https://host.test"),
        ("Authorization: Bearer 22cb987851bc5659", "Authorization: Bearer #"),
        ("amqp://app:n0tAWord9@queue.test/v", "amqp://#@queue.test/v"),
        (
            "kind: Secret\ndata:\n  a: YWRtaW4=\n  b: c2VjcmV0\ntype: Opaque\n",
            "kind: Secret\ndata:\n  #\ntype: Opaque\n",
        ),
        ("\ndata:\n  a: YWRtaW4=\nkind: Secret\n", "\ndata:\n  #\nkind: Secret\n"),
    ] {
        assert_eq!(masked(text), expected);
    }
}

#[test]
fn a_private_key_is_found_whole_and_also_without_its_end() {
    let line = format!("{LETTERS}\n");
    let body = line.repeat(40);
    for label in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
        let key = format!("-----BEGIN {label}PRIVATE KEY-----\n{body}-----END {label}PRIVATE KEY-----");
        assert_eq!(masked(&format!("a {key} b")), "a # b", "{label}");
    }
    assert_eq!(masked(&format!("-----BEGIN PRIVATE KEY-----\n{body}")).trim(), "#");
    assert_eq!(masked(&format!("-----BEGIN PUBLIC KEY-----\n{body}-----END PUBLIC KEY-----")).matches('#').count(), 0);
}

#[test]
fn a_jwt_must_name_its_algorithm() {
    let claims = concat!("eyJzdWIiOiIx", "MjM0NTY3ODkwIn0");
    let signature = &LETTERS[..43];
    let jwt = format!("{}.{claims}.{signature}", concat!("eyJhbGciOiJI", "UzI1NiIsInR5cCI6IkpXVCJ9"));
    assert_eq!(masked(&format!("see {jwt}")), "see #");
    let other = format!("{}.{claims}.{signature}", concat!("eyJhIjoxLCJi", "IjoyLCJjIjozfQ"));
    assert_eq!(masked(&format!("see {other}")), format!("see {other}"));
}

#[test]
fn every_rule_is_within_the_engines_bounds() {
    for rule in super::rules() {
        assert!(!rule.anchors.is_empty(), "{}", rule.name);
        assert!(
            rule.anchors.iter().all(|anchor| anchor.len() >= 2 && *anchor == anchor.to_ascii_lowercase()),
            "{}",
            rule.name
        );
        assert!(rule.longest <= super::Rule::LONGEST && rule.back <= super::Rule::FURTHEST, "{}", rule.name);
    }
}

#[test]
fn chance_tells_random_strings_from_words() {
    for random in ["q6ms9ek0lk07tl2", "354110618fc7dd2028bd1e5e58486122", "Bu0rrK-lerk6y0Suqo1qSqlDDajOk61wZchCkje4"] {
        assert!(chance::random(random), "{random}");
    }
    for written in
        ["getUserNameFromStore2", "application/json", "my-service-account-1", "SecurityIdentifier", "aaaaaaaa11111111"]
    {
        assert!(!chance::random(written), "{written}");
    }
}
