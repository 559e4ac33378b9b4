# Run with: terraform -chdir=deploy/terraform/modules/database_host test

variables {
  data_device    = "/dev/disk/by-id/scsi-0HC_Volume_1"
  client_network = "10.22.0.0/16"
  server_names   = ["DNS:db.internal", "IP:10.22.128.5"]
  memory_gb      = 16
}

run "the_machine_gets_its_settings_and_the_script" {
  command = plan

  assert {
    condition     = startswith(output.cloud_init, "#cloud-config\n")
    error_message = "cloud-init knows its format by the first line."
  }

  assert {
    condition     = strcontains(output.cloud_init, "CLIENT_NETWORK='10.22.0.0/16'")
    error_message = "Who may connect is said."
  }

  assert {
    condition     = contains([for each in yamldecode(output.cloud_init).write_files : each.path], yamldecode(output.cloud_init).runcmd[0][0])
    error_message = "What is run is what was written."
  }

  assert {
    condition     = length(output.cloud_init) < 16384
    error_message = "AWS takes 16 KB of user data."
  }
}

run "nobody_is_let_in_from_everywhere" {
  command = plan

  variables {
    client_network = "0.0.0.0/0"
  }

  expect_failures = [var.client_network]
}

run "a_certificate_needs_a_name" {
  command = plan

  variables {
    server_names = ["db.internal"]
  }

  expect_failures = [var.server_names]
}
