variable "environment" {
  description = "dev, staging or production."
  type        = string
}

variable "organisation" {
  description = "Stands before the buckets' names, which nobody else in the region may have."
  type        = string
}

variable "location" {
  description = "Hetzner's location of servers and volume, such as fsn1."
  type        = string
}

variable "network_zone" {
  description = "Hetzner's network zone of that location, such as eu-central."
  type        = string
}

variable "spaces_region" {
  description = "DigitalOcean's region for the buckets, such as fra1."
  type        = string
}

variable "ssh_addresses" {
  description = "From where SSH is let in, in CIDR notation."
  type        = list(string)
}

variable "ssh_public_key" {
  description = "The administrator's public key, one line."
  type        = string
}

variable "image_repository" {
  description = "Where the images are, such as ghcr.io/example."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string
}
