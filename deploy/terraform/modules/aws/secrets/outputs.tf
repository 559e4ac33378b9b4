output "kms_key_arn" {
  description = "The key of disks, queue, secrets and logs."
  value       = aws_kms_key.this.arn
}

output "settings_arn" {
  description = "The secret with the settings."
  value       = aws_secretsmanager_secret.settings.arn
}

output "settings_name" {
  description = "Its name, for the command line."
  value       = aws_secretsmanager_secret.settings.name
}
