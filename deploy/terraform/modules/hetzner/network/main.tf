# A private network, and a firewall around its machines' public addresses: nobody comes in but by SSH
# from named addresses. Hetzner's firewalls do not look at the private network: there the server's
# own pg_hba.conf decides.

resource "hcloud_network" "this" {
  name              = var.name
  ip_range          = var.network
  labels            = var.labels
  delete_protection = var.protected
}

resource "hcloud_network_subnet" "machines" {
  network_id   = hcloud_network.this.id
  type         = "cloud"
  network_zone = var.network_zone
  ip_range     = var.subnet
}

resource "hcloud_firewall" "machines" {
  name   = "${var.name}-machines"
  labels = var.labels

  # With any rule at all, what no rule lets in stays out.
  rule {
    description = "An administrator's SSH"
    direction   = "in"
    protocol    = "tcp"
    port        = "22"
    source_ips  = var.ssh_addresses
  }
}

resource "hcloud_ssh_key" "administrator" {
  name       = "${var.name}-administrator"
  public_key = var.ssh_public_key
  labels     = var.labels
}
