output "archive_bucket" {
  description = "WRDATA_ARCHIVE_BUCKET."
  value       = digitalocean_spaces_bucket.archive.name
}

output "backup_bucket" {
  description = "pgBackRest's repo1-s3-bucket."
  value       = digitalocean_spaces_bucket.backups.name
}

output "urns" {
  description = "The buckets' names for projects."
  value       = [digitalocean_spaces_bucket.archive.urn, digitalocean_spaces_bucket.backups.urn]
}

output "endpoint" {
  description = "WRDATA_S3_ENDPOINT."
  value       = "https://${var.region}.digitaloceanspaces.com"
}

output "key_commands" {
  description = "What makes each key; it is shown once, and kept in no state."
  value = {
    for role, grant in local.grants :
    role => "doctl spaces keys create ${var.prefix}-${role} --grants \"bucket=${grant.bucket};permission=${grant.permission}\""
  }
}
