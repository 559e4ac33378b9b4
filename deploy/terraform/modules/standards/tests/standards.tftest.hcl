# Run with: terraform -chdir=deploy/terraform/modules/standards test

run "production_is_protected" {
  command = plan

  variables {
    environment = "production"
    platform    = "aws"
  }

  assert {
    condition     = output.protected && output.name == "wrdata-production"
    error_message = "Production has to be protected."
  }

  assert {
    condition     = output.sizes.database == "m7g.xlarge" && output.sizes.daemons == 2
    error_message = "Production is what wrdata cost reckons with, and a second daemon waits."
  }
}

run "dev_is_not" {
  command = plan

  variables {
    environment = "dev"
    platform    = "digitalocean"
  }

  assert {
    condition     = !output.protected && output.sizes.database_nodes == 1
    error_message = "dev is thrown away, and has one node."
  }
}

run "subnets_do_not_overlap" {
  command = plan

  variables {
    environment = "staging"
    platform    = "hetzner"
  }

  assert {
    condition     = length(distinct(concat(output.public_subnets, output.private_subnets))) == 4
    error_message = "Every subnet has addresses of its own."
  }

  assert {
    condition     = alltrue([for subnet in output.private_subnets : startswith(subnet, "10.21.")])
    error_message = "Subnets lie in the environment's network."
  }
}

run "another_environment_is_refused" {
  command = plan

  variables {
    environment = "prod"
    platform    = "aws"
  }

  expect_failures = [var.environment]
}

run "another_platform_is_refused" {
  command = plan

  variables {
    environment = "dev"
    platform    = "azure"
  }

  expect_failures = [var.platform]
}
