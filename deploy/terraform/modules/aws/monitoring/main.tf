# What AWS measures outside the processes, told by mail, and a bound for the bill. What the pipeline
# itself knows (freshness, letters, budgets) is the exporter's and Prometheus' business:
# deploy/monitoring.

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = var.kms_key_arn
}

resource "aws_sns_topic_subscription" "email" {
  for_each = toset(var.emails)

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  # Thresholds of the alert rules in deploy/monitoring: processor over 80 %, memory over 85 %.
  alarms = merge(
    {
      database_processor = {
        namespace  = "AWS/EC2", metric = "CPUUtilization", statistic = "Average", threshold = 80
        dimensions = { InstanceId = var.database_instance_id }
      }
      database_gone = {
        namespace  = "AWS/EC2", metric = "StatusCheckFailed", statistic = "Maximum", threshold = 0
        dimensions = { InstanceId = var.database_instance_id }
      }
    },
    {
      for member in var.cache_members : "queue_memory_${member}" => {
        namespace  = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", statistic = "Average", threshold = 85
        dimensions = { CacheClusterId = member }
      }
    },
    {
      for service in var.services : "memory_${service}" => {
        namespace  = "AWS/ECS", metric = "MemoryUtilization", statistic = "Average", threshold = 85
        dimensions = { ClusterName = var.cluster, ServiceName = service }
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${replace(each.key, "_", "-")}"
  alarm_description   = "${replace(each.key, "_", " ")}: ${each.value.metric} over ${each.value.threshold}"
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = 2
  treat_missing_data  = "missing"
  dimensions          = each.value.dimensions
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
}

resource "aws_budgets_budget" "month" {
  name         = var.name
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:environment%s%s", "$", var.environment)]
  }

  notification {
    comparison_operator        = "GREATER_THAN"
    threshold                  = 100
    threshold_type             = "PERCENTAGE"
    notification_type          = "FORECASTED"
    subscriber_email_addresses = var.emails
  }
}
