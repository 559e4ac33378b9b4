# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/monitoring test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  name         = "wrdata-production"
  machines_tag = "wrdata-production-machines"
  emails       = ["operations@example.com"]
}

run "all_our_machines_are_watched" {
  command = plan

  assert {
    condition = alltrue([
      for alert in digitalocean_monitor_alert.machines :
      alert.enabled && contains(alert.tags, var.machines_tag)
    ]) && length(digitalocean_monitor_alert.machines) == 3
    error_message = "Processor, memory and disk of each machine with our tag."
  }
}
