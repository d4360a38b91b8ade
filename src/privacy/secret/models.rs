//! Keys of model providers.

use super::super::Kind;
use super::super::rule::Rule;
use super::chance::varied;
use super::{begins, secret, token, whole};

pub(super) const RULES: &[Rule] = &[
    // Keys of the API and of the console, and what Claude Code is given by OAuth: all are 93 characters and AA.
    Rule {
        check: varied,
        ..Rule::new(
            Kind::ANTHROPIC_KEY,
            "anthropic",
            &["sk-ant-"],
            token!("sk-ant-[a-z]{2,8}[0-9]{2}-[0-9A-Za-z_-]{80,120}AA"),
        )
    },
    // `T3BlbkFJ` is "OpenAI" in base64 and stands in the middle of every key.
    Rule {
        context: begins,
        check: varied,
        ..Rule::new(
            Kind::OPENAI_KEY,
            "openai",
            &["sk-"],
            token!("sk-(?:[a-z]{2,12}-)?[0-9A-Za-z_-]{16,90}T3BlbkFJ[0-9A-Za-z_-]{16,90}"),
        )
    },
    Rule {
        check: varied,
        ..Rule::new(
            Kind::OPENAI_KEY,
            "openai_project",
            &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-none-"],
            token!("sk-[A-Za-z]{4,8}-[0-9A-Za-z_-]{40,200}"),
        )
    },
    secret("openrouter", &["sk-or-v1-"], token!("sk-or-v1-[0-9a-f]{64}")),
    secret("langsmith", &["lsv2_"], token!("lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}")),
    whole("hugging_face", &["hf_"], token!("hf_[0-9A-Za-z]{34,40}")),
    whole("hugging_face_organisation", &["api_org_"], token!("api_org_[0-9A-Za-z]{34}")),
    secret("perplexity", &["pplx-"], token!("pplx-[0-9A-Za-z]{40,56}")),
    secret("groq", &["gsk_"], token!("gsk_[0-9A-Za-z]{48,60}")),
    secret("xai", &["xai-"], token!("xai-[0-9A-Za-z_-]{70,90}")),
    whole("replicate", &["r8_"], token!("r8_[0-9A-Za-z_-]{37}")),
    whole("deepseek_or_compatible", &["sk-"], token!("sk-[0-9a-f]{32}")),
    whole("fireworks", &["fw_"], token!("fw_[0-9A-Za-z]{22,24}")),
    secret("nvidia", &["nvapi-"], token!("nvapi-[0-9A-Za-z_-]{60,70}")),
    secret("pinecone", &["pcsk_"], token!("pcsk_[0-9A-Za-z]{4,8}_[0-9A-Za-z]{40,70}")),
];
