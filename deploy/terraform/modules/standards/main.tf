# What every environment has in common: names, tags, addresses, sizes. No provider is needed, so
# that `terraform test` proves it on any machine.

locals {
  name = "wrdata-${var.environment}"

  tags = {
    project     = "wrdata"
    environment = var.environment
    managed_by  = "terraform"
  }

  # One network of 65,536 addresses for each environment: none overlaps another, so that two of
  # them can be joined.
  networks = {
    dev        = "10.20.0.0/16"
    staging    = "10.21.0.0/16"
    production = "10.22.0.0/16"
  }
  network = local.networks[var.environment]

  # Production survives a mistake: nothing that holds data goes away with `terraform destroy`.
  protected = var.environment == "production"

  # Production has what `wrdata cost` reckons with; the others are the smallest that runs.
  sizes = {
    dev = {
      digitalocean = {
        database         = "db-s-1vcpu-2gb"
        database_nodes   = 1
        database_disk_gb = 30
        cache            = "db-s-1vcpu-1gb"
        cache_nodes      = 1
        machine          = "s-2vcpu-4gb"
        backfill_workers = 0
      }
      aws = {
        database             = "t4g.medium"
        database_disk_gb     = 50
        cache                = "cache.t4g.micro"
        cache_nodes          = 1
        worker_cpu           = 1024
        worker_memory_mb     = 2048
        scheduled_workers    = 1
        backfill_workers     = 0
        daemons              = 1
        monthly_budget_usd   = 150
        log_retention_days   = 7
        secret_recovery_days = 7
      }
      hetzner = {
        database         = "cpx22"
        database_disk_gb = 20
        machine          = "cpx22"
      }
    }
    staging = {
      digitalocean = {
        database         = "db-s-2vcpu-4gb"
        database_nodes   = 1
        database_disk_gb = 60
        cache            = "db-s-1vcpu-1gb"
        cache_nodes      = 1
        machine          = "s-2vcpu-4gb"
        backfill_workers = 1
      }
      aws = {
        database             = "m7g.large"
        database_disk_gb     = 100
        cache                = "cache.t4g.small"
        cache_nodes          = 1
        worker_cpu           = 1024
        worker_memory_mb     = 2048
        scheduled_workers    = 1
        backfill_workers     = 1
        daemons              = 2
        monthly_budget_usd   = 250
        log_retention_days   = 30
        secret_recovery_days = 7
      }
      hetzner = {
        database         = "cpx22"
        database_disk_gb = 100
        machine          = "cpx22"
      }
    }
    production = {
      digitalocean = {
        database         = "db-s-6vcpu-16gb"
        database_nodes   = 2
        database_disk_gb = 290
        cache            = "db-s-1vcpu-2gb"
        cache_nodes      = 2
        machine          = "s-2vcpu-4gb"
        backfill_workers = 2
      }
      aws = {
        database             = "m7g.xlarge"
        database_disk_gb     = 200
        cache                = "cache.t4g.small"
        cache_nodes          = 2
        worker_cpu           = 1024
        worker_memory_mb     = 2048
        scheduled_workers    = 1
        backfill_workers     = 2
        daemons              = 2
        monthly_budget_usd   = 600
        log_retention_days   = 365
        secret_recovery_days = 30
      }
      hetzner = {
        database         = "ccx23"
        database_disk_gb = 200
        machine          = "cpx22"
      }
    }
  }
}
