variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "region" {
  description = "AWS' region, such as us-east-1."
  type        = string
}

variable "zones" {
  description = "Two availability zones, by name: a list that AWS may lengthen would move subnets."
  type        = list(string)

  validation {
    condition     = length(distinct(var.zones)) == 2
    error_message = "zones are two, such as us-east-1a and us-east-1b."
  }
}

variable "network" {
  description = "Private addresses, in CIDR notation."
  type        = string
}

variable "public_subnets" {
  description = "Subnets for the NAT gateway, one for each zone."
  type        = list(string)
}

variable "private_subnets" {
  description = "Subnets for everything else, one for each zone."
  type        = list(string)
}

variable "log_retention_days" {
  description = "How long it is known who spoke with whom."
  type        = number
}

variable "kms_key_arn" {
  description = "The key that logs are encrypted with."
  type        = string
}
