# Run with: terraform -chdir=deploy/terraform/modules/aws/network test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name               = "wrdata-production"
  region             = "us-east-1"
  zones              = ["us-east-1a", "us-east-1b"]
  network            = "10.22.0.0/16"
  public_subnets     = ["10.22.0.0/20", "10.22.16.0/20"]
  private_subnets    = ["10.22.128.0/20", "10.22.144.0/20"]
  log_retention_days = 365
  kms_key_arn        = "arn:aws:kms:us-east-1:123456789012:key/1"
}

run "nothing_has_a_public_address_by_itself" {
  command = plan

  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "Only the NAT gateway has one."
  }

  assert {
    condition     = aws_subnet.private[0].availability_zone != aws_subnet.private[1].availability_zone
    error_message = "Subnets are in different zones."
  }
}

run "only_the_pipeline_reaches_the_database" {
  command = plan

  assert {
    condition     = [for name, way in aws_vpc_security_group_ingress_rule.way : name if way.to_port == 5432] == ["pipeline_to_database"]
    error_message = "One way leads to PostgreSQL."
  }
}

run "one_zone_is_refused" {
  command = plan

  variables {
    zones = ["us-east-1a", "us-east-1a"]
  }

  expect_failures = [var.zones]
}
