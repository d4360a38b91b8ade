output "endpoints" {
  description = "For [upstream] endpoints: the endpoint's names, HOST:443, the regional one first, then one a zone."
  value       = flatten([for endpoint in aws_vpc_endpoint.upstream : [for entry in endpoint.dns_entry : "${entry.dns_name}:443"]])
}

output "endpoint_security_group_id" {
  description = "The endpoint's security group."
  value       = one([for group in aws_security_group.endpoint : group.id])
}

output "ship_url" {
  description = "For [audit.ship] url."
  value       = "s3://${local.bucket}/${var.audit_prefix}"
}

output "audit_bucket_arn" {
  description = "The audit bucket."
  value       = aws_s3_bucket.audit.arn
}

output "audit_key_arn" {
  description = "The key of segments. [audit.ship] needs no kms_key: the bucket's rule names it."
  value       = aws_kms_key.this["audit"].arn
}

output "secret_arn" {
  description = "The secret with the upstream key."
  value       = aws_secretsmanager_secret.key.arn
}

output "role_arn" {
  description = "Who a proxy is."
  value       = aws_iam_role.proxy.arn
}

output "instance_profile_name" {
  description = "For EC2 instances."
  value       = one(aws_iam_instance_profile.proxy[*].name)
}

output "trust_anchor_arn" {
  description = "For hosts outside AWS."
  value       = one([for anchor in aws_rolesanywhere_trust_anchor.hosts : anchor.arn])
}

output "roles_anywhere_profile_arn" {
  description = "For hosts outside AWS."
  value       = one([for profile in aws_rolesanywhere_profile.hosts : profile.arn])
}

output "auditor_policy_arn" {
  description = "For the auditors' role."
  value       = one([for policy in aws_iam_policy.auditor : policy.arn])
}

output "athena_workgroup" {
  description = "Where auditors ask."
  value       = one([for group in aws_athena_workgroup.audit : group.name])
}

output "metrics_log_group" {
  description = "Where the CloudWatch agents write."
  value       = one(aws_cloudwatch_log_group.metrics[*].name)
}
