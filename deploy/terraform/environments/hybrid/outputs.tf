output "database_address" {
  description = "For sslmode=verify-full."
  value       = module.database.address
}

output "ssh_addresses" {
  description = "For SSH: database server and pipeline."
  value       = { database = module.database.ssh_address, pipeline = module.pipeline.ssh_address }
}

output "settings" {
  description = "Lines for /etc/wrdata/environment; what is secret is added by hand."
  value = {
    WRDATA_PROFILE        = var.environment == "dev" ? "development" : var.environment
    WRDATA_S3_ENDPOINT    = module.object_storage.endpoint
    WRDATA_ARCHIVE_BUCKET = module.object_storage.archive_bucket
    AWS_REGION            = "us-east-1"
  }
}

output "key_commands" {
  description = "What makes the keys of the buckets."
  value       = module.object_storage.key_commands
}
