output "id" {
  description = "The replication group."
  value       = aws_elasticache_replication_group.this.id
}

output "host" {
  description = "Private host name, for WRDATA_REDIS_URL (rediss://)."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "members" {
  description = "The nodes, as CloudWatch names them; known before the group is there."
  value       = [for node in range(var.nodes) : format("%s-queue-%03d", var.name, node + 1)]
}
