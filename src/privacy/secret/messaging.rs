//! Tokens and webhooks of chat and mail services.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{irregular, varied};
use super::{begins, secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    // Bot, user, legacy workspace and refresh tokens: numbers, then a random part. https://api.slack.com/concepts/token-types
    Rule {
        check: varied,
        ..Rule::new(
            Kind::SLACK_TOKEN,
            "slack",
            &["xoxb-", "xoxp-", "xoxe-", "xoxs-", "xoxo-", "xoxd-", "xoxc-"],
            "(?P<v>xox[bpesodc](?:-[0-9]{6,14}){1,3}-[0-9A-Za-z-]{10,80})",
        )
    },
    Rule {
        check: |value| varied(value) && value.bytes().filter(u8::is_ascii_digit).count() >= 2,
        ..Rule::new(
            Kind::SLACK_TOKEN,
            "slack_workspace",
            &["xoxa-", "xoxr-"],
            "(?P<v>xox[ar]-(?:[0-9]-)?[0-9A-Za-z]{8,48}(?:-[0-9A-Za-z]{6,48}){0,4})",
        )
    },
    // App-level tokens, and tokens of an app's configuration with their refresh tokens.
    Rule {
        check: varied,
        ..Rule::new(
            Kind::SLACK_TOKEN,
            "slack_app",
            &["xapp-", "xoxe.xox", "xoxe-"],
            "(?P<v>(?i:xapp-[0-9]-[0-9A-Z]{5,20}-[0-9]{5,20}-[0-9a-z]{20,100}|xoxe(?:.xox[bp])?-[0-9]-[0-9A-Z]{140,200}))",
        )
    },
    Rule {
        back: 8,
        check: varied,
        ..Rule::new(
            Kind::SLACK_TOKEN,
            "slack_webhook",
            &["hooks.slack.com/"],
            r"(?P<v>(?:https?://)?hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/[0-9A-Za-z+/]{40,100})",
        )
    },
    secret("discord_webhook", &["/api/webhooks/"], r"/api/webhooks/(?P<v>[0-9]{17,20}/[0-9A-Za-z_-]{60,80})"),
    secret(
        "teams_webhook",
        &[".webhook.office.com/"],
        r"\.webhook\.office\.com/webhookb2/(?P<v>[0-9a-z-]{36}@[0-9a-z-]{36}/IncomingWebhook/[0-9a-z]{32}/[0-9a-z-]{36})",
    ),
    // A bot's number, a colon, 35 characters of which the first are AA. https://core.telegram.org/bots/api#authorizing-your-bot
    Rule {
        back: 10,
        check: irregular,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "telegram_bot",
            &[":aa"],
            r"(?P<v>(?-u:\b)[0-9]{8,10}:AA[0-9A-Za-z_-]{33})(?:[^0-9A-Za-z_-]|$)",
        )
    },
    Rule {
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "telegram_named",
            &["telegr"],
            r"(?i:telegr[0-9a-z_. -]{0,30})[^0-9A-Za-z]{1,10}(?P<v>[0-9]{5,16}:A[0-9A-Za-z_-]{34})(?:[^0-9A-Za-z_-]|$)",
        )
    },
    secret("sendgrid", &["sg."], r"(?P<v>SG\.[0-9A-Za-z_=.-]{66})(?:[^0-9A-Za-z_-]|$)"),
    secret("brevo", &["xkeysib-", "xsmtpsib-"], token!("x(?:key|smtp)sib-[0-9a-f]{64}-[0-9A-Za-z]{16}")),
    whole("mailgun", &["key-", "pubkey-"], token!("(?:pub)?key-[0-9a-f]{32}")),
    Rule {
        back: 36,
        check: varied,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "mailchimp",
            &["-us1", "-us2", "-us3", "-us4", "-us5", "-us6", "-us7", "-us8", "-us9"],
            r"(?P<v>(?-u:\b)[0-9a-f]{32}-us[0-9]{1,2})(?-u:\b)",
        )
    },
    Rule {
        context: begins,
        check: |value| super::chance::entropy(value) >= 3.0,
        ..Rule::new(
            Kind::OTHER_SECRET,
            "twilio",
            &[
                "sk0", "sk1", "sk2", "sk3", "sk4", "sk5", "sk6", "sk7", "sk8", "sk9", "ska", "skb", "skc", "skd",
                "ske", "skf",
            ],
            token!("SK[0-9A-Fa-f]{32}"),
        )
    },
];
