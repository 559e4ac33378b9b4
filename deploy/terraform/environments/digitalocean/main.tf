# An environment on DigitalOcean. The same for dev, staging and production: they differ in
# <environment>.tfvars and in the sizes of modules/standards.

module "standards" {
  source      = "../../modules/standards"
  environment = var.environment
  platform    = "digitalocean"
}

locals {
  name  = module.standards.name
  sizes = module.standards.sizes
  tags  = [for key, value in module.standards.tags : "${key}:${value}"]
}

module "network" {
  source        = "../../modules/digitalocean/network"
  name          = local.name
  region        = var.region
  network       = module.standards.network
  ssh_addresses = var.ssh_addresses
}

module "database" {
  source       = "../../modules/digitalocean/database"
  name         = local.name
  region       = var.region
  vpc_id       = module.network.vpc_id
  machines_tag = module.network.machines_tag
  tags         = local.tags
  size         = local.sizes.database
  nodes        = local.sizes.database_nodes
  disk_gb      = local.sizes.database_disk_gb
}

module "cache" {
  source       = "../../modules/digitalocean/cache"
  name         = local.name
  region       = var.region
  vpc_id       = module.network.vpc_id
  machines_tag = module.network.machines_tag
  tags         = local.tags
  size         = local.sizes.cache
  nodes        = local.sizes.cache_nodes
}

module "object_storage" {
  source    = "../../modules/digitalocean/object_storage"
  prefix    = "${var.organisation}-${local.name}"
  region    = var.region
  protected = module.standards.protected
}

module "workers" {
  source           = "../../modules/digitalocean/workers"
  name             = local.name
  region           = var.region
  vpc_id           = module.network.vpc_id
  machines_tag     = module.network.machines_tag
  tags             = local.tags
  size             = local.sizes.machine
  backfill_workers = local.sizes.backfill_workers
  ssh_keys         = var.ssh_keys
  image_repository = var.image_repository
  release          = var.release
}

module "monitoring" {
  source       = "../../modules/digitalocean/monitoring"
  name         = local.name
  machines_tag = module.network.machines_tag
  emails       = var.alert_emails
}

resource "digitalocean_project" "this" {
  name        = local.name
  purpose     = "Service or API"
  environment = var.environment == "dev" ? "Development" : title(var.environment)
  resources = concat(
    [module.database.urn, module.cache.urn],
    module.object_storage.urns,
    module.workers.urns,
  )
}
