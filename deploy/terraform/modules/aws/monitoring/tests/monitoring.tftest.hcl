# Run with: terraform -chdir=deploy/terraform/modules/aws/monitoring test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name                 = "wrdata-production"
  environment          = "production"
  emails               = ["operations@example.com"]
  kms_key_arn          = "arn:aws:kms:us-east-1:123456789012:key/1"
  database_instance_id = "i-1"
  cache_members        = ["wrdata-production-queue-001"]
  cluster              = "wrdata-production"
  services             = ["daemon", "scheduled"]
  monthly_budget_usd   = 600
}

run "each_thing_that_may_run_short_has_an_alarm" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.this) == 5
    error_message = "The server's processor and its life, the queue's memory, each service's."
  }

  assert {
    condition     = one(one(aws_budgets_budget.month.cost_filter).values) == "user:environment$production"
    error_message = "Only this environment's costs count."
  }
}
