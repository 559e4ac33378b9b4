output "settings" {
  description = "Lines for /etc/wrdata/environment; what is secret is added by hand."
  value = {
    WRDATA_PROFILE        = var.environment == "dev" ? "development" : var.environment
    WRDATA_S3_ENDPOINT    = module.object_storage.endpoint
    WRDATA_ARCHIVE_BUCKET = module.object_storage.archive_bucket
    AWS_REGION            = "us-east-1"
    database_at           = "${module.database.host}:${module.database.port}/${module.database.database}"
    queue_at              = "${module.cache.host}:${module.cache.port}"
  }
}

output "machines" {
  description = "Addresses for SSH; the first directs."
  value       = module.workers.addresses
}

output "key_commands" {
  description = "What makes the keys of the buckets."
  value       = module.object_storage.key_commands
}

output "database_authority" {
  description = "For /etc/wrdata/certificates/authority.crt on every machine."
  value       = module.database.authority
}
