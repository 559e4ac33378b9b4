variable "name" {
  description = "What every description begins with."
  type        = string
}

variable "machines_tag" {
  description = "The tag of machines that are watched."
  type        = string
}

variable "emails" {
  description = "Who is told; addresses that the account has verified."
  type        = list(string)
}
