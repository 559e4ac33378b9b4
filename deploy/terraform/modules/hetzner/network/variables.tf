variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "network" {
  description = "Private addresses, in CIDR notation."
  type        = string
}

variable "subnet" {
  description = "Those of the machines."
  type        = string
}

variable "network_zone" {
  description = "Hetzner's network zone, such as eu-central."
  type        = string
}

variable "ssh_addresses" {
  description = "From where SSH is let in, in CIDR notation."
  type        = list(string)

  validation {
    condition     = length(var.ssh_addresses) > 0 && !contains(var.ssh_addresses, "0.0.0.0/0") && !contains(var.ssh_addresses, "::/0")
    error_message = "SSH is not opened to everybody: name the addresses of your office or VPN."
  }
}

variable "ssh_public_key" {
  description = "The administrator's public key."
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
