# Examples: put your own in their place. Nothing here is secret.
environment      = "production"
organisation     = "example"
location         = "fsn1"
network_zone     = "eu-central"
spaces_region    = "fra1"
ssh_addresses    = ["203.0.113.7/32"]
ssh_public_key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample operations@example.com"
image_repository = "ghcr.io/example"
release          = "0.1.0"
