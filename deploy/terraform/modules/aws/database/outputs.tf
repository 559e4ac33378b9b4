output "instance_id" {
  description = "The machine."
  value       = aws_instance.database.id
}

output "host" {
  description = "Private host name, for sslmode=verify-full."
  value       = var.host_name
}
