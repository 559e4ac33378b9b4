# A machine that runs containers: what a fresh Debian 12 has to do at its first start. Pure text for
# cloud-init; nothing in it is secret. Each service becomes a unit of systemd, which starts when
# /etc/wrdata/environment is there: the file with the settings, which a person puts there. A person
# has the command wrdata as well, in the same surroundings. The images' version is in
# /etc/wrdata/release: another one needs no other machine.

locals {
  # How every container runs: it writes into its volume and /tmp, and has no capabilities.
  confined = join(" ", [
    "--rm --init --network host --read-only --tmpfs /tmp --cap-drop ALL --user 10001:10001",
    "--security-opt no-new-privileges",
    "--volume /etc/wrdata/certificates:/etc/wrdata/certificates:ro",
    "--volume /etc/wrdata/dagster.yaml:/opt/wrdata/dagster.yaml:ro",
    "--volume /opt/wrdata/storage:/opt/wrdata/storage",
  ])

  # `wrdata ui proxy` fills the template in. It looks for it where a checkout has it.
  template = "/opt/wrdata/venv/lib/python3.11/site-packages/deploy/proxy/nginx.conf.template"
  mounted  = var.proxy_template == null ? "" : "--volume /etc/wrdata/nginx.conf.template:${local.template}:ro "

  # nginx in front of the web servers, with what `wrdata ui proxy` wrote.
  proxy = {
    "/etc/wrdata/nginx.conf.template" = var.proxy_template
    "/etc/systemd/system/wrdata-proxy.service" = join("\n", [
      "[Unit]",
      "Description=wrdata proxy",
      "After=network-online.target",
      "ConditionPathExists=/opt/wrdata/storage/proxy/nginx.conf",
      "StartLimitIntervalSec=0",
      "",
      "[Service]",
      "User=10001",
      "Group=10001",
      "ExecStart=/usr/sbin/nginx -e stderr -c /opt/wrdata/storage/proxy/nginx.conf",
      "NoNewPrivileges=yes",
      "ProtectSystem=strict",
      "ReadWritePaths=/opt/wrdata/storage/proxy",
      "Restart=always",
      "RestartSec=10",
      "",
      "[Install]",
      "WantedBy=multi-user.target",
      "",
    ])
  }

  command = join("\n", [
    "#!/bin/sh",
    "# wrdata, in a container. As the owner of the tables: sudo SETTINGS_FILE=/etc/wrdata/owner wrdata migrate",
    ". /etc/wrdata/release",
    "exec docker run -i ${local.confined} --env-file \"$${SETTINGS_FILE:-/etc/wrdata/environment}\" \\",
    "  ${local.mounted}--entrypoint wrdata ${var.command_image}:\"$RELEASE\" \"$@\"",
    "",
  ])

  unit = {
    for name, service in var.services : name => join("\n", [
      "[Unit]",
      "Description=wrdata ${name}",
      "Wants=network-online.target",
      "After=network-online.target docker.service",
      "Requires=docker.service",
      "ConditionPathExists=/etc/wrdata/environment",
      "StartLimitIntervalSec=0",
      "",
      "[Service]",
      "EnvironmentFile=/etc/wrdata/release",
      "ExecStartPre=-/usr/bin/docker rm --force wrdata-${name}",
      join(" ", concat([
        "ExecStart=/usr/bin/docker run --name wrdata-${name} ${local.confined}",
        "--log-driver journald --memory ${service.memory_mb}m --env-file /etc/wrdata/environment",
        "--entrypoint ${service.command[0]} ${service.image}:$${RELEASE}",
      ], slice(service.command, 1, length(service.command)))),
      # A worker gives its run 25 seconds.
      "ExecStop=/usr/bin/docker stop --time 40 wrdata-${name}",
      "TimeoutStopSec=60",
      "Restart=always",
      "RestartSec=10",
      "",
      "[Install]",
      "WantedBy=multi-user.target",
      "",
    ])
  }

  cloud_init = join("\n", ["#cloud-config", yamlencode({
    package_update = true
    packages = concat(
      ["docker.io", "prometheus-node-exporter", "unattended-upgrades"],
      var.proxy_template == null ? [] : ["nginx-light"],
    )
    write_files = concat(
      [{
        path        = "/etc/wrdata/dagster.yaml"
        permissions = "0644"
        content     = var.dagster_instance
        }, {
        path        = "/etc/wrdata/release"
        permissions = "0644"
        content     = "RELEASE=${var.release}\n"
        }, {
        path        = "/usr/local/bin/wrdata"
        permissions = "0755"
        content     = local.command
      }],
      [
        for name, text in local.unit : {
          path        = "/etc/systemd/system/wrdata-${name}.service"
          permissions = "0644"
          content     = text
        }
      ],
      [
        for path, text in local.proxy : { path = path, permissions = "0644", content = text }
        if var.proxy_template != null
      ],
    )
    runcmd = concat(
      [
        ["install", "-d", "-m", "0755", "/etc/wrdata", "/etc/wrdata/certificates"],
        ["install", "-d", "-m", "0750", "-o", "10001", "-g", "10001", "/opt/wrdata/storage"],
        ["systemctl", "daemon-reload"],
      ],
      [for name in keys(local.unit) : ["systemctl", "enable", "--now", "wrdata-${name}"]],
      # The distribution's own nginx serves nothing of ours.
      var.proxy_template == null ? [] : [
        ["systemctl", "disable", "--now", "nginx"],
        ["systemctl", "enable", "--now", "wrdata-proxy"],
      ],
    )
  })])
}
