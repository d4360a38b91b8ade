# Two proxies' hosts in two zones of a network without a way to the internet, and one outside AWS.

module "portcullis" {
  source = "../.."
  name   = var.name

  endpoint = {
    service_name = var.service_name
    vpc_id       = aws_vpc.edge.id
    subnet_ids   = [for subnet in aws_subnet.edge : subnet.id]
    private_dns  = var.private_dns
  }
  proxy_security_group_ids = { edge = aws_security_group.proxy.id }
  proxy_cidrs              = ["10.99.7.16/28"]

  retention_days      = 2190
  rotation_lambda_arn = var.rotation_lambda_arn
  alarm_topic_arns    = [aws_sns_topic.alarms.arn]

  roles_anywhere = var.ca_bundle == null ? null : {
    ca_bundle    = var.ca_bundle
    common_names = ["edge-3.example.com"]
  }

  tags = { service = "portcullis", data = "audit" }
}

resource "aws_vpc" "edge" {
  #checkov:skip=CKV2_AWS_11:Flow logs are the company's network's, not this example's
  cidr_block           = "10.20.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Nothing is in the group that a VPC is born with.
resource "aws_default_security_group" "edge" {
  vpc_id = aws_vpc.edge.id
}

resource "aws_subnet" "edge" {
  for_each          = { a = "10.20.1.0/24", b = "10.20.2.0/24" }
  vpc_id            = aws_vpc.edge.id
  cidr_block        = each.value
  availability_zone = "${var.region}${each.key}"
}

# The proxies' own group: clients come in, and calls go to the endpoint.
resource "aws_security_group" "proxy" {
  #checkov:skip=CKV2_AWS_5:The hosts that it is for are not made here
  name        = "${var.name}-proxy"
  description = "Hosts that run Portcullis"
  vpc_id      = aws_vpc.edge.id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  security_group_id = aws_security_group.proxy.id
  description       = "Clients"
  cidr_ipv4         = "10.0.0.0/8"
  ip_protocol       = "tcp"
  from_port         = 8443
  to_port           = 8443
}

resource "aws_vpc_security_group_egress_rule" "endpoint" {
  security_group_id            = aws_security_group.proxy.id
  description                  = "To the upstream"
  referenced_security_group_id = module.portcullis.endpoint_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

# CloudWatch may not use the key that AWS manages for topics, so the topic has one of its own.
data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "alarms" {
  #checkov:skip=CKV_AWS_109:In a key's policy * is the key, and the account must stay able to administer it
  #checkov:skip=CKV_AWS_111:In a key's policy * is the key, and the account must stay able to administer it
  #checkov:skip=CKV_AWS_356:In a key's policy * is the key, and the account must stay able to administer it
  statement {
    sid       = "Account"
    actions   = ["kms:*"]
    resources = ["*"]
    principals {
      type        = "AWS"
      identifiers = ["arn:aws:iam::${data.aws_caller_identity.current.account_id}:root"]
    }
  }
  statement {
    sid       = "Alarms"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = ["*"]
    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_kms_key" "alarms" {
  description         = "Portcullis: alarms"
  enable_key_rotation = true
  policy              = data.aws_iam_policy_document.alarms.json
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.alarms.id
}
