variable "services" {
  description = "What runs: by name, its image, its command, and its memory in MB."
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
    condition     = alltrue([for service in values(var.services) : can(regex(":[^:/]+$|@sha256:[0-9a-f]{64}$", service.image))])
    error_message = "An image is named with its tag or digest: without, a restart may bring another version."
  }

  validation {
    condition     = alltrue([for service in values(var.services) : !endswith(service.image, ":latest")])
    error_message = "latest is no version: name the release."
  }
}

variable "dagster_instance" {
  description = "The text of dagster.yaml, such as that of deploy/launchers/celery.yaml."
  type        = string
}
