# Run with: terraform -chdir=deploy/terraform/modules/aws/workers test
# The provider is mocked: no account is needed.

mock_provider "aws" {
  override_during = plan
}

variables {
  name                = "wrdata-production"
  region              = "us-east-1"
  subnet_ids          = ["subnet-1"]
  security_group_id   = "sg-1"
  namespace_id        = "ns-1"
  domain              = "wrdata-production.internal"
  image_repository    = "ghcr.io/example"
  release             = "1.0.0"
  cpu                 = 1024
  memory_mb           = 2048
  daemons             = 2
  scheduled_workers   = 1
  backfill_workers    = 3
  settings            = { WRDATA_PROFILE = "production" }
  secret_settings     = ["FMP_API_KEY"]
  settings_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:wrdata"
  kms_key_arn         = "arn:aws:kms:us-east-1:123456789012:key/1"
  log_retention_days  = 365
}

run "only_backfills_are_on_spot" {
  command = plan

  assert {
    condition = [
      for name, service in aws_ecs_service.this : name
      if one(service.capacity_provider_strategy).capacity_provider == "FARGATE_SPOT"
    ] == ["backfill"]
    error_message = "What schedules start is not cut off."
  }

  assert {
    condition     = aws_ecs_service.this["backfill"].desired_count == 3 && aws_ecs_service.this["daemon"].desired_count == 2
    error_message = "As many as wanted."
  }
}

run "containers_may_little" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for task in aws_ecs_task_definition.this : [
        for container in jsondecode(task.container_definitions) :
        container.readonlyRootFilesystem && (container.name == "prepare" || container.user == "10001:10001")
      ]
    ]))
    error_message = "The root is read-only; only what prepares the volumes is root."
  }

  assert {
    condition = alltrue(flatten([
      for task in aws_ecs_task_definition.this : [
        for secret in jsondecode(task.container_definitions)[1].secrets :
        secret.valueFrom == "arn:aws:secretsmanager:us-east-1:123456789012:secret:wrdata:FMP_API_KEY::"
      ]
    ]))
    error_message = "A secret is named, not written."
  }

  assert {
    condition     = alltrue([for service in aws_ecs_service.this : !one(service.network_configuration).assign_public_ip])
    error_message = "No container has a public address."
  }
}

run "a_secret_among_the_settings_is_refused" {
  command = plan

  variables {
    settings = { FMP_API_KEY = "k" }
  }

  expect_failures = [var.settings]
}

run "latest_is_refused" {
  command = plan

  variables {
    release = "latest"
  }

  expect_failures = [var.release]
}
