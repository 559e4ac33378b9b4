# One machine that carries the pipeline: web servers, daemon, exporter. The daemon carries runs out
# where it is, so that no queue is needed; a second machine of this kind would wait with its daemon.

locals {
  images = {
    for target in ["webserver", "daemon", "exporter"] :
    target => "${var.image_repository}/wrdata-${target}"
  }

  serve = [
    "wrdata", "ui", "serve",
    "--workspace", "/opt/wrdata/workspace.yaml",
    "--operations", "/opt/wrdata/storage/operations.jsonl",
  ]

  services = {
    webserver = {
      image     = local.images.webserver
      command   = local.serve
      memory_mb = 768
    }
    viewers = {
      image     = local.images.webserver
      command   = concat(local.serve, ["--read-only"])
      memory_mb = 768
    }
    daemon = {
      image     = local.images.daemon
      command   = ["wrdata", "daemon", "--standby", "--workspace", "/opt/wrdata/workspace.yaml"]
      memory_mb = 1536
    }
    exporter = {
      image     = local.images.exporter
      command   = ["wrdata", "exporter", "--host", "0.0.0.0", "--webserver", "http://127.0.0.1:3001"]
      memory_mb = 384
    }
  }
}

module "host" {
  source           = "../../container_host"
  services         = local.services
  command_image    = local.images.daemon
  release          = var.release
  dagster_instance = file("${path.module}/../../../../../dagster.yaml")
  proxy_template   = file("${path.module}/../../../../proxy/nginx.conf.template")
}

resource "hcloud_server" "pipeline" {
  name                     = "${var.name}-pipeline"
  server_type              = var.server_type
  image                    = "debian-12"
  location                 = var.location
  ssh_keys                 = [var.ssh_key_id]
  firewall_ids             = [var.firewall_id]
  labels                   = var.labels
  user_data                = module.host.cloud_init
  shutdown_before_deletion = true

  public_net {
    ipv4_enabled = true
    ipv6_enabled = true
  }

  network {
    subnet_id = var.subnet_id
    ip        = var.address
    alias_ips = []
  }

  # A new machine would have no settings: another release is installed on this one.
  lifecycle {
    ignore_changes = [image, ssh_keys, user_data]
  }
}
