# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/database test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  name         = "wrdata-production"
  region       = "fra1"
  vpc_id       = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
  machines_tag = "wrdata-production-machines"
  tags         = ["project:wrdata"]
  size         = "db-s-6vcpu-16gb"
  nodes        = 2
  disk_gb      = 290
}

run "only_our_machines_get_in" {
  command = plan

  assert {
    condition     = digitalocean_database_cluster.this.private_network_uuid == var.vpc_id
    error_message = "The cluster is in the private network."
  }

  assert {
    condition = alltrue([
      for rule in digitalocean_database_firewall.machines.rule : rule.type == "tag" && rule.value == var.machines_tag
    ])
    error_message = "Machines with our tag, nobody else."
  }

  assert {
    condition     = digitalocean_database_cluster.this.storage_size_mib == "296960"
    error_message = "The provider wants MiB, as text."
  }
}

run "a_cluster_has_three_nodes_at_most" {
  command = plan

  variables {
    nodes = 4
  }

  expect_failures = [var.nodes]
}
