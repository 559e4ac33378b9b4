# The database server at Hetzner: TimescaleDB's Community edition on a machine of one's own, its data
# on a volume. Backups are pgBackRest's (deploy/backup), whose keys a person puts there.

module "host" {
  source = "../../database_host"

  data_device    = "/dev/disk/by-id/scsi-0HC_Volume_${hcloud_volume.data.id}"
  client_network = var.client_network
  server_names   = ["DNS:${var.name}-database", "IP:${var.address}"]
  memory_gb      = var.memory_gb
}

resource "hcloud_volume" "data" {
  name              = "${var.name}-database"
  size              = var.disk_gb
  location          = var.location
  labels            = var.labels
  delete_protection = var.protected

  lifecycle {
    prevent_destroy = true
  }
}

resource "hcloud_server" "database" {
  name                     = "${var.name}-database"
  server_type              = var.server_type
  image                    = "debian-12"
  location                 = var.location
  ssh_keys                 = [var.ssh_key_id]
  firewall_ids             = [var.firewall_id]
  labels                   = var.labels
  user_data                = module.host.cloud_init
  delete_protection        = var.protected
  rebuild_protection       = var.protected
  shutdown_before_deletion = true

  # Packages come over it; the firewall lets nobody in but an administrator.
  public_net {
    ipv4_enabled = true
    ipv6_enabled = true
  }

  network {
    subnet_id = var.subnet_id
    ip        = var.address
    alias_ips = []
  }

  # A server made anew has today's price, and no data: that is a decision of a person.
  lifecycle {
    ignore_changes = [image, user_data, ssh_keys]
  }
}

resource "hcloud_volume_attachment" "data" {
  volume_id = hcloud_volume.data.id
  server_id = hcloud_server.database.id
  automount = false
}
