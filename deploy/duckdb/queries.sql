-- Questions that auditors ask, for DuckDB, over the view of view.sql. What they are about is said by variables:
--
--   SET VARIABLE since = '2026-11-01'; SET VARIABLE until = '2026-11-30';  -- days of UTC, both included
--   SET VARIABLE subject = 'alice'; SET VARIABLE day = '2026-11-24';       -- of subject_day
--
-- Amounts are what the prices in force made of the usage; a call of a model without a price has none, and is counted in
-- "unpriced".

-- name: usage
-- Who used which model, and what it cost. An alias is shown as the model that answered.
SELECT
  subject,
  coalesce(answered_by, models[1]) AS model,
  count(*) AS calls,
  sum(usage.input_tokens) AS input_tokens,
  sum(usage.output_tokens) AS output_tokens,
  sum(cost_micro_usd) / 1e6 AS cost_usd,
  count_if(usage.output_tokens IS NOT NULL AND cost_micro_usd IS NULL) AS unpriced
FROM portcullis_audit
WHERE substr(time, 1, 10) BETWEEN getvariable('since') AND getvariable('until') AND event = 'end'
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: refusals
-- What was refused here, why, and to how many subjects; the subject is not known where the token was refused.
SELECT reason, status, count(*) AS requests, count(DISTINCT subject) AS subjects, min(time) AS first, max(time) AS last
FROM portcullis_audit
WHERE substr(time, 1, 10) BETWEEN getvariable('since') AND getvariable('until') AND event = 'refused'
GROUP BY 1, 2
ORDER BY 3 DESC, 1, 2;

-- name: endless
-- Calls that went out and have no end: the process was killed, or the segment with the end has not come yet.
SELECT
  min(time) AS time,
  request_id,
  min(subject) AS subject,
  min(models[1]) AS model,
  min(key) AS key,
  min(upstream) AS upstream
FROM portcullis_audit
WHERE substr(time, 1, 10) BETWEEN getvariable('since') AND getvariable('until') AND event IN ('begin', 'end')
GROUP BY request_id
HAVING count_if(event = 'end') = 0
ORDER BY 1, 2;

-- name: subject_day
-- All that one subject did on one day.
SELECT
  time,
  event,
  request_id,
  client,
  method,
  path,
  coalesce(answered_by, models[1]) AS model,
  rule,
  reason,
  status,
  usage.input_tokens AS input_tokens,
  usage.output_tokens AS output_tokens,
  cost_micro_usd / 1e6 AS cost_usd
FROM portcullis_audit
WHERE substr(time, 1, 10) = getvariable('day') AND event <> 'begin' AND subject = getvariable('subject')
ORDER BY 1, 3;

-- name: team_months
-- Tokens and cost by team and month. A call of somebody in two teams counts in both: the teams' sums are not the whole.
SELECT
  substr(time, 1, 7) AS month,
  team,
  count(*) AS calls,
  sum(usage.input_tokens) AS input_tokens,
  sum(usage.cache_creation_input_tokens) AS cache_write_tokens,
  sum(usage.cache_read_input_tokens) AS cache_read_tokens,
  sum(usage.output_tokens) AS output_tokens,
  sum(cost_micro_usd) / 1e6 AS cost_usd
FROM portcullis_audit
CROSS JOIN UNNEST(coalesce(teams, ['(none)'])) AS member (team)
WHERE substr(time, 1, 10) BETWEEN getvariable('since') AND getvariable('until') AND event = 'end'
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: gaps
-- Numbers that are missing in a chain between the first and the last line that there is; a chain is a folder's or a host's. Whether the lines that are there are
-- those that were written is for `portcullis audit verify` to say.
WITH lines AS (
  SELECT regexp_extract(filename, '[^/]*/audit-[0-9]+') AS chain, seq
  FROM portcullis_audit
), pairs AS (
  SELECT chain, seq, lag(seq) OVER (PARTITION BY chain ORDER BY seq) AS before FROM lines
)
SELECT chain, before + 1 AS first_missing, seq - 1 AS last_missing
FROM pairs
WHERE seq > before + 1
ORDER BY 1, 2;
