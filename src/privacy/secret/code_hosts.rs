//! Tokens of code hosts, package registries and build services.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::{placeholder, varied};
use super::{begins, secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    // Personal, OAuth, user-to-server, server-to-server and refresh tokens. The last six characters are a checksum, but
    // an edited token is treated as one too. https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/
    Rule {
        check: varied,
        ..Rule::new(
            Kind::GITHUB_TOKEN,
            "github",
            &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
            token!("gh[pousr]_[0-9A-Za-z]{36,255}"),
        )
    },
    Rule {
        check: varied,
        ..Rule::new(
            Kind::GITHUB_TOKEN,
            "github_fine_grained",
            &["github_pat_"],
            token!("github_pat_[0-9A-Za-z_]{60,255}"),
        )
    },
    // https://docs.gitlab.com/security/tokens/#token-prefixes
    Rule {
        check: varied,
        ..Rule::new(
            Kind::GITLAB_TOKEN,
            "gitlab",
            &[
                "glpat-", "gloas-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-",
                "glwt-", "glsoat-", "glffct-",
            ],
            token!(
                r"gl(?:pat|oas|dt|rtr?|cbt|ptt|ft|imt|agent|wt|soat|ffct)-[0-9A-Za-z_-]{16,300}(?:\.[0-9a-z]{2}[.0-9a-z]{7,14})?"
            ),
        )
    },
    Rule {
        check: varied,
        ..Rule::new(
            Kind::GITLAB_TOKEN,
            "gitlab_runner_registration",
            &["gr1348941"],
            token!("GR1348941[0-9A-Za-z_-]{20}"),
        )
    },
    Rule {
        check: varied,
        ..Rule::new(Kind::GITLAB_TOKEN, "gitlab_session", &["_gitlab_session="], token!("_gitlab_session=[0-9a-z]{32}"))
    },
    secret(
        "atlassian",
        &["atatt3", "atctt3", "atbb"],
        r"(?P<v>AT[AC]TT3[0-9A-Za-z_=-]{60,300}|(?-u:\b)ATBB[0-9A-Za-z_=]{32})",
    ),
    secret("npm", &["npm_"], token!("(?i:npm_[0-9a-z]{36})")),
    Rule {
        longest: 2048,
        check: varied,
        ..Rule::new(Kind::OTHER_SECRET, "pypi", &["pypi-ageichlwas5vcmc"], "(?P<v>pypi-AgE[0-9A-Za-z_-]{50,1000})")
    },
    whole("crates_io", &["cio"], token!("cio[0-9A-Za-z]{32}")),
    secret("rubygems", &["rubygems_"], token!("rubygems_[0-9a-f]{48}")),
    secret("clojars", &["clojars_"], "(?P<v>(?i:clojars_[0-9a-z]{60}))"),
    whole("nuget", &["oy2"], token!("oy2[0-9a-z]{43}")),
    secret("docker_hub", &["dckr_pat_", "dckr_oat_"], token!("dckr_[po]at_[0-9A-Za-z_-]{27,40}")),
    whole("artifactory_api_key", &["akcp"], token!("AKCp[0-9A-Za-z]{60,75}")),
    // `reftkn` in base64.
    Rule {
        context: begins,
        check: |value| super::chance::entropy(value) >= 4.0,
        ..Rule::new(Kind::OTHER_SECRET, "artifactory_reference_token", &["cmvmd"], token!("cmVmd[0-9A-Za-z]{59}"))
    },
    secret(
        "sourcegraph",
        &["sgp_", "slk_"],
        token!("(?:sgp_(?:(?:[0-9A-Fa-f]{16}|local)_)?[0-9A-Fa-f]{40}|slk_[0-9a-f]{64})"),
    ),
    secret("circleci", &["cciprj_", "ccipat_"], token!("cci(?:prj|pat)_[0-9A-Za-z]{20,24}_[0-9a-f]{40}")),
    secret("buildkite", &["bkua_"], token!("bkua_[0-9a-f]{40}")),
    secret("sonarqube", &["sqp_", "squ_", "sqa_"], token!("sq[pua]_[0-9A-Za-z]{40}")),
    secret("postman", &["pmak-"], token!("PMAK-(?i:[0-9a-f]{24}-[0-9a-f]{34})")),
    secret("readme", &["rdme_"], token!("rdme_[0-9a-z]{70}")),
    secret("prefect", &["pnu_"], token!("pnu_[0-9A-Za-z]{36}")),
    whole("gitea", &["gta_"], token!("gta_[0-9a-f]{40}")),
    secret(
        "codecov_upload",
        &["codecov_token"],
        r#"(?i:codecov_token)["']?[ \t]{0,8}[=:][ \t]{0,8}["']?(?P<v>[0-9a-f-]{36})"#,
    ),
    // The name is the secret's host; the value is user and password.
    Rule {
        check: |value| !placeholder(value),
        ..Rule::new(
            Kind::OTHER_SECRET,
            "sidekiq",
            &["contribsys__com"],
            r#"(?i:contribsys__com)[0-9A-Za-z_ \t]{0,20}["']?[ \t>]{0,3}[=:>]{1,4}[\s"'`]{0,8}(?P<v>(?i:[0-9a-f]{8}:[0-9a-f]{8}))"#,
        )
    },
];
