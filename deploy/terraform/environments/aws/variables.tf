variable "environment" {
  description = "dev, staging or production."
  type        = string
}

variable "organisation" {
  description = "Stands before the buckets' names, which nobody else at AWS may have."
  type        = string
}

variable "region" {
  description = "Region of everything, such as us-east-1."
  type        = string
}

variable "zones" {
  description = "Two of the region's availability zones, by name."
  type        = list(string)
}

variable "ssh_public_key" {
  description = "The administrator's public key, one line."
  type        = string
}

variable "image_repository" {
  description = "Where the images are, such as ghcr.io/example."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string
}

variable "alert_emails" {
  description = "Who is told when something is short, or a month becomes dear."
  type        = list(string)
}

variable "queue_password" {
  description = "The queue's password; TF_VAR_queue_password, in no file."
  type        = string
  sensitive   = true
}

variable "secret_settings" {
  description = "Names of the settings that are fields of the secret."
  type        = list(string)
}
