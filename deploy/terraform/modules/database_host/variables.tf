variable "data_device" {
  description = "The disk for the data, by a path that stays: below /dev/disk/by-id."
  type        = string

  validation {
    condition     = startswith(var.data_device, "/dev/")
    error_message = "data_device is a path below /dev."
  }
}

variable "client_network" {
  description = "Who may connect, in CIDR notation; others are refused by pg_hba.conf."
  type        = string

  validation {
    condition     = can(cidrhost(var.client_network, 0)) && var.client_network != "0.0.0.0/0"
    error_message = "client_network is a network such as 10.22.0.0/16, and not everybody."
  }
}

variable "server_names" {
  description = "What the server's certificate is for: names as DNS:…, addresses as IP:…."
  type        = list(string)

  validation {
    condition = length(var.server_names) > 0 && alltrue([
      for name in var.server_names : can(regex("^(DNS|IP):[A-Za-z0-9.:-]+$", name))
    ])
    error_message = "server_names are such as DNS:db.internal or IP:10.22.0.5, at least one."
  }
}

variable "memory_gb" {
  description = "The machine's memory, of which PostgreSQL gets a quarter for its buffers."
  type        = number
}

variable "postgresql_version" {
  description = "Major version of PostgreSQL, from its own package repository."
  type        = string
  default     = "17"
}

variable "timescaledb_version" {
  description = "TimescaleDB's version: a restore needs exactly the same one."
  type        = string
  default     = "2.19.3"
}
