# The queue between daemon and workers: ElastiCache with Valkey, which speaks Redis. It evicts
# nothing, since an evicted task is lost work. It has no append-only file; what a failure loses,
# Dagster queues again after a quarter of an hour.

resource "aws_elasticache_subnet_group" "this" {
  name       = "${var.name}-queue"
  subnet_ids = var.subnet_ids
}

resource "aws_elasticache_parameter_group" "this" {
  name   = "${var.name}-queue"
  family = "valkey8"

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

resource "aws_elasticache_replication_group" "this" {
  replication_group_id       = "${var.name}-queue"
  description                = "The queue between daemon and workers"
  engine                     = "valkey"
  engine_version             = "8.0"
  node_type                  = var.node_type
  num_cache_clusters         = var.nodes
  automatic_failover_enabled = var.nodes > 1
  multi_az_enabled           = var.nodes > 1
  parameter_group_name       = aws_elasticache_parameter_group.this.name
  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [var.security_group_id]
  port                       = 6379
  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  auth_token                 = var.password
  auth_token_update_strategy = "ROTATE"
  snapshot_retention_limit   = var.protected ? 7 : 0
  maintenance_window         = "sun:04:00-sun:05:00"
  snapshot_window            = "02:00-03:00"
  apply_immediately          = !var.protected
}
