# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/object_storage test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  prefix    = "example-wrdata-production"
  region    = "fra1"
  protected = true
}

run "buckets_are_private_kept_and_versioned" {
  command = plan

  assert {
    condition = alltrue([
      for bucket in [digitalocean_spaces_bucket.archive, digitalocean_spaces_bucket.backups] :
      bucket.acl == "private" && !bucket.force_destroy && bucket.versioning[0].enabled
    ])
    error_message = "Nobody reads them without a key, and production's are not destroyed."
  }

  assert {
    condition     = digitalocean_spaces_bucket.archive.lifecycle_rule[0].abort_incomplete_multipart_upload_days == 7
    error_message = "The rule of deploy/object_storage/spaces.json."
  }
}

run "a_reader_only_reads" {
  command = plan

  assert {
    condition     = strcontains(output.key_commands.reader, "bucket=example-wrdata-production-archive;permission=read\"")
    error_message = "A reader's key may read one bucket."
  }
}

run "a_name_that_no_bucket_can_have_is_refused" {
  command = plan

  variables {
    prefix = "Example_Wrdata"
  }

  expect_failures = [var.prefix]
}
