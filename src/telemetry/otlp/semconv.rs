//! Names of attributes, pinned: the `gen_ai` names of OpenTelemetry's semantic conventions v1.41.0, the last release that had
//! them and not stable yet, and the stable names of v1.44.0 for the rest. Whoever follows a later version changes them here.

pub(super) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.41.0";

pub(super) const SERVICE_NAME: &str = "service.name";
pub(super) const SERVICE_VERSION: &str = "service.version";
pub(super) const SERVICE_INSTANCE_ID: &str = "service.instance.id";
pub(super) const HOST_NAME: &str = "host.name";

pub(super) const CLIENT_ADDRESS: &str = "client.address";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const ENDUSER_ID: &str = "enduser.id";
pub(super) const ERROR_TYPE: &str = "error.type";
pub(super) const HTTP_REQUEST_METHOD: &str = "http.request.method";
pub(super) const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
pub(super) const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
pub(super) const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
pub(super) const HTTP_REQUEST_RESEND_COUNT: &str = "http.request.resend_count";
pub(super) const HTTP_ROUTE: &str = "http.route";
pub(super) const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
pub(super) const NETWORK_PEER_PORT: &str = "network.peer.port";
pub(super) const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
pub(super) const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
pub(super) const URL_FULL: &str = "url.full";
pub(super) const URL_PATH: &str = "url.path";
pub(super) const URL_SCHEME: &str = "url.scheme";

pub(super) const OPERATION_NAME: &str = "gen_ai.operation.name";
/// The value of [`OPERATION_NAME`] for the Messages API. Counting tokens has none yet.
pub(super) const OPERATION_CHAT: &str = "chat";
pub(super) const PROVIDER_NAME: &str = "gen_ai.provider.name";
pub(super) const PROVIDER_ANTHROPIC: &str = "anthropic";
pub(super) const CONVERSATION_ID: &str = "gen_ai.conversation.id";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const REQUEST_MAX_TOKENS: &str = "gen_ai.request.max_tokens";
pub(super) const REQUEST_STREAM: &str = "gen_ai.request.stream";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const RESPONSE_FINISH_REASONS: &str = "gen_ai.response.finish_reasons";
pub(super) const RESPONSE_TIME_TO_FIRST_CHUNK: &str = "gen_ai.response.time_to_first_chunk";
/// All input tokens: the API's own `input_tokens` and those of the prompt cache.
pub(super) const USAGE_INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const USAGE_OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
pub(super) const USAGE_CACHE_READ: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const USAGE_CACHE_CREATION: &str = "gen_ai.usage.cache_creation.input_tokens";

/// What all names of our own in log records begin with.
pub(super) const OWN: &str = "portcullis.audit.";

// Of our own in spans; each is a member of the audit record.
pub(super) const OWN_REQUEST_ID: &str = "portcullis.request_id";
pub(super) const OWN_DECISION: &str = "portcullis.decision";
pub(super) const OWN_RULE: &str = "portcullis.rule";
pub(super) const OWN_REASON: &str = "portcullis.reason";
pub(super) const OWN_CLOSED_BY: &str = "portcullis.closed_by";
pub(super) const OWN_COST: &str = "portcullis.cost_micro_usd";
pub(super) const OWN_KEY: &str = "portcullis.key";
pub(super) const OWN_UPSTREAM_REQUEST_ID: &str = "portcullis.upstream_request_id";
