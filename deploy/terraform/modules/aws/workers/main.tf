# The pipeline on Fargate: web server, daemons, an exporter and workers, each a service. What is
# secret comes from Secrets Manager when a container starts: after a change, start it anew. Workers
# of backfills are on Spot: a run that is cut off is repeated.

locals {
  images = {
    for target in ["webserver", "daemon", "worker", "exporter"] :
    target => "${var.image_repository}/wrdata-${target}:${var.release}"
  }

  # The web server has no login: who comes through SSH to the private network may act. For several
  # people: docs/how-to/share_the_ui.md.
  services = {
    webserver = {
      image = local.images.webserver, count = 1, spot = false
      command = [
        "dagster-webserver", "--host", "0.0.0.0", "--port", "3000",
        "--workspace", "/opt/wrdata/workspace.yaml",
      ]
    }
    # The second waits, and takes over within seconds.
    daemon = {
      image   = local.images.daemon, count = var.daemons, spot = false
      command = ["wrdata", "daemon", "--standby", "--workspace", "/opt/wrdata/workspace.yaml"]
    }
    exporter = {
      image   = local.images.exporter, count = 1, spot = false
      command = ["wrdata", "exporter", "--host", "0.0.0.0", "--webserver", "http://webserver.${var.domain}:3000"]
    }
    scheduled = {
      image   = local.images.worker, count = var.scheduled_workers, spot = false
      command = ["wrdata", "worker", "--queue", "scheduled"]
    }
    backfill = {
      image   = local.images.worker, count = var.backfill_workers, spot = true
      command = ["wrdata", "worker", "--queue", "backfill"]
    }
  }

  # Runs go to workers over the queue. Fargate mounts no files: one container writes this one, and
  # the certificate that the database's is signed by, into the volume that is DAGSTER_HOME, before
  # the other starts, and makes the volumes writable.
  instance = file("${path.module}/../../../../launchers/celery.yaml")
  prepare = join(" && ", [
    "printf %s \"$DAGSTER_INSTANCE\" > /opt/wrdata/storage/dagster.yaml",
    "printf '%s\\n' \"$DATABASE_AUTHORITY\" > /opt/wrdata/storage/authority.crt",
    "chown -R 10001:10001 /opt/wrdata/storage",
    "chmod 1777 /tmp",
  ])

  mounts = [
    { sourceVolume = "temporary", containerPath = "/tmp", readOnly = false },
    { sourceVolume = "storage", containerPath = "/opt/wrdata/storage", readOnly = false },
  ]

  settings = merge(var.settings, { DAGSTER_HOME = "/opt/wrdata/storage" })
  secrets = [
    for name in var.secret_settings : { name = name, valueFrom = "${var.settings_secret_arn}:${name}::" }
  ]
}

resource "aws_ecs_cluster" "this" {
  name = var.name

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = local.services

  name              = "/wrdata/${var.name}/${each.key}"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

locals {
  logs = {
    for name, group in aws_cloudwatch_log_group.this : name => {
      logDriver = "awslogs"
      options = {
        awslogs-group         = group.name
        awslogs-region        = var.region
        awslogs-stream-prefix = name
      }
    }
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# What starts a container: it fetches the image, writes its log, and reads the one secret.
data "aws_iam_policy_document" "start" {
  statement {
    sid       = "ReadTheSettings"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.settings_secret_arn]
  }

  statement {
    sid       = "DecryptTheSettings"
    actions   = ["kms:Decrypt"]
    resources = [var.kms_key_arn]
  }

  statement {
    sid       = "WriteTheLog"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for group in aws_cloudwatch_log_group.this : "${group.arn}:*"]
  }
}

resource "aws_iam_role" "start" {
  name               = "${var.name}-start"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "start" {
  name   = "start"
  role   = aws_iam_role.start.id
  policy = data.aws_iam_policy_document.start.json
}

# What the container itself may: nothing. The bucket's keys are settings.
resource "aws_iam_role" "run" {
  name               = "${var.name}-run"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_ecs_task_definition" "this" {
  for_each = local.services

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = tostring(var.cpu)
  memory                   = tostring(var.memory_mb)
  execution_role_arn       = aws_iam_role.start.arn
  task_role_arn            = aws_iam_role.run.arn

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.processor
  }

  volume {
    name = "temporary"
  }

  volume {
    name = "storage"
  }

  container_definitions = jsonencode([
    {
      name                   = "prepare"
      image                  = each.value.image
      essential              = false
      entryPoint             = ["/bin/sh", "-c"]
      command                = [local.prepare]
      user                   = "0:0"
      readonlyRootFilesystem = true
      environment            = [{ name = "DAGSTER_INSTANCE", value = local.instance }]
      secrets                = [{ name = "DATABASE_AUTHORITY", valueFrom = "${var.settings_secret_arn}:DATABASE_AUTHORITY::" }]
      mountPoints            = local.mounts
      logConfiguration       = local.logs[each.key]
    },
    {
      name                   = each.key
      image                  = each.value.image
      essential              = true
      entryPoint             = [each.value.command[0]]
      command                = slice(each.value.command, 1, length(each.value.command))
      user                   = "10001:10001"
      readonlyRootFilesystem = true
      dependsOn              = [{ containerName = "prepare", condition = "SUCCESS" }]
      # A worker gives its run 25 seconds.
      stopTimeout = 60
      environment = [for name, value in local.settings : { name = name, value = value }]
      secrets     = local.secrets
      linuxParameters = {
        initProcessEnabled = true
        capabilities       = { drop = ["ALL"], add = [] }
      }
      mountPoints      = local.mounts
      logConfiguration = local.logs[each.key]
    },
  ])
}

resource "aws_service_discovery_service" "this" {
  for_each = local.services

  name = each.key

  dns_config {
    namespace_id = var.namespace_id

    dns_records {
      type = "A"
      ttl  = 15
    }
  }
}

resource "aws_ecs_service" "this" {
  for_each = local.services

  name                               = each.key
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.this[each.key].arn
  desired_count                      = each.value.count
  deployment_minimum_healthy_percent = each.key == "daemon" ? 0 : 100
  deployment_maximum_percent         = 200
  enable_execute_command             = false

  capacity_provider_strategy {
    capacity_provider = each.value.spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.security_group_id]
    assign_public_ip = false
  }

  # A strategy is refused until the cluster has its providers.
  depends_on = [aws_ecs_cluster_capacity_providers.this]

  service_registries {
    registry_arn = aws_service_discovery_service.this[each.key].arn
  }
}
