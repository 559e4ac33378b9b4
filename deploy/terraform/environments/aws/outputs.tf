output "database_host" {
  description = "For sslmode=verify-full."
  value       = module.database.host
}

output "database_instance" {
  description = "For aws ec2-instance-connect ssh."
  value       = module.database.instance_id
}

output "queue_host" {
  description = "For WRDATA_REDIS_URL."
  value       = module.cache.host
}

output "buckets" {
  description = "Archive, audit log, backups."
  value = {
    archive = module.object_storage.archive_bucket
    audit   = module.object_storage.audit_bucket
    backups = module.object_storage.backup_bucket
  }
}

output "settings_secret" {
  description = "The secret that a person fills in."
  value       = module.secrets.settings_name
}

output "key_commands" {
  description = "What makes the keys of the buckets."
  value       = module.object_storage.key_commands
}
