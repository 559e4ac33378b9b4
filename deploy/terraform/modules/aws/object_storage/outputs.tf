output "archive_bucket" {
  description = "WRDATA_ARCHIVE_BUCKET."
  value       = aws_s3_bucket.this["archive"].bucket
}

output "audit_bucket" {
  description = "WRDATA_AUDIT_BUCKET."
  value       = aws_s3_bucket.this["audit"].bucket
}

output "backup_bucket" {
  description = "pgBackRest's repo1-s3-bucket."
  value       = aws_s3_bucket.this["backups"].bucket
}

output "key_commands" {
  description = "What makes each user's key; it is shown once, and kept in no state."
  value       = { for role, user in aws_iam_user.this : role => "aws iam create-access-key --user-name ${user.name}" }
}
