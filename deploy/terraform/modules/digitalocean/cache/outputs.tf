output "id" {
  description = "The cluster."
  value       = digitalocean_database_cluster.this.id
}

output "urn" {
  description = "The cluster's name for projects."
  value       = digitalocean_database_cluster.this.urn
}

output "host" {
  description = "Private host name, for WRDATA_REDIS_URL (rediss://)."
  value       = digitalocean_database_cluster.this.private_host
}

output "port" {
  description = "Port of Valkey, over TLS."
  value       = digitalocean_database_cluster.this.port
}
