# What holds whatever the variables are. No API is called.
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

run "segments_are_locked_in_compliance_mode" {
  command = plan
  assert {
    condition     = aws_s3_bucket.audit.object_lock_enabled && !aws_s3_bucket.audit.force_destroy
    error_message = "the bucket must have Object Lock, and not be destroyed with its objects"
  }
  assert {
    condition     = one(aws_s3_bucket_object_lock_configuration.audit.rule[0].default_retention).mode == "COMPLIANCE"
    error_message = "compliance mode is the default"
  }
  assert {
    condition     = one(aws_s3_bucket_object_lock_configuration.audit.rule[0].default_retention).days == 2190
    error_message = "six years are the default"
  }
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.audit.rule[0].expiration[0].days > 2190
    error_message = "nothing may expire before its lock ends"
  }
}

run "tiers_beyond_the_retention_are_left_out" {
  command = plan
  variables {
    lock_mode      = "GOVERNANCE"
    retention_days = 365
  }
  assert {
    condition     = [for tier in aws_s3_bucket_lifecycle_configuration.audit.rule[0].transition : tier.storage_class] == ["GLACIER_IR"]
    error_message = "a tier at 400 days is not for objects of 365"
  }
}

run "no_endpoint_without_a_service" {
  command = plan
  assert {
    condition     = length(aws_vpc_endpoint.upstream) == 0 && length(aws_security_group.endpoint) == 0
    error_message = "nothing is made of an endpoint that is not asked for"
  }
}

run "an_endpoint_names_who_reaches_it" {
  command = plan
  variables {
    endpoint = { service_name = "com.amazonaws.vpce.us-east-1.vpce-svc-0123", vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
  }
  expect_failures = [aws_vpc_endpoint.upstream]
}

run "only_proxies_reach_the_endpoint" {
  command = plan
  variables {
    endpoint                 = { service_name = "com.amazonaws.vpce.us-east-1.vpce-svc-0123", vpc_id = "vpc-1", subnet_ids = ["subnet-1"] }
    proxy_security_group_ids = { edge = "sg-1" }
    proxy_cidrs              = ["10.99.7.16/28"]
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.proxy["edge"].referenced_security_group_id == "sg-1" && aws_vpc_security_group_ingress_rule.proxy["edge"].from_port == 443
    error_message = "the proxies' group, to 443"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.proxy) + length(aws_vpc_security_group_ingress_rule.proxy_network) == 2
    error_message = "and the network that is named, nobody else"
  }
  assert {
    condition     = !aws_vpc_endpoint.upstream["upstream"].private_dns_enabled
    error_message = "private DNS is asked for, not given"
  }
}

run "no_network_is_the_internet" {
  command = plan
  variables {
    proxy_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.proxy_cidrs]
}

run "rotation_is_monthly_where_there_is_a_function" {
  command = plan
  variables {
    rotation_lambda_arn = "arn:aws:lambda:us-east-1:123456789012:function:rotate"
  }
  assert {
    condition     = aws_secretsmanager_secret_rotation.key[0].rotation_rules[0].automatically_after_days == 30
    error_message = "a month"
  }
}

run "the_table_is_the_one_of_the_sql" {
  command = plan
  assert {
    condition     = length(aws_glue_catalog_table.audit["on"].storage_descriptor[0].columns) == length(regexall("(?m)^  `", file("../athena/table.sql")))
    error_message = "a column is missing"
  }
  assert {
    condition     = aws_glue_catalog_table.audit["on"].parameters["storage.location.template"] == "s3://portcullis-audit-123456789012-us-east-1/audit/dt=$${dt}/"
    error_message = "partitions are found by their day"
  }
  assert {
    condition     = aws_glue_catalog_table.audit["on"].parameters["projection.dt.type"] == "date"
    error_message = "projection comes from the SQL"
  }
  assert {
    condition     = length(aws_athena_prepared_statement.question) == length(regexall("-- name: ", file("../athena/queries.sql")))
    error_message = "a question is missing"
  }
}

run "every_alarm_is_made_for_the_fleet" {
  command = plan
  variables {
    fleet = "west"
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == length(jsondecode(file("../cloudwatch/alarms.json")))
    error_message = "an alarm is missing"
  }
  assert {
    condition = alltrue(flatten([
      for alarm in aws_cloudwatch_metric_alarm.this : [
        for query in alarm.metric_query : [for metric in query.metric : metric.dimensions.fleet == "west"]
      ]
    ]))
    error_message = "an alarm is of another fleet"
  }
}

run "hosts_elsewhere_are_named" {
  command = plan
  variables {
    ec2            = false
    roles_anywhere = { ca_bundle = "PEM", common_names = ["*.example.com"] }
  }
  expect_failures = [var.roles_anywhere]
}

run "somebody_can_be_the_role" {
  command = plan
  variables {
    ec2 = false
  }
  expect_failures = [aws_iam_role.proxy]
}
