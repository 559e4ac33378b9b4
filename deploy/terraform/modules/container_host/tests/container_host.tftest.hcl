# Run with: terraform -chdir=deploy/terraform/modules/container_host test

variables {
  dagster_instance = "storage: {}\n"

  services = {
    daemon = {
      image     = "registry.example.com/wrdata-daemon:1.0.0"
      command   = ["wrdata", "daemon", "--standby"]
      memory_mb = 1024
    }
    worker = {
      image     = "registry.example.com/wrdata-worker:1.0.0"
      command   = ["wrdata", "worker"]
      memory_mb = 2048
    }
  }
}

run "each_service_is_a_unit_that_is_started" {
  command = plan

  assert {
    condition     = length(yamldecode(output.cloud_init).write_files) == 3
    error_message = "One unit for each service, and the instance's file."
  }

  assert {
    condition     = strcontains(output.cloud_init, "--entrypoint wrdata registry.example.com/wrdata-daemon:1.0.0 daemon --standby")
    error_message = "The command's first word is the entry point, the others follow the image."
  }

  assert {
    condition     = strcontains(output.cloud_init, "--read-only --tmpfs /tmp --cap-drop ALL --user 10001:10001")
    error_message = "A container may not write into itself, and has no capabilities."
  }
}

run "an_image_without_a_version_is_refused" {
  command = plan

  variables {
    services = {
      daemon = {
        image     = "registry.example.com:5000/wrdata-daemon"
        command   = ["wrdata", "daemon"]
        memory_mb = 1024
      }
    }
  }

  expect_failures = [var.services]
}

run "latest_is_refused" {
  command = plan

  variables {
    services = {
      daemon = {
        image     = "wrdata-daemon:latest"
        command   = ["wrdata", "daemon"]
        memory_mb = 1024
      }
    }
  }

  expect_failures = [var.services]
}
