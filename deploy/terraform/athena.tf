# What deploy/athena has, as it stands there: columns, SerDe and questions are read from its files, so there is one of each.

locals {
  table = file("${path.module}/../athena/table.sql")
  # `name` type, one a line, between the table's parentheses; then the partition's.
  columns = {
    for pair in regexall("(?m)^  `([a-z0-9_]+)` (.+?),?$", local.table) : pair[0] => pair[1]
  }
  column_order     = [for pair in regexall("(?m)^  `([a-z0-9_]+)` ", local.table) : pair[0]]
  partition_column = regex("PARTITIONED BY \\(`([a-z]+)` ([a-z]+)\\)", local.table)
  serde            = regex("SERDE '([^']+)'", local.table)[0]
  serde_properties = {
    for pair in regexall("'([^']+)' = '([^']*)'", regex("SERDEPROPERTIES \\(([^)]*)\\)", local.table)[0]) : pair[0] => pair[1]
  }
  formats = regex("INPUTFORMAT '([^']+)' OUTPUTFORMAT '([^']+)'", local.table)
  projection = {
    for pair in regexall("(?m)^  '(projection[^']+)' = '([^']*)'", local.table) : pair[0] => pair[1]
  }
  # A question is what stands between its name and the next one, without the semicolon, which Athena's statements do not have.
  questions = {
    for pair in regexall("(?s)-- name: ([a-z_]+)\n(.*?);\n", file("${path.module}/../athena/queries.sql")) : pair[0] => trimspace(pair[1])
  }
  athena   = var.athena ? { on = true } : {}
  location = "s3://${local.bucket}/${var.audit_prefix}/"
}

resource "aws_glue_catalog_database" "audit" {
  for_each    = local.athena
  name        = replace("${var.name}_audit", "-", "_")
  description = "Portcullis: the audit log"
}

resource "aws_glue_catalog_table" "audit" {
  for_each      = local.athena
  name          = "portcullis_audit"
  database_name = aws_glue_catalog_database.audit[each.key].name
  description   = "Lines of shipped segments; docs/audit.md says what each column means"
  table_type    = "EXTERNAL_TABLE"

  parameters = merge(local.projection, {
    "EXTERNAL"                  = "TRUE"
    "projection.dt.range"       = "${var.table_since},NOW+1DAYS"
    "storage.location.template" = "${local.location}dt=$${dt}/"
  })

  partition_keys {
    name = local.partition_column[0]
    type = local.partition_column[1]
  }

  storage_descriptor {
    location      = local.location
    input_format  = local.formats[0]
    output_format = local.formats[1]
    ser_de_info {
      serialization_library = local.serde
      parameters            = local.serde_properties
    }
    dynamic "columns" {
      for_each = local.column_order
      content {
        name = columns.value
        type = local.columns[columns.value]
      }
    }
  }
}

resource "aws_s3_bucket" "results" {
  #checkov:skip=CKV_AWS_18:Answers of queries for thirty days, no evidence
  #checkov:skip=CKV_AWS_21:Answers of queries for thirty days, no evidence
  #checkov:skip=CKV_AWS_144:Answers of queries for thirty days, no evidence
  #checkov:skip=CKV2_AWS_62:Answers of queries for thirty days, no evidence
  for_each      = local.athena
  bucket        = "${var.name}-athena-${local.account}-${local.region}"
  force_destroy = true
  tags          = var.tags
}

resource "aws_s3_bucket_public_access_block" "results" {
  for_each                = local.athena
  bucket                  = aws_s3_bucket.results[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "results" {
  for_each = local.athena
  bucket   = aws_s3_bucket.results[each.key].id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this["audit"].arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  for_each = local.athena
  bucket   = aws_s3_bucket.results[each.key].id
  rule {
    id     = "results"
    status = "Enabled"
    filter {}
    expiration {
      days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "results_bucket" {
  for_each = local.athena
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.results[each.key].arn, "${aws_s3_bucket.results[each.key].arn}/*"]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "results" {
  for_each   = local.athena
  bucket     = aws_s3_bucket.results[each.key].id
  policy     = data.aws_iam_policy_document.results_bucket[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.results]
}

resource "aws_athena_workgroup" "audit" {
  for_each    = local.athena
  name        = "${var.name}-audit"
  description = "Questions to the audit log"
  tags        = var.tags
  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.athena_scan_limit_bytes
    result_configuration {
      output_location = "s3://${aws_s3_bucket.results[each.key].bucket}/"
      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = aws_kms_key.this["audit"].arn
      }
    }
  }
}

# EXECUTE usage USING '2026-11-01', '2026-11-30'
resource "aws_athena_prepared_statement" "question" {
  for_each        = var.athena ? local.questions : {}
  name            = each.key
  workgroup       = aws_athena_workgroup.audit["on"].name
  query_statement = replace(each.value, "FROM portcullis_audit", "FROM ${aws_glue_catalog_database.audit["on"].name}.portcullis_audit")
}

data "aws_iam_policy_document" "auditor" {
  for_each = local.athena
  statement {
    sid       = "ReadSegments"
    actions   = ["s3:GetObject", "s3:GetObjectRetention", "s3:GetObjectVersion"]
    resources = ["${aws_s3_bucket.audit.arn}/${var.audit_prefix}/*"]
  }
  statement {
    sid       = "FindSegments"
    actions   = ["s3:GetBucketLocation", "s3:GetBucketObjectLockConfiguration", "s3:ListBucket", "s3:ListBucketVersions"]
    resources = [aws_s3_bucket.audit.arn]
  }
  statement {
    sid       = "Results"
    actions   = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:PutObject"]
    resources = [aws_s3_bucket.results[each.key].arn, "${aws_s3_bucket.results[each.key].arn}/*"]
  }
  statement {
    sid       = "Decrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [aws_kms_key.this["audit"].arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
  statement {
    sid = "Ask"
    actions = [
      "athena:GetPreparedStatement",
      "athena:GetQueryExecution",
      "athena:GetQueryResults",
      "athena:GetWorkGroup",
      "athena:ListPreparedStatements",
      "athena:StartQueryExecution",
      "athena:StopQueryExecution",
    ]
    resources = [aws_athena_workgroup.audit[each.key].arn]
  }
  statement {
    sid     = "ReadTable"
    actions = ["glue:GetDatabase", "glue:GetPartitions", "glue:GetTable"]
    resources = [
      "arn:${local.partition}:glue:${local.region}:${local.account}:catalog",
      aws_glue_catalog_database.audit[each.key].arn,
      aws_glue_catalog_table.audit[each.key].arn,
    ]
  }
}

resource "aws_iam_policy" "auditor" {
  for_each    = local.athena
  name        = "${var.name}-auditor"
  description = "Reads the audit log, by Athena or as it is; changes nothing"
  policy      = data.aws_iam_policy_document.auditor[each.key].json
  tags        = var.tags
}
