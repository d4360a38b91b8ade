# Who a proxy is, and what it may do: what src/audit/ship calls, reading one secret, and writing its metrics.

data "aws_iam_policy_document" "assume" {
  dynamic "statement" {
    for_each = var.ec2 ? ["ec2.amazonaws.com"] : []
    content {
      sid     = "Instances"
      actions = ["sts:AssumeRole"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
    }
  }
  dynamic "statement" {
    for_each = aws_rolesanywhere_trust_anchor.hosts
    content {
      sid     = "HostsElsewhere"
      actions = ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]
      principals {
        type        = "Service"
        identifiers = ["rolesanywhere.amazonaws.com"]
      }
      condition {
        test     = "ArnEquals"
        variable = "aws:SourceArn"
        values   = [statement.value.arn]
      }
      condition {
        test     = "StringEquals"
        variable = "aws:PrincipalTag/x509Subject/CN"
        values   = var.roles_anywhere.common_names
      }
    }
  }
}

resource "aws_iam_role" "proxy" {
  name                 = "${var.name}-proxy"
  description          = "Hosts that run Portcullis"
  assume_role_policy   = data.aws_iam_policy_document.assume.json
  max_session_duration = 3600
  tags                 = var.tags

  lifecycle {
    precondition {
      condition     = var.ec2 || var.roles_anywhere != null
      error_message = "Nobody could be the role: set ec2 or roles_anywhere."
    }
  }
}

resource "aws_iam_instance_profile" "proxy" {
  count = var.ec2 ? 1 : 0
  name  = "${var.name}-proxy"
  role  = aws_iam_role.proxy.name
  tags  = var.tags
}

# Puts segments and reads them back. It lists nothing, and deletes nothing whatever else the role is given.
data "aws_iam_policy_document" "ship" {
  statement {
    sid       = "PutAndReadBack"
    actions   = concat(["s3:PutObject", "s3:GetObject"], var.uploads_bear_retention ? ["s3:PutObjectRetention"] : [])
    resources = ["${aws_s3_bucket.audit.arn}/${var.audit_prefix}/dt=*"]
  }
  statement {
    sid       = "EncryptSegments"
    actions   = ["kms:GenerateDataKey", "kms:Decrypt"]
    resources = [aws_kms_key.this["audit"].arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["s3.${local.region}.amazonaws.com"]
    }
  }
  statement {
    sid    = "NeverTakeAway"
    effect = "Deny"
    actions = [
      "s3:BypassGovernanceRetention",
      "s3:DeleteBucket*",
      "s3:DeleteObject*",
      "s3:PutBucketObjectLockConfiguration",
      "s3:PutBucketPolicy",
      "s3:PutBucketVersioning",
      "s3:PutLifecycleConfiguration",
      "s3:PutObjectLegalHold",
    ]
    resources = [aws_s3_bucket.audit.arn, "${aws_s3_bucket.audit.arn}/*"]
  }
}

data "aws_iam_policy_document" "read_secret" {
  statement {
    sid       = "CurrentKey"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.key.arn]
    condition {
      test     = "StringEquals"
      variable = "secretsmanager:VersionStage"
      values   = ["AWSCURRENT"]
    }
  }
  statement {
    sid       = "DecryptKey"
    actions   = ["kms:Decrypt"]
    resources = [aws_kms_key.this["secret"].arn]
    condition {
      test     = "StringEquals"
      variable = "kms:ViaService"
      values   = ["secretsmanager.${local.region}.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "kms:EncryptionContext:SecretARN"
      values   = [aws_secretsmanager_secret.key.arn]
    }
  }
}

data "aws_iam_policy_document" "write_metrics" {
  statement {
    sid       = "WriteMetrics"
    actions   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.metrics : "${group.arn}:*"]
  }
}

locals {
  proxy_policies = merge(
    {
      ship   = data.aws_iam_policy_document.ship.json
      secret = data.aws_iam_policy_document.read_secret.json
    },
    var.alarms ? { metrics = data.aws_iam_policy_document.write_metrics.json } : {},
  )
}

resource "aws_iam_role_policy" "proxy" {
  for_each = local.proxy_policies
  name     = each.key
  role     = aws_iam_role.proxy.id
  policy   = each.value
}
