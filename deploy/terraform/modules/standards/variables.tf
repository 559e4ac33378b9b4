variable "environment" {
  description = "Which of the three this is."
  type        = string

  validation {
    condition     = contains(["dev", "staging", "production"], var.environment)
    error_message = "environment is dev, staging or production."
  }
}

variable "platform" {
  description = "Whose sizes are wanted: digitalocean, aws or hetzner."
  type        = string

  validation {
    condition     = contains(["digitalocean", "aws", "hetzner"], var.platform)
    error_message = "platform is digitalocean, aws or hetzner."
  }
}
