output "alert_ids" {
  description = "The alerts, by what they watch."
  value       = { for name, alert in digitalocean_monitor_alert.machines : name => alert.uuid }
}
