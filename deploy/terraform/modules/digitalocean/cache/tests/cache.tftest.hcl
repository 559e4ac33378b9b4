# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/cache test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  name         = "wrdata-dev"
  region       = "fra1"
  vpc_id       = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
  machines_tag = "wrdata-dev-machines"
  tags         = ["project:wrdata"]
  size         = "db-s-1vcpu-1gb"
  nodes        = 1
}

run "no_task_is_evicted_and_a_snapshot_is_written" {
  command = plan

  assert {
    condition     = digitalocean_database_cluster.this.eviction_policy == "noeviction"
    error_message = "An evicted task is lost work."
  }

  assert {
    condition     = digitalocean_database_valkey_config.this.persistence == "rdb"
    error_message = "A restart keeps what a snapshot has."
  }
}
