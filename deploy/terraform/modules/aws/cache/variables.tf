variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "The queue's security group."
  type        = string
}

variable "node_type" {
  description = "Such as cache.t4g.small: the queues need some MB."
  type        = string
}

variable "nodes" {
  description = "Nodes: from two on, another takes over where one fails."
  type        = number
}

variable "kms_key_arn" {
  description = "The key that the queue is encrypted with."
  type        = string
}

variable "password" {
  description = "The queue's password, 16 to 128 characters. It stands in Terraform's state."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.password) >= 16 && length(var.password) <= 128 && can(regex("^[A-Za-z0-9]+$", var.password))
    error_message = "The queue's password has 16 to 128 letters and digits: it becomes part of a URL."
  }
}

variable "protected" {
  description = "Whether snapshots are kept, and changes wait for the maintenance window."
  type        = bool
}
