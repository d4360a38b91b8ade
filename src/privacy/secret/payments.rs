//! Keys of payment and shop services.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::varied;
use super::{secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    // Secret and restricted keys. https://docs.stripe.com/keys
    Rule {
        check: varied,
        ..Rule::new(
            Kind::STRIPE_KEY,
            "stripe",
            &["sk_test_", "sk_live_", "sk_prod_", "rk_test_", "rk_live_", "rk_prod_"],
            token!("[sr]k_(?:test|live|prod)_[0-9A-Za-z]{10,255}"),
        )
    },
    Rule {
        check: varied,
        ..Rule::new(Kind::STRIPE_KEY, "stripe_webhook", &["whsec_"], "(?P<v>whsec_[0-9A-Za-z+/=]{32,64})")
    },
    whole("square", &["sq0atp-", "sq0csp-", "eaaa"], token!("(?:EAAA|sq0(?:at|cs)p-)[0-9A-Za-z_-]{22,60}")),
    secret(
        "shopify",
        &["shpat_", "shpca_", "shppa_", "shpss_", "shpua_"],
        token!("shp(?:at|ca|pa|ss|ua)_[0-9A-Fa-f]{32}"),
    ),
    secret("shippo", &["shippo_"], token!("shippo_(?:live|test)_[0-9A-Fa-f]{40}")),
    whole("easypost", &["ezak", "eztk"], token!("EZ[AT]K[0-9A-Za-z]{54}")),
    secret("duffel", &["duffel_"], "(?P<v>duffel_(?:test|live)_[0-9A-Za-z_=-]{43})"),
    secret("flutterwave", &["flwseck", "flwpubk"], "(?P<v>FLW(?:SECK|PUBK)(?:_TEST)?-[0-9A-Ha-h]{12,32}(?:-X)?)"),
    secret("frame_io", &["fio-u-"], "(?P<v>fio-u-[0-9A-Za-z_=-]{64})"),
    secret("braintree", &["access_token$"], r"(?P<v>access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32})"),
    secret(
        "plaid",
        &["access-"],
        token!(
            "access-(?:sandbox|development|production)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        ),
    ),
    whole("lob", &["live_", "test_"], token!("(?:live|test)_(?:[0-9a-f]{35}|pub_[0-9a-f]{31})")),
    secret("gocardless", &["live_"], r"(?P<v>(?-u:\b)live_[0-9A-Za-z_=-]{40})(?:[^0-9A-Za-z_=-]|$)"),
    Rule {
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "freemius",
            &["secret_key"],
            r#"(?i:secret_key)["']\s{0,4}=>\s{0,4}["'](?P<v>sk_[^\s"']{29})["']"#,
        )
    },
    secret("settlemint", &["sm_aat_", "sm_pat_", "sm_sat_"], token!("sm_[aps]at_[0-9A-Za-z]{16}")),
];
