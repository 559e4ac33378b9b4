variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "location" {
  description = "Hetzner's location, such as fsn1."
  type        = string
}

variable "server_type" {
  description = "Such as ccx23."
  type        = string
}

variable "memory_gb" {
  description = "The server's memory."
  type        = number
}

variable "disk_gb" {
  description = "The data's volume."
  type        = number
}

variable "address" {
  description = "The server's private address, which its certificate is for."
  type        = string
}

variable "client_network" {
  description = "Who may connect, in CIDR notation."
  type        = string
}

variable "subnet_id" {
  description = "The machines' subnet."
  type        = string
}

variable "firewall_id" {
  description = "The firewall of public addresses."
  type        = string
}

variable "ssh_key_id" {
  description = "The administrator's key."
  type        = string
}

variable "labels" {
  description = "Labels of everything."
  type        = map(string)
}

variable "protected" {
  description = "Whether Hetzner's console refuses to delete it."
  type        = bool
}
