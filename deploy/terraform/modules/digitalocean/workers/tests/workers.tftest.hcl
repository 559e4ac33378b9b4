# Run with: terraform -chdir=deploy/terraform/modules/digitalocean/workers test
# The provider is mocked: no account is needed.

mock_provider "digitalocean" {}

variables {
  name             = "wrdata-staging"
  region           = "fra1"
  vpc_id           = "5a4981aa-9653-4bd1-bef5-d6bff52042e4"
  machines_tag     = "wrdata-staging-machines"
  tags             = ["project:wrdata"]
  size             = "s-2vcpu-4gb"
  backfill_workers = 2
  ssh_keys         = ["aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99"]
  image_repository = "ghcr.io/example"
  release          = "1.0.0"
}

run "machines_are_known_by_their_tag" {
  command = plan

  assert {
    condition     = length(digitalocean_droplet.backfill) == 2
    error_message = "As many as wanted."
  }

  assert {
    condition = alltrue([
      for machine in concat([digitalocean_droplet.directing], digitalocean_droplet.backfill) :
      contains(machine.tags, var.machines_tag)
    ])
    error_message = "Firewalls know a machine by its tag."
  }

  assert {
    condition     = strcontains(digitalocean_droplet.backfill[0].user_data, "ghcr.io/example/wrdata-worker:$${RELEASE} worker --queue backfill")
    error_message = "They work on backfills."
  }

  assert {
    condition     = length(digitalocean_droplet.directing.user_data) < 65536
    error_message = "DigitalOcean takes 64 KiB of user data."
  }

  assert {
    condition = (
      strcontains(digitalocean_droplet.directing.user_data, "wrdata-proxy.service") &&
      !strcontains(digitalocean_droplet.backfill[0].user_data, "wrdata-proxy.service")
    )
    error_message = "The proxy is where the web servers are."
  }
}

run "a_machine_without_a_key_is_refused" {
  command = plan

  variables {
    ssh_keys = []
  }

  expect_failures = [var.ssh_keys]
}
