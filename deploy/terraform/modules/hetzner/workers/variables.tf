variable "name" {
  description = "What every name begins with."
  type        = string
}

variable "location" {
  description = "Hetzner's location, such as fsn1."
  type        = string
}

variable "server_type" {
  description = "Such as cpx22."
  type        = string
}

variable "address" {
  description = "The machine's private address."
  type        = string
}

variable "subnet_id" {
  description = "The machines' subnet."
  type        = string
}

variable "firewall_id" {
  description = "The firewall of public addresses."
  type        = string
}

variable "ssh_key_id" {
  description = "The administrator's key."
  type        = string
}

variable "labels" {
  description = "Labels of everything."
  type        = map(string)
}

variable "image_repository" {
  description = "Where the images are, without their names: such as ghcr.io/example."
  type        = string
}

variable "release" {
  description = "Tag of the images, such as 1.2.0."
  type        = string
}
