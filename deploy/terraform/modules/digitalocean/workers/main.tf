# Machines that carry the pipeline: one that directs (web server, daemon, exporter, a worker for what
# schedules start), and as many as wanted that work on backfills. Each service is a container.

locals {
  images = {
    for target in ["webserver", "daemon", "worker", "exporter"] :
    target => "${var.image_repository}/wrdata-${target}"
  }

  # Runs go to workers over the queue.
  instance = file("${path.module}/../../../../launchers/celery.yaml")

  serve = [
    "wrdata", "ui", "serve",
    "--workspace", "/opt/wrdata/workspace.yaml",
    "--operations", "/opt/wrdata/storage/operations.jsonl",
  ]

  directing = {
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
      memory_mb = 768
    }
    exporter = {
      image     = local.images.exporter
      command   = ["wrdata", "exporter", "--host", "0.0.0.0", "--webserver", "http://127.0.0.1:3001"]
      memory_mb = 512
    }
    scheduled = {
      image     = local.images.worker
      command   = ["wrdata", "worker", "--queue", "scheduled"]
      memory_mb = 1024
    }
  }

  working = {
    backfill = {
      image     = local.images.worker
      command   = ["wrdata", "worker", "--queue", "backfill"]
      memory_mb = 1536
    }
    # Another daemon waits here, and takes over when the first is gone.
    daemon = local.directing.daemon
  }
}

module "directing" {
  source           = "../../container_host"
  services         = local.directing
  command_image    = local.images.daemon
  release          = var.release
  dagster_instance = local.instance
  proxy_template   = file("${path.module}/../../../../proxy/nginx.conf.template")
}

module "working" {
  source           = "../../container_host"
  services         = local.working
  command_image    = local.images.daemon
  release          = var.release
  dagster_instance = local.instance
}

resource "digitalocean_droplet" "directing" {
  name              = "${var.name}-directing"
  image             = "debian-12-x64"
  size              = var.size
  region            = var.region
  vpc_uuid          = var.vpc_id
  ssh_keys          = var.ssh_keys
  tags              = concat(var.tags, [var.machines_tag])
  monitoring        = true
  graceful_shutdown = true
  user_data         = module.directing.cloud_init

  # A new machine would have no settings: another release is installed on this one.
  lifecycle {
    ignore_changes = [image, ssh_keys, user_data]
  }
}

resource "digitalocean_droplet" "backfill" {
  count = var.backfill_workers

  name              = "${var.name}-backfill-${count.index + 1}"
  image             = "debian-12-x64"
  size              = var.size
  region            = var.region
  vpc_uuid          = var.vpc_id
  ssh_keys          = var.ssh_keys
  tags              = concat(var.tags, [var.machines_tag])
  monitoring        = true
  graceful_shutdown = true
  user_data         = module.working.cloud_init

  lifecycle {
    ignore_changes = [image, ssh_keys, user_data]
  }
}
