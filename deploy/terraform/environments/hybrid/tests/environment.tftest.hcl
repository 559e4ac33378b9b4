# Run with: terraform -chdir=deploy/terraform/environments/hybrid test -var-file=dev.tfvars
# Both providers are mocked: no account is needed.

mock_provider "digitalocean" {}

mock_provider "hcloud" {}

run "everything_fits_together" {
  command = plan

  assert {
    condition     = output.database_address == cidrhost(module.standards.private_subnets[0], 10)
    error_message = "The certificate is for this address."
  }

  assert {
    condition     = output.settings.WRDATA_ARCHIVE_BUCKET == "${var.organisation}-wrdata-${var.environment}-archive"
    error_message = "The bucket's name tells whose and which it is."
  }
}
