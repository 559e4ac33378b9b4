output "address" {
  description = "Private address, for sslmode=verify-full."
  value       = var.address
}

output "ssh_address" {
  description = "Public address, for an administrator's SSH."
  value       = hcloud_server.database.ipv4_address
}
