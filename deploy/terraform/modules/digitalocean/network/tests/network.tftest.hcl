# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/network test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  name          = "wrdata-dev"
  region        = "fra1"
  network       = "10.20.0.0/16"
  ssh_addresses = ["203.0.113.7/32"]
}

run "only_named_addresses_get_in" {
  command = plan

  assert {
    condition = alltrue([
      for rule in digitalocean_firewall.machines.inbound_rule :
      rule.port_range == "22" ? rule.source_addresses[0] == "203.0.113.7/32" : length(rule.source_tags) == 1
    ])
    error_message = "SSH comes from named addresses, all else from machines of ours."
  }
}

run "without_addresses_nobody_gets_in_by_ssh" {
  command = plan

  variables {
    ssh_addresses = []
  }

  assert {
    condition     = !contains([for rule in digitalocean_firewall.machines.inbound_rule : rule.port_range], "22")
    error_message = "No address, no rule."
  }
}

run "ssh_is_not_opened_to_everybody" {
  command = plan

  variables {
    ssh_addresses = ["0.0.0.0/0"]
  }

  expect_failures = [var.ssh_addresses]
}
