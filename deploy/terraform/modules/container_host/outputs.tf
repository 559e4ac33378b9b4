output "cloud_init" {
  description = "User data for the machine."
  value       = local.cloud_init
}
