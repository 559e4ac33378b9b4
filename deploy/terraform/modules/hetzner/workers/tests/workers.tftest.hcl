# Run with: terraform -chdir=deploy/terraform/modules/hetzner/workers test
# The provider is mocked: no account is needed.

mock_provider "hcloud" {}

variables {
  name             = "wrdata-production"
  location         = "fsn1"
  server_type      = "cpx22"
  address          = "10.22.128.20"
  subnet_id        = "1-10.22.128.0/20"
  firewall_id      = "1"
  ssh_key_id       = "1"
  labels           = { project = "wrdata" }
  image_repository = "ghcr.io/example"
  release          = "1.0.0"
}

run "one_machine_carries_the_pipeline" {
  command = plan

  assert {
    condition = alltrue([
      for unit in ["webserver", "viewers", "daemon", "exporter", "proxy"] :
      strcontains(hcloud_server.pipeline.user_data, "/etc/systemd/system/wrdata-${unit}.service")
    ])
    error_message = "Web servers behind their proxy, daemon, exporter."
  }

  assert {
    condition     = length(hcloud_server.pipeline.user_data) < 32768
    error_message = "Hetzner takes 32 KiB of user data."
  }

  assert {
    condition     = !strcontains(hcloud_server.pipeline.user_data, "CeleryLauncher")
    error_message = "There is no queue here: the daemon's machine carries runs out."
  }
}
