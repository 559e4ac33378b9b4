# Run with: terraform -chdir=deploy/terraform/modules/aws/object_storage test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name      = "wrdata-production"
  prefix    = "example-wrdata-production"
  protected = true
}

run "only_anchors_are_locked" {
  command = plan

  assert {
    condition     = [for name, bucket in aws_s3_bucket.this : name if bucket.object_lock_enabled] == ["audit"]
    error_message = "The audit log's bucket locks objects, the others do not."
  }
}

run "nobody_reads_them_without_a_key" {
  command = plan

  assert {
    condition = alltrue([
      for name, block in aws_s3_bucket_public_access_block.this :
      block.block_public_acls && block.block_public_policy && block.ignore_public_acls && block.restrict_public_buckets
    ]) && length(aws_s3_bucket_public_access_block.this) == 3
    error_message = "No bucket is public."
  }
}

run "rules_and_policies_are_those_of_the_project" {
  command = plan

  assert {
    condition = anytrue([
      for rule in aws_s3_bucket_lifecycle_configuration.archive.rule :
      try(rule.filter[0].prefix == "iceberg/archive/minute_bars/data/" && one(rule.transition).storage_class == "GLACIER_IR", false)
    ])
    error_message = "deploy/object_storage/aws.json says what gets colder."
  }

  assert {
    condition     = strcontains(aws_iam_group_policy.this["loader-loader"].policy, "arn:aws:s3:::example-wrdata-production-archive/raw/*")
    error_message = "deploy/object_storage/policies says what a loader may."
  }

  assert {
    condition     = !anytrue([for policy in values(aws_iam_group_policy.this) : strcontains(policy.policy, "BUCKET")])
    error_message = "Every placeholder has its name."
  }
}

run "anchors_stay_even_where_all_else_goes" {
  command = plan

  variables {
    protected = false
  }

  assert {
    condition     = !aws_s3_bucket.this["audit"].force_destroy && aws_s3_bucket.this["archive"].force_destroy
    error_message = "dev is thrown away, its audit log is not."
  }
}
