variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "region" {
  description = "DigitalOcean's region, such as fra1."
  type        = string
}

variable "network" {
  description = "Private addresses, in CIDR notation."
  type        = string
}

variable "ssh_addresses" {
  description = "From where SSH is let in, in CIDR notation; empty lets nobody in."
  type        = list(string)

  validation {
    condition     = !contains(var.ssh_addresses, "0.0.0.0/0") && !contains(var.ssh_addresses, "::/0")
    error_message = "SSH is not opened to everybody: name the addresses of your office or VPN."
  }
}
