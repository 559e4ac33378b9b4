variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "region" {
  description = "DigitalOcean's region, such as fra1."
  type        = string
}

variable "vpc_id" {
  description = "The private network."
  type        = string
}

variable "machines_tag" {
  description = "The tag that firewalls know machines by."
  type        = string
}

variable "tags" {
  description = "Further tags of the machines."
  type        = list(string)
}

variable "size" {
  description = "Size of a machine, such as s-2vcpu-4gb."
  type        = string
}

variable "backfill_workers" {
  description = "Machines for backfills."
  type        = number
}

variable "ssh_keys" {
  description = "Fingerprints of keys that the account knows; they let an administrator in."
  type        = list(string)

  validation {
    condition     = length(var.ssh_keys) > 0
    error_message = "Without a key nobody can put the settings on the machines."
  }
}

variable "image_repository" {
  description = "Where the images are, without their names: such as ghcr.io/example."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string
}
