output "subnet_id" {
  description = "The machines' subnet."
  value       = hcloud_network_subnet.machines.id
}

output "firewall_id" {
  description = "The firewall of public addresses."
  value       = hcloud_firewall.machines.id
}

output "ssh_key_id" {
  description = "The administrator's key."
  value       = hcloud_ssh_key.administrator.id
}
