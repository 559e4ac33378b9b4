variable "prefix" {
  description = "What the buckets' names begin with. They are shared with all customers of a region."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,50}$", var.prefix))
    error_message = "A bucket's name has lower-case letters, digits and hyphens."
  }
}

variable "region" {
  description = "Region of Spaces, such as fra1."
  type        = string
}

variable "protected" {
  description = "Whether `terraform destroy` refuses while a bucket holds something."
  type        = bool
}
