# DigitalOcean's managed PostgreSQL: TimescaleDB's Apache edition (no compression, no continuous
# aggregates), backups of seven days, reached over the private network and over TLS alone. Roles are
# not made here: `wrdata roles create` makes them, and so no password stands in Terraform's state
# but the administrator's, which the provider reads by itself.

resource "digitalocean_database_cluster" "this" {
  name                 = "${var.name}-database"
  engine               = "pg"
  version              = var.postgresql_version
  size                 = var.size
  node_count           = var.nodes
  storage_size_mib     = tostring(var.disk_gb * 1024)
  region               = var.region
  private_network_uuid = var.vpc_id
  tags                 = var.tags

  # Sunday is when no market trades, and before the drill at 10:00 New York time.
  maintenance_window {
    day  = "sunday"
    hour = "04:00:00"
  }
}

resource "digitalocean_database_db" "market" {
  cluster_id = digitalocean_database_cluster.this.id
  name       = "market"
}

# Only machines with the tag get in; the list replaces the provider's rule for everybody.
resource "digitalocean_database_firewall" "machines" {
  cluster_id = digitalocean_database_cluster.this.id

  rule {
    type  = "tag"
    value = var.machines_tag
  }
}

# A run's transaction takes seconds; a client that sits in an open one holds chunks back.
resource "digitalocean_database_postgresql_config" "this" {
  cluster_id                          = digitalocean_database_cluster.this.id
  idle_in_transaction_session_timeout = 600000
  timezone                            = "UTC"
}

data "digitalocean_database_ca" "this" {
  cluster_id = digitalocean_database_cluster.this.id
}
