# Two keys, so that who may read the audit log cannot read the upstream key.

locals {
  keys = {
    audit  = "Portcullis: segments of the audit log"
    secret = "Portcullis: the upstream key"
  }
}

data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:In a key's policy * is the key, and the account must stay able to administer it
  #checkov:skip=CKV_AWS_111:In a key's policy * is the key, and the account must stay able to administer it
  #checkov:skip=CKV_AWS_356:In a key's policy * is the key, and the account must stay able to administer it
  # The account's IAM policies decide, and iam.tf is where they are.
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = [local.root]
    }
  }
}

resource "aws_kms_key" "this" {
  for_each                = local.keys
  description             = each.value
  enable_key_rotation     = true
  rotation_period_in_days = var.key_rotation_days
  deletion_window_in_days = 30
  policy                  = data.aws_iam_policy_document.key.json
  tags                    = var.tags

  lifecycle {
    # Without the key every segment is noise, lock or no lock.
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "this" {
  for_each      = local.keys
  name          = "alias/${var.name}-${each.key}"
  target_key_id = aws_kms_key.this[each.key].key_id
}
