# Run with: terraform -chdir=deploy/terraform/environments/digitalocean test -var-file=dev.tfvars
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

run "everything_fits_together" {
  command = plan

  assert {
    condition     = output.settings.WRDATA_ARCHIVE_BUCKET == "${var.organisation}-wrdata-${var.environment}-archive"
    error_message = "The bucket's name tells whose and which it is."
  }

  assert {
    condition     = output.settings.WRDATA_S3_ENDPOINT == "https://${var.region}.digitaloceanspaces.com"
    error_message = "Spaces is asked in the region of the machines."
  }

  assert {
    condition     = output.settings.WRDATA_PROFILE == (var.environment == "dev" ? "development" : var.environment)
    error_message = "The profile is the environment's."
  }

  assert {
    condition     = length(output.machines) == 1 + module.standards.sizes.backfill_workers
    error_message = "One directs, the others work."
  }
}
