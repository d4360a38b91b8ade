//! Tokens of other services, known by their first characters.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{entropy, varied};
use super::{begins, secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    secret("adobe_client_secret", &["p8e-"], token!("p8e-(?i:[0-9a-z]{32})")),
    whole("airtable", &["pat"], token!(r"pat[0-9A-Za-z]{14}\.[0-9a-f]{64}")),
    secret("dynatrace", &["dt0c01.", "dt0s"], token!(r"dt0[cs][0-9]{2}\.[0-9A-Za-z]{8,24}\.[0-9A-Za-z]{64}")),
    secret("datadog", &["ddapi_", "ddpat_"], token!("dd(?:api|pat)_[0-9A-Za-z]{34,60}")),
    Rule {
        context: begins,
        longest: 600,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "facebook_page",
            &["eaam", "eaac", "eaab", "eaag"],
            token!("EAA[A-Z][0-9A-Za-z]{100,400}"),
        )
    },
    // Number and secret of an app.
    Rule {
        check: |value| entropy(value) >= 3.0,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "facebook_app",
            &["facebook", "fb_", "fb-", "access_token"],
            r"(?i:facebook|fb[_-]|access_token)[^\n]{0,60}?(?P<v>(?-u:\b)[0-9]{15,16}(?:\||%7C|%)[0-9A-Za-z_-]{27,40})(?:[^0-9A-Za-z_-]|$)",
        )
    },
    secret("grafana_cloud", &["glc_"], "(?P<v>glc_(?:eyJ)?[0-9A-Za-z+/]{32,400}={0,3})"),
    secret("grafana_service_account", &["glsa_"], token!("glsa_[0-9A-Za-z]{32}_[0-9A-Fa-f]{8}")),
    secret("grafana_api_key", &["eyjrijoi"], "(?P<v>eyJrIjoi[0-9A-Za-z]{70,400}={0,3})"),
    secret(
        "hubspot",
        &["pat-na", "pat-eu"],
        token!("pat-(?:na|eu)[0-9]-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ),
    secret("intra42", &["s-s4t2"], token!("s-s4t2(?:ud|af)-[0-9a-f]{64}")),
    whole(
        "launchdarkly",
        &["sdk-", "api-", "mob-"],
        token!("(?:sdk|api|mob)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
    ),
    secret("linear", &["lin_api_", "lin_oauth_"], token!("lin_(?:api|oauth)_[0-9A-Za-z]{40,64}")),
    whole("mapbox", &["pk.", "sk.", "tk."], token!(r"[pst]k\.[0-9A-Za-z_-]{60,120}\.[0-9A-Za-z_-]{22}")),
    Rule {
        context: begins,
        back: 36,
        check: varied,
        ..Rule::new(Kind::OTHER_SECRET, "maxmind", &["_mmk"], token!("[0-9A-Za-z]{6}_[0-9A-Za-z]{29}_mmk"))
    },
    secret(
        "new_relic",
        &["nrak-", "nrii-", "nrjs-", "nraa-"],
        token!("(?:NRAK-[0-9A-Za-z]{27}|NRII-[0-9A-Za-z_-]{32}|NRJS-[0-9a-f]{19}|NRAA-[0-9a-f]{27})"),
    ),
    secret("notion", &["ntn_"], token!("ntn_[0-9]{11}[0-9A-Za-z]{35}")),
    whole("notion_integration", &["secret_"], token!("secret_[0-9A-Za-z]{43}")),
    Rule {
        longest: 1024,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "sentry_organisation",
            &["sntrys_eyj"],
            r"(?P<v>sntrys_eyJ[0-9A-Za-z+/=]{40,800}_[0-9A-Za-z+/]{43})(?:[^0-9A-Za-z+/]|$)",
        )
    },
    secret("sentry_user", &["sntryu_"], token!("sntryu_[0-9a-f]{64}")),
    secret("typeform", &["tfp_"], "(?P<v>tfp_[0-9A-Za-z_.=-]{59})"),
    secret("contentful_personal", &["cfpat-"], token!("CFPAT-[0-9A-Za-z_-]{43}")),
    secret("figma", &["figd_"], token!("figd_[0-9A-Za-z_-]{40}")),
    secret("okta", &["ssws "], r"(?i:ssws) (?P<v>00[0-9A-Za-z_-]{40})"),
    secret(
        "yandex",
        &["t1.", "aqvn"],
        r"(?-u:\b)(?P<v>t1\.[0-9A-Za-z_-]{8,300}={0,2}\.[0-9A-Za-z_-]{86}={0,2}|AQVN[0-9A-Za-z_-]{35,38})",
    ),
    whole("twitter_bearer", &["aaaaaaaaaaaaaaaaaaaaaa"], token!("A{22}[0-9A-Za-z%]{80,100}")),
    Rule {
        context: begins,
        longest: 2048,
        check: varied,
        ..Rule::new(Kind::OTHER_SECRET, "dropbox", &["sl."], token!(r"sl\.(?:u\.)?[0-9A-Za-z_=-]{130,1500}"))
    },
    secret("zapier_hook", &["hooks.zapier.com/"], r"hooks\.zapier\.com/hooks/catch/(?P<v>[0-9]{4,12}/[0-9a-z]{5,12})"),
    secret("posthog", &["phx_", "phs_"], token!("ph[xs]_[0-9A-Za-z]{40,60}")),
    secret("supabase", &["sbp_", "sb_secret_"], token!("sb(?:p_[0-9a-f]{40}|_secret_[0-9A-Za-z_-]{20,60})")),
    secret("netlify", &["nfp_"], token!("nfp_[0-9A-Za-z]{36,40}")),
    whole("resend", &["re_"], token!("re_[0-9A-Za-z]{6,10}_[0-9A-Za-z]{20,30}")),
];
