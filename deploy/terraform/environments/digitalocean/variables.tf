variable "environment" {
  description = "dev, staging or production."
  type        = string
}

variable "organisation" {
  description = "Stands before the buckets' names, which nobody else in the region may have."
  type        = string
}

variable "region" {
  description = "Region of everything; it needs Spaces, such as fra1, ams3 or nyc3."
  type        = string
}

variable "ssh_addresses" {
  description = "From where SSH is let in, in CIDR notation."
  type        = list(string)
}

variable "ssh_keys" {
  description = "Fingerprints of SSH keys that the account knows."
  type        = list(string)
}

variable "image_repository" {
  description = "Where the images are, such as ghcr.io/example."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string
}

variable "alert_emails" {
  description = "Who is told when a machine is short of something."
  type        = list(string)
}
