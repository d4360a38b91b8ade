-- The audit log as a table of Athena. Put your bucket and prefix for s3://portcullis-evidence/audit/ (twice), and run it once.
--
-- Partitions are projected: objects are found by their day alone, without a crawler and without ALTER TABLE. The host is no
-- partition. Its values would have to be listed here, and a host that is missing from the list would be invisible: no error
-- would say so. The objects of all hosts lie below dt=DAY/, and all of them are read. "$path" tells the host of a line.
--
-- dt is the UTC day of a segment's first line. Lines after midnight can be in a segment of the day before, and the end of a
-- long call in one of the day after: give queries a day more on both sides than is asked for.
--
-- Columns are the members of docs/audit.schema.json, all events together; time stays text, for it is RFC 3339.
-- A damaged line fails the query: a table that passes over it would hide what verification finds. projection.dt.range begins
-- before the first segment, and ends a day from now, for a host whose clock is ahead.
CREATE EXTERNAL TABLE IF NOT EXISTS portcullis_audit (
  `seq` bigint,
  `prev` string,
  `event` string,
  `version` int,
  `time` string,
  `request_id` string,
  `trace_id` string,
  `client` string,
  `issuer` string,
  `subject` string,
  `token_id` string,
  `teams` array<string>,
  `certificate` string,
  `session_id` string,
  `agent_id` string,
  `parent_agent_id` string,
  `method` string,
  `path` string,
  `endpoint` string,
  `models` array<string>,
  `answered_by` string,
  `stream` boolean,
  `max_tokens` bigint,
  `tools` array<string>,
  `prompt_hash` string,
  `response_hash` string,
  `findings` map<string,bigint>,
  `prompt` string,
  `response` string,
  `decision` string,
  `rule` string,
  `reason` string,
  `detail` string,
  `limits` array<struct<`name`:string,`measure`:string,`remaining`:bigint>>,
  `key` string,
  `attempts` int,
  `upstream` string,
  `upstream_request_id` string,
  `status` int,
  `complete` boolean,
  `error_type` string,
  `stop_reason` string,
  `usage` struct<`input_tokens`:bigint,`output_tokens`:bigint,`cache_creation_input_tokens`:bigint,`cache_read_input_tokens`:bigint,`cache_creation`:struct<`ephemeral_5m_input_tokens`:bigint,`ephemeral_1h_input_tokens`:bigint>,`server_tool_use`:struct<`web_search_requests`:bigint,`web_fetch_requests`:bigint>,`output_tokens_details`:struct<`thinking_tokens`:bigint>,`service_tier`:string,`speed`:string,`inference_geo`:string,`iterations`:array<struct<`type`:string,`model`:string,`input_tokens`:bigint,`output_tokens`:bigint,`cache_creation_input_tokens`:bigint,`cache_read_input_tokens`:bigint>>>,
  `cost_micro_usd` bigint,
  `partial_deltas` bigint,
  `request_bytes` bigint,
  `response_bytes` bigint,
  `sha256` struct<`request_received`:string,`request_sent`:string,`response_received`:string,`response_sent`:string>,
  `closed_by` string,
  `timings` struct<`decided_ms`:double,`recorded_ms`:double,`connected_ms`:double,`first_byte_ms`:double,`first_token_ms`:double,`total_ms`:double>,
  `program` string,
  `pid` bigint,
  `log` string,
  `configuration` string,
  `found` struct<`torn_bytes`:bigint,`torn_sha256`:string,`damaged`:string>,
  `heads` array<struct<`chain`:bigint,`seq`:bigint,`hash`:string>>,
  `from` string,
  `to` string,
  `refused` bigint,
  `lost` bigint,
  `unsure` bigint,
  `size` bigint,
  `root` string,
  `previous` string,
  `closes` boolean,
  `public_key` string,
  `signature` string
)
PARTITIONED BY (`dt` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'false')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat' OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION 's3://portcullis-evidence/audit/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW+1DAYS',
  'projection.dt.interval' = '1',
  'projection.dt.interval.unit' = 'DAYS',
  'storage.location.template' = 's3://portcullis-evidence/audit/dt=${dt}/'
)
