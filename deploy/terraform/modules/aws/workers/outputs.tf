output "cluster" {
  description = "The cluster's name."
  value       = aws_ecs_cluster.this.name
}

output "services" {
  description = "The services' names."
  value       = keys(local.services)
}
