# The private way: an interface endpoint that only the proxies reach, and whose interfaces reach nobody.

locals {
  endpoints = var.endpoint == null ? {} : { upstream = var.endpoint }
}

resource "aws_security_group" "endpoint" {
  for_each               = local.endpoints
  name                   = "${var.name}-endpoint"
  description            = "The endpoint to the upstream of Claude: proxies only, 443 only"
  vpc_id                 = each.value.vpc_id
  revoke_rules_on_delete = true
  tags                   = merge(var.tags, { Name = "${var.name}-endpoint" })
}

resource "aws_vpc_security_group_ingress_rule" "proxy" {
  for_each                     = var.endpoint == null ? {} : var.proxy_security_group_ids
  security_group_id            = aws_security_group.endpoint["upstream"].id
  description                  = "TLS from the proxies ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  tags                         = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "proxy_network" {
  for_each          = var.endpoint == null ? [] : var.proxy_cidrs
  security_group_id = aws_security_group.endpoint["upstream"].id
  description       = "TLS from proxies elsewhere"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = var.tags
}

data "aws_iam_policy_document" "endpoint" {
  for_each = { for name, endpoint in local.endpoints : name => endpoint if length(endpoint.allowed_actions) > 0 }

  statement {
    sid       = "OwnAccount"
    actions   = each.value.allowed_actions
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:PrincipalAccount"
      values   = [local.account]
    }
  }
}

resource "aws_vpc_endpoint" "upstream" {
  for_each            = local.endpoints
  vpc_id              = each.value.vpc_id
  service_name        = each.value.service_name
  service_region      = each.value.service_region
  vpc_endpoint_type   = "Interface"
  subnet_ids          = each.value.subnet_ids
  security_group_ids  = [aws_security_group.endpoint[each.key].id]
  private_dns_enabled = each.value.private_dns
  policy              = try(data.aws_iam_policy_document.endpoint[each.key].json, null)
  tags                = merge(var.tags, { Name = "${var.name}-upstream" })

  lifecycle {
    precondition {
      condition     = length(var.proxy_security_group_ids) + length(var.proxy_cidrs) > 0
      error_message = "Name who may reach the endpoint: proxy_security_group_ids or proxy_cidrs."
    }
  }
}
