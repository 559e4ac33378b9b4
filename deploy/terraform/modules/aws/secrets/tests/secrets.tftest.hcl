# Run with: terraform -chdir=deploy/terraform/modules/aws/secrets test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name          = "wrdata-production"
  region        = "us-east-1"
  recovery_days = 30
}

run "the_key_rotates_and_terraform_knows_no_value" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && aws_kms_key.this.deletion_window_in_days == 30
    error_message = "Once a year, and a deleted key can be had back for a month."
  }

  assert {
    condition     = output.settings_name == "wrdata-production/settings"
    error_message = "A person puts the values there, by this name."
  }
}
