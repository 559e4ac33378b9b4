# Run with: terraform -chdir=deploy/terraform/modules/hetzner/database test
# The provider is mocked: no account is needed.

mock_provider "hcloud" {
  override_during = plan

  mock_resource "hcloud_volume" {
    defaults = { id = "4711" }
  }

  mock_resource "hcloud_server" {
    defaults = { id = "42", ipv4_address = "198.51.100.1" }
  }
}

variables {
  name           = "wrdata-production"
  location       = "fsn1"
  server_type    = "ccx23"
  memory_gb      = 16
  disk_gb        = 200
  address        = "10.22.128.10"
  client_network = "10.22.128.0/20"
  subnet_id      = "1-10.22.128.0/20"
  firewall_id    = "1"
  ssh_key_id     = "1"
  labels         = { project = "wrdata" }
  protected      = true
}

run "the_server_finds_its_volume_and_is_kept" {
  command = plan

  assert {
    condition     = strcontains(hcloud_server.database.user_data, "DATA_DEVICE='/dev/disk/by-id/scsi-0HC_Volume_4711'")
    error_message = "By its id, which stays."
  }

  assert {
    condition     = hcloud_server.database.delete_protection && hcloud_server.database.rebuild_protection && hcloud_volume.data.delete_protection
    error_message = "Production is not deleted by mistake."
  }

  assert {
    condition     = strcontains(hcloud_server.database.user_data, "IP:10.22.128.10")
    error_message = "The certificate is for the private address."
  }
}
