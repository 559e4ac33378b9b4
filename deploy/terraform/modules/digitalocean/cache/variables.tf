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
  description = "Size of a node, such as db-s-1vcpu-1gb: the queues need some MB."
  type        = string
}

variable "nodes" {
  description = "Nodes: from two on, another takes over where one fails."
  type        = number
}
