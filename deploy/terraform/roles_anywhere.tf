# Proxies outside AWS: temporary keys for a certificate of the company's authority.

locals {
  anywhere = var.roles_anywhere == null ? {} : { hosts = var.roles_anywhere }
}

resource "aws_rolesanywhere_trust_anchor" "hosts" {
  for_each = local.anywhere
  name     = "${var.name}-hosts"
  enabled  = true
  tags     = var.tags
  source {
    source_type = "CERTIFICATE_BUNDLE"
    source_data {
      x509_certificate_data = each.value.ca_bundle
    }
  }
}

resource "aws_rolesanywhere_profile" "hosts" {
  for_each         = local.anywhere
  name             = "${var.name}-hosts"
  enabled          = true
  role_arns        = [aws_iam_role.proxy.arn]
  duration_seconds = each.value.session_seconds
  tags             = var.tags
}
