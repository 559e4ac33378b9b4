# Machines that carry the pipeline: one that directs (web server, daemon, exporter, a worker for what
# schedules start), and as many as wanted that work on backfills. Each service is a container.

locals {
  images = { for target in ["webserver", "daemon", "worker", "exporter"] : target => "${var.image_repository}/wrdata-${target}:${var.release}" }

  directing = {
    webserver = {
      image     = local.images.webserver
      command   = ["wrdata", "ui", "serve"]
      memory_mb = 768
    }
    viewers = {
      image     = local.images.webserver
      command   = ["wrdata", "ui", "serve", "--read-only"]
      memory_mb = 768
    }
    daemon = {
      image     = local.images.daemon
      command   = ["wrdata", "daemon", "--standby"]
      memory_mb = 768
    }
    exporter = {
      image     = local.images.exporter
      command   = ["wrdata", "exporter", "--host", "0.0.0.0"]
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
      command   = ["wrdata", "worker", "--queue", "backfill", "--queue", "scheduled"]
      memory_mb = 1536
    }
    # Another daemon waits here, and takes over when the first is gone.
    daemon = local.directing.daemon
  }
}

module "directing" {
  source   = "../../container_host"
  services = local.directing
}

module "working" {
  source   = "../../container_host"
  services = local.working
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
}
