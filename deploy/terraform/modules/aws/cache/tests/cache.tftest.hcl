# Run with: terraform -chdir=deploy/terraform/modules/aws/cache test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name              = "wrdata-production"
  subnet_ids        = ["subnet-1", "subnet-2"]
  security_group_id = "sg-1"
  node_type         = "cache.t4g.small"
  nodes             = 2
  kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/1"
  password          = "abcdefghijklmnop0123456789"
  protected         = true
}

run "the_queue_is_encrypted_and_evicts_nothing" {
  command = plan

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.at_rest_encryption_enabled
    error_message = "On the way and on disk."
  }

  assert {
    condition     = one(aws_elasticache_parameter_group.this.parameter).value == "noeviction"
    error_message = "An evicted task is lost work."
  }
}

run "one_node_fails_over_to_nobody" {
  command = plan

  variables {
    nodes = 1
  }

  assert {
    condition     = !aws_elasticache_replication_group.this.automatic_failover_enabled
    error_message = "AWS refuses failover with one node."
  }
}

run "a_short_password_is_refused" {
  command = plan

  variables {
    password = "short"
  }

  expect_failures = [var.password]
}
