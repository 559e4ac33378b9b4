variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "region" {
  description = "AWS' region."
  type        = string
}

variable "recovery_days" {
  description = "How long a deleted secret can be had back."
  type        = number
}
