variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "environment" {
  description = "The value of the tag environment, by which costs are told apart."
  type        = string
}

variable "emails" {
  description = "Who is told; each address has to confirm once."
  type        = list(string)
}

variable "kms_key_arn" {
  description = "The key that alarms are encrypted with."
  type        = string
}

variable "database_instance_id" {
  description = "The database server."
  type        = string
}

variable "cache_members" {
  description = "The queue's nodes."
  type        = list(string)
}

variable "cluster" {
  description = "The ECS cluster's name."
  type        = string
}

variable "services" {
  description = "The ECS services' names."
  type        = list(string)
}

variable "monthly_budget_usd" {
  description = "What a month may cost; a forecast above it is told."
  type        = number
}
