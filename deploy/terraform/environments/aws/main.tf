# An environment on AWS. The same for dev, staging and production: they differ in
# <environment>.tfvars and in the sizes of modules/standards.

module "standards" {
  source      = "../../modules/standards"
  environment = var.environment
  platform    = "aws"
}

locals {
  name   = module.standards.name
  sizes  = module.standards.sizes
  domain = "${local.name}.internal"

  # An instance's memory follows from its type.
  memory_gb = { "t4g.medium" = 4, "m7g.large" = 8, "m7g.xlarge" = 16 }
}

module "secrets" {
  source        = "../../modules/aws/secrets"
  name          = local.name
  region        = var.region
  recovery_days = local.sizes.secret_recovery_days
}

module "network" {
  source             = "../../modules/aws/network"
  name               = local.name
  region             = var.region
  zones              = var.zones
  network            = module.standards.network
  public_subnets     = module.standards.public_subnets
  private_subnets    = module.standards.private_subnets
  log_retention_days = local.sizes.log_retention_days
  kms_key_arn        = module.secrets.kms_key_arn
}

# Names of the private network: database, webserver and the other services.
resource "aws_service_discovery_private_dns_namespace" "this" {
  name        = local.domain
  description = "Names of ${local.name}"
  vpc         = module.network.vpc_id
}

module "database" {
  source            = "../../modules/aws/database"
  name              = local.name
  zone              = module.network.private_zone
  subnet_id         = module.network.private_subnet_ids[0]
  address           = cidrhost(module.standards.private_subnets[0], 10)
  host_name         = "database.${local.domain}"
  namespace_id      = aws_service_discovery_private_dns_namespace.this.id
  client_network    = module.standards.network
  security_group_id = module.network.database_group_id
  instance_type     = local.sizes.database
  memory_gb         = local.memory_gb[local.sizes.database]
  disk_gb           = local.sizes.database_disk_gb
  kms_key_arn       = module.secrets.kms_key_arn
  ssh_public_key    = var.ssh_public_key
  protected         = module.standards.protected
}

module "object_storage" {
  source    = "../../modules/aws/object_storage"
  name      = local.name
  prefix    = "${var.organisation}-${local.name}"
  protected = module.standards.protected
}

module "cache" {
  source            = "../../modules/aws/cache"
  name              = local.name
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.network.cache_group_id
  node_type         = local.sizes.cache
  nodes             = local.sizes.cache_nodes
  kms_key_arn       = module.secrets.kms_key_arn
  password          = var.queue_password
  protected         = module.standards.protected
}

module "workers" {
  source             = "../../modules/aws/workers"
  name               = local.name
  region             = var.region
  subnet_ids         = module.network.private_subnet_ids
  security_group_id  = module.network.pipeline_group_id
  namespace_id       = aws_service_discovery_private_dns_namespace.this.id
  domain             = local.domain
  image_repository   = var.image_repository
  release            = var.release
  cpu                = local.sizes.worker_cpu
  memory_mb          = local.sizes.worker_memory_mb
  daemons            = local.sizes.daemons
  scheduled_workers  = local.sizes.scheduled_workers
  backfill_workers   = local.sizes.backfill_workers
  log_retention_days = local.sizes.log_retention_days
  kms_key_arn        = module.secrets.kms_key_arn

  settings_secret_arn = module.secrets.settings_arn
  secret_settings     = var.secret_settings
  settings = {
    WRDATA_PROFILE        = var.environment == "dev" ? "development" : var.environment
    WRDATA_ARCHIVE_BUCKET = module.object_storage.archive_bucket
    WRDATA_AUDIT_BUCKET   = module.object_storage.audit_bucket
    WRDATA_LOG_FORMAT     = "json"
    AWS_REGION            = var.region
  }
}

module "monitoring" {
  source               = "../../modules/aws/monitoring"
  name                 = local.name
  environment          = var.environment
  emails               = var.alert_emails
  kms_key_arn          = module.secrets.kms_key_arn
  database_instance_id = module.database.instance_id
  cache_members        = module.cache.members
  cluster              = module.workers.cluster
  services             = module.workers.services
  monthly_budget_usd   = local.sizes.monthly_budget_usd
}
