output "id" {
  description = "The cluster."
  value       = digitalocean_database_cluster.this.id
}

output "urn" {
  description = "The cluster's name for projects."
  value       = digitalocean_database_cluster.this.urn
}

output "host" {
  description = "Private host name, for sslmode=verify-full."
  value       = digitalocean_database_cluster.this.private_host
}

output "port" {
  description = "Port of PostgreSQL."
  value       = digitalocean_database_cluster.this.port
}

output "database" {
  description = "Name of the database."
  value       = digitalocean_database_db.market.name
}

output "authority" {
  description = "Certificate that the cluster's is signed by, for sslrootcert."
  value       = data.digitalocean_database_ca.this.certificate
}
