# Run with: terraform -chdir=deploy/terraform/modules/hetzner/network test
# The provider is mocked: no account is needed.

mock_provider "hcloud" {
  mock_resource "hcloud_network" {
    defaults = { id = "1" }
  }
}

variables {
  name           = "wrdata-dev"
  network        = "10.20.0.0/16"
  subnet         = "10.20.128.0/20"
  network_zone   = "eu-central"
  ssh_addresses  = ["203.0.113.7/32"]
  ssh_public_key = "ssh-ed25519 AAAA example"
  labels         = { project = "wrdata" }
  protected      = false
}

run "only_ssh_from_named_addresses_gets_in" {
  command = plan

  assert {
    condition     = [for rule in hcloud_firewall.machines.rule : "${rule.port} ${rule.source_ips[0]}"] == ["22 203.0.113.7/32"]
    error_message = "Nothing else is open."
  }
}

run "ssh_is_not_opened_to_everybody" {
  command = plan

  variables {
    ssh_addresses = ["0.0.0.0/0"]
  }

  expect_failures = [var.ssh_addresses]
}
