# A private network, and a firewall around its machines: nobody comes in but by SSH from named
# addresses, and the machines reach each other.

resource "digitalocean_vpc" "this" {
  name     = var.name
  region   = var.region
  ip_range = var.network
}

# Machines are found by this tag: by the firewalls of machines, database and cache.
resource "digitalocean_tag" "machines" {
  name = "${var.name}-machines"
}

resource "digitalocean_firewall" "machines" {
  name = "${var.name}-machines"
  tags = [digitalocean_tag.machines.name]

  dynamic "inbound_rule" {
    for_each = length(var.ssh_addresses) > 0 ? [1] : []
    content {
      protocol         = "tcp"
      port_range       = "22"
      source_addresses = var.ssh_addresses
    }
  }

  # Prometheus reads the exporters of wrdata and of the machines.
  dynamic "inbound_rule" {
    for_each = toset(["9464", "9100"])
    content {
      protocol    = "tcp"
      port_range  = inbound_rule.value
      source_tags = [digitalocean_tag.machines.name]
    }
  }

  # Providers, Spaces, package and image registries, the database and the cache.
  outbound_rule {
    protocol              = "tcp"
    port_range            = "1-65535"
    destination_addresses = ["0.0.0.0/0", "::/0"]
  }

  outbound_rule {
    protocol              = "udp"
    port_range            = "1-65535"
    destination_addresses = ["0.0.0.0/0", "::/0"]
  }
}
