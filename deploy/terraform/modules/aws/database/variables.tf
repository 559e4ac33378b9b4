variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "zone" {
  description = "The subnet's availability zone; the disk is in it."
  type        = string
}

variable "subnet_id" {
  description = "A private subnet."
  type        = string
}

variable "address" {
  description = "The server's private address, in that subnet."
  type        = string
}

variable "host_name" {
  description = "The server's name in the private network, which its certificate is for."
  type        = string
}

variable "namespace_id" {
  description = "The private network's names."
  type        = string
}

variable "client_network" {
  description = "Who may connect, in CIDR notation."
  type        = string
}

variable "security_group_id" {
  description = "The server's security group."
  type        = string
}

variable "instance_type" {
  description = "An instance with an ARM processor, such as m7g.xlarge."
  type        = string
}

variable "memory_gb" {
  description = "The instance's memory."
  type        = number
}

variable "disk_gb" {
  description = "The data's disk."
  type        = number
}

variable "kms_key_arn" {
  description = "The key that disks are encrypted with."
  type        = string
}

variable "ssh_public_key" {
  description = "The administrator's public key."
  type        = string
}

variable "protected" {
  description = "Whether AWS refuses to terminate the machine."
  type        = bool
}
