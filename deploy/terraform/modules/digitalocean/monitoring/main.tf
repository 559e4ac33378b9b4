# What DigitalOcean measures outside the machines, told by mail. What the pipeline itself knows
# (freshness, letters, budgets) is the exporter's and Prometheus' business: deploy/monitoring.

locals {
  # Thresholds of the alert rules in deploy/monitoring: processor over 80 %, disk under 20 % free.
  alerts = {
    processor = { type = "v1/insights/droplet/cpu", value = 80, says = "processor over 80 %" }
    memory    = { type = "v1/insights/droplet/memory_utilization_percent", value = 85, says = "memory over 85 %" }
    disk      = { type = "v1/insights/droplet/disk_utilization_percent", value = 80, says = "disk over 80 % full" }
  }
}

resource "digitalocean_monitor_alert" "machines" {
  for_each = local.alerts

  description = "${var.name}: ${each.value.says}"
  type        = each.value.type
  compare     = "GreaterThan"
  value       = each.value.value
  window      = "10m"
  enabled     = true
  tags        = [var.machines_tag]

  alerts {
    email = var.emails
  }
}
