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
  description = "The tag of machines that may connect."
  type        = string
}

variable "tags" {
  description = "Tags of the cluster."
  type        = list(string)
}

variable "size" {
  description = "Size of a node, such as db-s-6vcpu-16gb. A node only grows."
  type        = string
}

variable "nodes" {
  description = "Nodes: from two on, another takes over where one fails. Three at most."
  type        = number

  validation {
    condition     = var.nodes >= 1 && var.nodes <= 3
    error_message = "A cluster has one to three nodes."
  }
}

variable "disk_gb" {
  description = "Disk of a node, in GiB. It only grows."
  type        = number
}

variable "postgresql_version" {
  description = "Major version of PostgreSQL."
  type        = string
  default     = "17"
}
