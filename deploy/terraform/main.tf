data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.name
  root      = "arn:${local.partition}:iam::${local.account}:root"
  bucket    = coalesce(var.audit_bucket, "${var.name}-audit-${local.account}-${local.region}")
}
