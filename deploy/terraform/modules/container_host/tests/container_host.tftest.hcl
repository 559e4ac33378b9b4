# Run with: terraform -chdir=deploy/terraform/modules/container_host test

variables {
  command_image    = "registry.example.com/wrdata-daemon"
  release          = "1.0.0"
  dagster_instance = "storage: {}\n"

  services = {
    daemon = {
      image     = "registry.example.com/wrdata-daemon"
      command   = ["wrdata", "daemon", "--standby"]
      memory_mb = 1024
    }
    worker = {
      image     = "registry.example.com/wrdata-worker"
      command   = ["wrdata", "worker"]
      memory_mb = 2048
    }
  }
}

run "each_service_is_a_unit_that_is_started" {
  command = plan

  assert {
    condition     = length(yamldecode(output.cloud_init).write_files) == 5
    error_message = "One unit for each service, the instance's file, the version and the command."
  }

  assert {
    condition     = strcontains(output.cloud_init, "--entrypoint wrdata registry.example.com/wrdata-daemon:$${RELEASE} daemon --standby")
    error_message = "The command's first word is the entry point, the others follow the image."
  }

  assert {
    condition = length([
      for file in yamldecode(output.cloud_init).write_files : file
      if strcontains(file.content, "--read-only --tmpfs /tmp --cap-drop ALL --user 10001:10001")
    ]) == 3
    error_message = "A container may not write into itself, and has no capabilities."
  }
}

run "an_image_with_a_version_is_refused" {
  command = plan

  variables {
    services = {
      daemon = {
        image     = "registry.example.com:5000/wrdata-daemon:1.0.0"
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
    release = "latest"
  }

  expect_failures = [var.release]
}

run "a_machine_with_web_servers_has_the_proxy" {
  command = plan

  variables {
    proxy_template = "events {}\n"
  }

  assert {
    condition = length([
      for file in yamldecode(output.cloud_init).write_files : file
      if contains(["/etc/wrdata/nginx.conf.template", "/etc/systemd/system/wrdata-proxy.service"], file.path)
    ]) == 2
    error_message = "Its template and its unit."
  }

  assert {
    condition     = contains(yamldecode(output.cloud_init).packages, "nginx-light")
    error_message = "And nginx."
  }
}
