//! Keys of cloud providers and of what runs in them.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{entropy, irregular, placeholder, varied};
use super::{begins, secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    // Ids of keys use the alphabet of base32. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    Rule {
        context: begins,
        check: |value| entropy(value) >= 3.0 && !value.ends_with("EXAMPLE"),
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_key_id",
            &["akia", "asia", "abia", "acca", "a3t"],
            token!("(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"),
        )
    },
    Rule {
        check: |value| entropy(value) >= 3.5 && !placeholder(value),
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_secret_key",
            &["secret_access_key", "secretaccesskey", "secret-access-key", "aws_secret", "awssecret", "aws secret"],
            r#"(?i:secret[_ -]?access[_ -]?key|aws[_ -]?secret[_ -]?(?:access[_ -]?)?(?:key)?)["'\]>]{0,3}[ \t]{0,20}(?:=>|:=|[=:,])?[ \t]{0,20}["'`]{0,3}(?P<v>[0-9A-Za-z/+]{40})(?:[^0-9A-Za-z/+=]|$)"#,
        )
    },
    Rule {
        longest: 4096,
        check: varied,
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_session_token",
            &["session_token", "sessiontoken", "security-token", "securitytoken", "security_token"],
            r#"(?i:(?:session|security)[_-]?token)["'\]>]{0,3}[ \t]{0,20}(?:=>|:=|[=:,])[ \t]{0,20}["'`]{0,3}(?P<v>[0-9A-Za-z/+]{100,2000}={0,2})"#,
        )
    },
    // Long-lived: `BedrockAPIKey-` in base64.
    Rule {
        check: |value| (130..=134).contains(&value.len()),
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_bedrock",
            &["abskqmvkcm9ja0fqsutles"],
            r"(?P<v>ABSKQmVkcm9ja0FQSUtleS[0-9A-Za-z+/]{100,260}={0,2})(?:[^0-9A-Za-z+/=]|$)",
        )
    },
    // Short-lived: a signed URL of `bedrock.amazonaws.com` in base64.
    Rule {
        longest: 4096,
        check: |_| true,
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_bedrock_short",
            &["bedrock-api-key-"],
            r"(?P<v>bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29t[0-9A-Za-z+/=_-]{0,4000})",
        )
    },
    Rule {
        longest: 4096,
        check: varied,
        ..Rule::new(
            Kind::AWS_KEY,
            "aws_signature",
            &["x-amz-signature=", "x-amz-security-token="],
            "(?i:x-amz-(?:signature|security-token))=(?P<v>[0-9A-Za-z%/+=_-]{64,2000})",
        )
    },
    Rule {
        context: begins,
        check: |value| entropy(value) >= 4.0 && !placeholder(value),
        ..Rule::new(Kind::GCP_KEY, "google_api_key", &["aiza"], token!("AIza[0-9A-Za-z_-]{35}"))
    },
    Rule {
        longest: 2048,
        check: varied,
        ..Rule::new(
            Kind::GCP_KEY,
            "google_oauth",
            &["gocspx-", "ya29."],
            token!(r"GOCSPX-[0-9A-Za-z_-]{28}|ya29\.[0-9A-Za-z_-]{30,1000}"),
        )
    },
    Rule {
        context: begins,
        check: irregular,
        ..Rule::new(Kind::GCP_KEY, "google_refresh_token", &["1//0"], token!("1//0[0-9A-Za-z_-]{40,120}"))
    },
    // The key itself is PEM and found as that; its id names it. Fields of a service account's file.
    Rule {
        check: varied,
        ..Rule::new(
            Kind::GCP_KEY,
            "google_private_key_id",
            &["private_key_id"],
            r#"private_key_id\\?["']?\s{0,4}:\s{0,4}\\?["'](?P<v>[0-9a-f]{40})"#,
        )
    },
    Rule {
        back: 4,
        check: |value| entropy(value) >= 3.0 && !placeholder(value),
        ..Rule::new(
            Kind::AZURE_SECRET,
            "azure_client_secret",
            &["q~"],
            r"(?P<v>[0-9A-Za-z_~.]{3}[0-9]Q~[0-9A-Za-z_~.-]{31,34})(?:[^0-9A-Za-z_~.-]|$)",
        )
    },
    // Keys of storage (64 bytes) and of service bus, event hub, Cosmos, IoT (32 or 64).
    Rule {
        check: varied,
        ..Rule::new(
            Kind::AZURE_SECRET,
            "azure_account_key",
            &["accountkey=", "sharedaccesskey=", "account_key", "accountkey\"", "account-key"],
            r#"(?i:account[_-]?key|sharedaccesskey)["'\s]{0,4}[=:]["'\s]{0,4}(?P<v>[0-9A-Za-z+/]{42,90}={0,2})"#,
        )
    },
    Rule {
        check: irregular,
        ..Rule::new(Kind::AZURE_SECRET, "azure_signature", &["sig="], r"sig=(?P<v>[0-9A-Za-z%/+]{42,100}={0,2})")
    },
    // Function keys end in a mark since 2022: AzFu, AzSe (search), AzCa (cache), +AS (storage), and so on.
    Rule {
        back: 90,
        check: irregular,
        ..Rule::new(
            Kind::AZURE_SECRET,
            "azure_marked_key",
            &["azfu", "azse", "azca", "+astj", "acdb", "+asb", "+aeh", "aiot", "apim", "acrd", "+acr"],
            r"(?P<v>[0-9A-Za-z+/_-]{33,76}(?:AzFu|AzSe|AzCa|\+ASt|ACDb|\+ASb|\+AEh|AIoT|APIM|\+ACR)[0-9A-Za-z+/]{5,10}={0,2})(?:[^0-9A-Za-z+/=_-]|$)",
        )
    },
    whole("alibaba_key_id", &["ltai"], token!("LTAI[0-9A-Za-z]{12,26}")),
    secret("digitalocean", &["dop_v1_", "doo_v1_", "dor_v1_"], token!("(?i:do[por]_v1_[0-9a-f]{64})")),
    Rule {
        longest: 4096,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "flyio",
            &["fo1_", "fm1a_", "fm1r_", "fm2_"],
            r"(?P<v>fo1_[0-9A-Za-z_-]{43}|fm(?:1[ar]|2)_[0-9A-Za-z+/]{100,2000}={0,3})(?:[^0-9A-Za-z_+/-]|$)",
        )
    },
    secret("heroku", &["hrku-"], token!("HRKU-AA[0-9A-Za-z_-]{58}")),
    secret("scalingo", &["tk-us-"], token!("tk-us-[0-9A-Za-z_-]{48}")),
    secret("cloudflare_origin_ca", &["v1.0-"], token!(r"v1\.0-[0-9a-f]{24}-[0-9a-f]{140,150}")),
    secret("databricks", &["dapi"], token!("dapi[0-9a-f]{32}(?:-[0-9])?")),
    secret(
        "planetscale",
        &["pscale_"],
        r"(?P<v>(?i:pscale_(?:tkn|oauth|pw)_[0-9a-z_=.-]{32,64}))(?:[^0-9A-Za-z_=.-]|$)",
    ),
    whole("clickhouse", &["4b1d"], token!("4b1d[0-9A-Za-z]{38}")),
    whole("confluent", &["cflt"], token!("cflt[0-9A-Za-z+/]{60}")),
    secret("vault", &["hvs.", "hvb.", "hvr."], token!(r"hv[sbr]\.[0-9A-Za-z_-]{24,300}")),
    Rule {
        back: 14,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "terraform_cloud",
            &[".atlasv1."],
            r"(?P<v>[0-9A-Za-z]{14}\.(?i:atlasv1)\.[0-9A-Za-z_=-]{60,70})",
        )
    },
    secret("openshift", &["sha256~"], token!("sha256~[0-9A-Za-z_-]{43}")),
    whole("pulumi", &["pul-"], token!("pul-[0-9a-f]{40}")),
    whole("infracost", &["ico-"], token!("ico-[0-9A-Za-z]{32}")),
    secret(
        "doppler",
        &["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."],
        r"(?P<v>(?-u:\b)dp\.(?:pt|sa|ct|scim|audit)\.[0-9A-Za-z]{40,44}|(?-u:\b)dp\.st\.(?:[0-9a-z_-]{2,35}\.)?[0-9A-Za-z]{40,44})",
    ),
    whole(
        "onepassword_secret_key",
        &["a3-"],
        token!("A3-[0-9A-Z]{6}-(?:[0-9A-Z]{11}|[0-9A-Z]{6}-[0-9A-Z]{5})-[0-9A-Z]{5}-[0-9A-Z]{5}-[0-9A-Z]{5}"),
    ),
    Rule {
        longest: 4096,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "onepassword_service_account",
            &["ops_eyj"],
            r"(?P<v>ops_eyJ[0-9A-Za-z+/_-]{200,2000}={0,3})",
        )
    },
    whole("octopus_deploy", &["api-"], token!("API-[0-9A-Z]{26}")),
    whole("harness", &["pat.", "sat."], token!(r"[ps]at\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z]{24}\.[0-9A-Za-z]{20}")),
    secret("defined_networking", &["dnkey-"], r"(?P<v>(?i:dnkey-[0-9a-z=_-]{26}-[0-9a-z=_-]{52}))"),
    secret("tailscale", &["tskey-"], token!("tskey-[a-z]{3,9}-[0-9A-Za-z]{8,24}-[0-9A-Za-z]{20,40}")),
    secret(
        "authress",
        &["sc_", "ext_", "scauth_", "authress_"],
        r"(?P<v>(?:sc|ext|scauth|authress)_(?i:[0-9a-z]{5,30}\.[0-9a-z]{4,6}\.acc[_-][0-9a-z-]{10,32}\.[0-9a-z+/_=-]{30,120}))",
    ),
];
