# The hybrid: database and pipeline on servers at Hetzner, archive, raw zone and backups in
# DigitalOcean's Spaces. Losing one company's account takes one of the two.

module "standards" {
  source      = "../../modules/standards"
  environment = var.environment
  platform    = "hetzner"
}

locals {
  name   = module.standards.name
  sizes  = module.standards.sizes
  labels = module.standards.tags
  subnet = module.standards.private_subnets[0]

  # A server's memory follows from its type.
  memory_gb = { cpx22 = 4, ccx23 = 16 }
}

module "network" {
  source         = "../../modules/hetzner/network"
  name           = local.name
  network        = module.standards.network
  subnet         = local.subnet
  network_zone   = var.network_zone
  ssh_addresses  = var.ssh_addresses
  ssh_public_key = var.ssh_public_key
  labels         = local.labels
  protected      = module.standards.protected
}

module "database" {
  source         = "../../modules/hetzner/database"
  name           = local.name
  location       = var.location
  server_type    = local.sizes.database
  memory_gb      = local.memory_gb[local.sizes.database]
  disk_gb        = local.sizes.database_disk_gb
  address        = cidrhost(local.subnet, 10)
  client_network = local.subnet
  subnet_id      = module.network.subnet_id
  firewall_id    = module.network.firewall_id
  ssh_key_id     = module.network.ssh_key_id
  labels         = local.labels
  protected      = module.standards.protected
}

module "pipeline" {
  source           = "../../modules/hetzner/workers"
  name             = local.name
  location         = var.location
  server_type      = local.sizes.machine
  address          = cidrhost(local.subnet, 20)
  subnet_id        = module.network.subnet_id
  firewall_id      = module.network.firewall_id
  ssh_key_id       = module.network.ssh_key_id
  labels           = local.labels
  image_repository = var.image_repository
  release          = var.release
}

module "object_storage" {
  source    = "../../modules/digitalocean/object_storage"
  prefix    = "${var.organisation}-${local.name}"
  region    = var.spaces_region
  protected = module.standards.protected
}
