variable "services" {
  description = "What runs: by name, its image without a version, its command, and its memory in MB."
  type = map(object({
    image     = string
    command   = list(string)
    memory_mb = number
  }))

  validation {
    condition     = length(var.services) > 0 && alltrue([for service in values(var.services) : length(service.command) > 0])
    error_message = "A machine has at least one service, and each has a command."
  }

  validation {
    condition     = alltrue([for service in values(var.services) : !can(regex(":[^:/]+$|@", service.image))])
    error_message = "An image is named without its version: that is the release."
  }
}

variable "release" {
  description = "The images' version, such as 1.2.0."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_.-]*$", var.release)) && var.release != "latest"
    error_message = "release is a version: with latest, a restart may bring another one."
  }
}

variable "dagster_instance" {
  description = "The text of dagster.yaml, such as that of deploy/launchers/celery.yaml."
  type        = string
}

variable "command_image" {
  description = "The image of the command wrdata, without a version, for a person on the machine."
  type        = string
}

variable "proxy_template" {
  description = "The text of deploy/proxy/nginx.conf.template, where web servers run; null elsewhere."
  type        = string
  default     = null
}
