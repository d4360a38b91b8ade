# The alarms of deploy/cloudwatch, as they stand there, for this fleet.

locals {
  alarms = {
    for alarm in jsondecode(file("${path.module}/../cloudwatch/alarms.json")) : alarm.AlarmName => alarm if var.alarms
  }
}

resource "aws_cloudwatch_log_group" "metrics" {
  #checkov:skip=CKV_AWS_158:Counts without names of people or content, encrypted by CloudWatch's own key
  count             = var.alarms ? 1 : 0
  name              = "/portcullis/metrics"
  retention_in_days = var.metrics_log_days
  tags              = var.tags
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${trimprefix(each.key, "portcullis-")}"
  alarm_description   = each.value.AlarmDescription
  comparison_operator = each.value.ComparisonOperator
  evaluation_periods  = each.value.EvaluationPeriods
  datapoints_to_alarm = each.value.DatapointsToAlarm
  threshold           = try(each.value.Threshold, null)
  threshold_metric_id = try(each.value.ThresholdMetricId, null)
  treat_missing_data  = each.value.TreatMissingData
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags

  dynamic "metric_query" {
    for_each = each.value.Metrics
    content {
      id          = metric_query.value.Id
      expression  = try(metric_query.value.Expression, null)
      label       = try(metric_query.value.Label, null)
      return_data = metric_query.value.ReturnData
      dynamic "metric" {
        for_each = try([metric_query.value.MetricStat], [])
        content {
          namespace   = metric.value.Metric.Namespace
          metric_name = metric.value.Metric.MetricName
          period      = metric.value.Period
          stat        = metric.value.Stat
          dimensions = {
            for dimension in metric.value.Metric.Dimensions :
            dimension.Name => dimension.Name == "fleet" ? var.fleet : dimension.Value
          }
        }
      }
    }
  }
}
