variable "name" {
  description = "What the users' names begin with."
  type        = string
}

variable "prefix" {
  description = "What the buckets' names begin with. They are shared with all customers of AWS."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,50}$", var.prefix)) && !strcontains(var.prefix, "BUCKET")
    error_message = "A bucket's name has lower-case letters, digits and hyphens."
  }
}

variable "protected" {
  description = "Whether `terraform destroy` refuses while a bucket holds something. The audit log's always does."
  type        = bool
}
