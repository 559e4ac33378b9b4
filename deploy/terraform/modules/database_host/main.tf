# A database server of one's own: what a fresh Debian 12 has to do at its first start. Pure text for
# cloud-init; nothing in it is secret. AWS and Hetzner use it, since neither offers a managed
# PostgreSQL with TimescaleDB.

locals {
  settings = {
    DATA_DEVICE         = var.data_device
    CLIENT_NETWORK      = var.client_network
    POSTGRESQL_VERSION  = var.postgresql_version
    TIMESCALEDB_VERSION = var.timescaledb_version
    SERVER_NAMES        = join(",", var.server_names)
    MEMORY_GB           = var.memory_gb
  }

  cloud_init = join("\n", ["#cloud-config", yamlencode({
    package_update = true
    write_files = [
      {
        path        = "/etc/wrdata/database.env"
        permissions = "0644"
        content     = join("\n", concat([for name, value in local.settings : "${name}='${value}'"], [""]))
      },
      {
        path        = "/usr/local/sbin/prepare_database"
        permissions = "0755"
        content     = file("${path.module}/prepare_database.sh")
      },
    ]
    runcmd = [["/usr/local/sbin/prepare_database"]]
  })])
}
