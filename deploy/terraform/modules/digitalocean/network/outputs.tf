output "vpc_id" {
  description = "The private network."
  value       = digitalocean_vpc.this.id
}

output "machines_tag" {
  description = "The tag that makes a machine one of ours."
  value       = digitalocean_tag.machines.name
}
