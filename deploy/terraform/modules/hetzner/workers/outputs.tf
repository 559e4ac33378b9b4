output "ssh_address" {
  description = "Public address, for an administrator's SSH."
  value       = hcloud_server.pipeline.ipv4_address
}
