output "directing_address" {
  description = "Public address of the directing machine, for SSH."
  value       = digitalocean_droplet.directing.ipv4_address
}

output "addresses" {
  description = "Public addresses of all machines, for SSH."
  value       = concat([digitalocean_droplet.directing.ipv4_address], digitalocean_droplet.backfill[*].ipv4_address)
}

output "urns" {
  description = "The machines' names for projects."
  value       = concat([digitalocean_droplet.directing.urn], digitalocean_droplet.backfill[*].urn)
}
