# Run with: terraform -chdir=deploy/terraform/modules/aws/database test
# The provider is mocked: no account is needed.

mock_provider "aws" {}

variables {
  name              = "wrdata-production"
  zone              = "us-east-1a"
  subnet_id         = "subnet-1"
  address           = "10.22.128.10"
  host_name         = "database.wrdata-production.internal"
  namespace_id      = "ns-1"
  client_network    = "10.22.0.0/16"
  security_group_id = "sg-1"
  instance_type     = "m7g.xlarge"
  memory_gb         = 16
  disk_gb           = 200
  kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/1"
  ssh_public_key    = "ssh-ed25519 AAAA example"
  protected         = true
}

run "disks_are_encrypted_and_kept" {
  command = plan

  assert {
    condition     = aws_ebs_volume.data.encrypted && aws_ebs_volume.data.final_snapshot && one(aws_instance.database.root_block_device).encrypted
    error_message = "Both disks, with our key; the data's leaves a snapshot."
  }

  assert {
    condition     = aws_instance.database.disable_api_termination
    error_message = "Production's server is not terminated by mistake."
  }

  assert {
    condition     = one(aws_instance.database.metadata_options).http_tokens == "required"
    error_message = "Credentials are had with a token only."
  }
}
