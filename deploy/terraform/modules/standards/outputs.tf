output "name" {
  description = "What every name begins with, such as wrdata-production."
  value       = local.name
}

output "tags" {
  description = "Tags of everything that takes tags."
  value       = local.tags
}

output "network" {
  description = "The environment's private addresses, in CIDR notation."
  value       = local.network
}

output "public_subnets" {
  description = "Subnets with a way in from the internet: /20 each, one for each zone."
  value       = [for zone in range(2) : cidrsubnet(local.network, 4, zone)]
}

output "private_subnets" {
  description = "Subnets without one: /20 each, one for each zone, apart from the public ones."
  value       = [for zone in range(2) : cidrsubnet(local.network, 4, zone + 8)]
}

output "protected" {
  description = "Whether what holds data is kept from being destroyed."
  value       = local.protected
}

output "sizes" {
  description = "Machines, disks and counts on the platform."
  value       = local.sizes[var.environment][var.platform]
}
