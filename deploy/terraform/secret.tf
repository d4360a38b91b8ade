# The upstream key. Its value is never Terraform's, which would write it into its state: put it there by
# `aws secretsmanager put-secret-value`, once.

resource "aws_secretsmanager_secret" "key" {
  name                    = "${var.name}/anthropic-key"
  description             = "The key that Portcullis adds to calls; hosts read the version AWSCURRENT"
  kms_key_id              = aws_kms_key.this["secret"].arn
  recovery_window_in_days = 30
  tags                    = var.tags
}

data "aws_iam_policy_document" "secret" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["secretsmanager:*"]
    resources = ["*"]
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

resource "aws_secretsmanager_secret_policy" "key" {
  secret_arn          = aws_secretsmanager_secret.key.arn
  policy              = data.aws_iam_policy_document.secret.json
  block_public_policy = true
}

# The function makes the new version as AWSPENDING, tries it, and moves AWSCURRENT to it; the former one stays as AWSPREVIOUS,
# and both keys must be good until every host has fetched the new one.
resource "aws_secretsmanager_secret_rotation" "key" {
  count               = var.rotation_lambda_arn == null ? 0 : 1
  secret_id           = aws_secretsmanager_secret.key.id
  rotation_lambda_arn = var.rotation_lambda_arn
  rotate_immediately  = false
  rotation_rules {
    automatically_after_days = var.secret_rotation_days
  }
  depends_on = [aws_lambda_permission.rotation]
}

resource "aws_lambda_permission" "rotation" {
  count          = var.rotation_lambda_arn == null ? 0 : 1
  statement_id   = "${var.name}-rotation"
  action         = "lambda:InvokeFunction"
  function_name  = var.rotation_lambda_arn
  principal      = "secretsmanager.amazonaws.com"
  source_arn     = aws_secretsmanager_secret.key.arn
  source_account = local.account
}
