output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets without a way in from the internet, once their way out is there."
  value       = aws_subnet.private[*].id

  # A machine installs its packages at its first start.
  depends_on = [
    aws_route.public,
    aws_route.private,
    aws_route_table_association.public,
    aws_route_table_association.private,
    aws_vpc_security_group_egress_rule.https,
    aws_vpc_security_group_egress_rule.packages,
  ]
}

output "private_zone" {
  description = "The zone of the first private subnet, where the database is."
  value       = aws_subnet.private[0].availability_zone
}

output "pipeline_group_id" {
  description = "Security group of web server, daemon, workers and exporter."
  value       = aws_security_group.pipeline.id
}

output "database_group_id" {
  description = "Security group of the database server."
  value       = aws_security_group.database.id
}

output "cache_group_id" {
  description = "Security group of the queue."
  value       = aws_security_group.cache.id
}
