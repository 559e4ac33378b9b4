# The queue between daemon and workers: managed Valkey, which speaks Redis. It evicts nothing, since
# an evicted task is lost work, and writes a snapshot: it has no append-only file. What a restart
# loses in spite of that, Dagster queues again after a quarter of an hour.

resource "digitalocean_database_cluster" "this" {
  name                 = "${var.name}-queue"
  engine               = "valkey"
  version              = "8"
  size                 = var.size
  node_count           = var.nodes
  region               = var.region
  private_network_uuid = var.vpc_id
  eviction_policy      = "noeviction"
  tags                 = var.tags

  maintenance_window {
    day  = "sunday"
    hour = "04:00:00"
  }
}

resource "digitalocean_database_valkey_config" "this" {
  cluster_id  = digitalocean_database_cluster.this.id
  persistence = "rdb"
  ssl         = true
}

resource "digitalocean_database_firewall" "machines" {
  cluster_id = digitalocean_database_cluster.this.id

  rule {
    type  = "tag"
    value = var.machines_tag
  }
}
