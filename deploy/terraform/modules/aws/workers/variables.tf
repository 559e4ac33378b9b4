variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "region" {
  description = "AWS' region."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets."
  type        = list(string)
}

variable "security_group_id" {
  description = "The pipeline's security group."
  type        = string
}

variable "namespace_id" {
  description = "The private network's names."
  type        = string
}

variable "domain" {
  description = "The private network's domain, below which each service has its name."
  type        = string
}

variable "image_repository" {
  description = "Where the images are, without their names: such as ghcr.io/example. Fargate has to be let in without a login."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string

  validation {
    condition     = var.release != "latest" && length(var.release) > 0
    error_message = "latest is no version: name the release."
  }
}

variable "processor" {
  description = "What the images are built for: X86_64 or ARM64."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.processor)
    error_message = "processor is X86_64 or ARM64."
  }
}

variable "cpu" {
  description = "Processor units of a container: 1024 are one processor."
  type        = number
}

variable "memory_mb" {
  description = "Memory of a container."
  type        = number
}

variable "daemons" {
  description = "Daemons; one works, the others wait."
  type        = number
}

variable "scheduled_workers" {
  description = "Workers for what schedules start."
  type        = number
}

variable "backfill_workers" {
  description = "Workers for backfills, on Spot."
  type        = number
}

variable "settings" {
  description = "Settings that are not secret, by variable."
  type        = map(string)

  validation {
    condition     = alltrue([for name in keys(var.settings) : !can(regex("KEY|SECRET|PASSWORD|TOKEN|DATABASE_URL|REDIS_URL", name))])
    error_message = "A key, a password or a URL with one belongs into secret_settings."
  }
}

variable "secret_settings" {
  description = "Names of the settings that are fields of the secret."
  type        = list(string)
}

variable "settings_secret_arn" {
  description = "The secret with the settings, and with DATABASE_AUTHORITY: the certificate that the database's is signed by."
  type        = string
}

variable "kms_key_arn" {
  description = "The key of secrets and logs."
  type        = string
}

variable "log_retention_days" {
  description = "How long log lines are kept."
  type        = number
}
