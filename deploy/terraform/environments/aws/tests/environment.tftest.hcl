# Run with: terraform -chdir=deploy/terraform/environments/aws test -var-file=dev.tfvars
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  queue_password = "abcdefghijklmnop0123456789"
}

run "everything_fits_together" {
  command = plan

  assert {
    condition     = output.database_host == "database.wrdata-${var.environment}.internal"
    error_message = "The certificate is for this name."
  }

  assert {
    condition     = output.buckets.audit == "${var.organisation}-wrdata-${var.environment}-audit"
    error_message = "The bucket's name tells whose and which it is."
  }

  assert {
    condition     = output.settings_secret == "wrdata-${var.environment}/settings"
    error_message = "Each environment has a secret of its own."
  }
}
