# A network of public and private subnets. Everything of ours is in the private ones: it reaches
# providers and registries through one NAT gateway, S3 past it, and nobody reaches it. An
# administrator comes in through EC2's Instance Connect endpoint, which needs no open port.

resource "aws_vpc" "this" {
  cidr_block           = var.network
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# What every network comes with lets nothing through.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "public" {
  count = length(var.public_subnets)

  vpc_id                  = aws_vpc.this.id
  cidr_block              = var.public_subnets[count.index]
  availability_zone       = var.zones[count.index]
  map_public_ip_on_launch = false
  tags                    = { Name = "${var.name}-public-${count.index + 1}" }
}

resource "aws_subnet" "private" {
  count = length(var.private_subnets)

  vpc_id            = aws_vpc.this.id
  cidr_block        = var.private_subnets[count.index]
  availability_zone = var.zones[count.index]
  tags              = { Name = "${var.name}-private-${count.index + 1}" }
}

# One gateway for all zones: a zone that fails may cut off the others' way out, for half the price.
resource "aws_eip" "nat" {
  domain = "vpc"
  tags   = { Name = "${var.name}-nat" }
}

resource "aws_nat_gateway" "this" {
  allocation_id = aws_eip.nat.id
  subnet_id     = aws_subnet.public[0].id
  tags          = { Name = var.name }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count = length(aws_subnet.public)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private" }
}

resource "aws_route" "private" {
  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this.id
}

resource "aws_route_table_association" "private" {
  count = length(aws_subnet.private)

  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private.id
}

# Raw answers and Parquet go to S3 past the NAT gateway, which counts each gigabyte.
resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${var.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  tags              = { Name = "${var.name}-s3" }
}

# Who spoke with whom.
resource "aws_cloudwatch_log_group" "flows" {
  name              = "/wrdata/${var.name}/network"
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}

data "aws_iam_policy_document" "flows_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["vpc-flow-logs.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "flows" {
  statement {
    actions = [
      "logs:CreateLogStream",
      "logs:DescribeLogStreams",
      "logs:PutLogEvents",
    ]
    resources = ["${aws_cloudwatch_log_group.flows.arn}:*"]
  }
}

resource "aws_iam_role" "flows" {
  name               = "${var.name}-flow-logs"
  assume_role_policy = data.aws_iam_policy_document.flows_trust.json
}

resource "aws_iam_role_policy" "flows" {
  name   = "write"
  role   = aws_iam_role.flows.id
  policy = data.aws_iam_policy_document.flows.json
}

resource "aws_flow_log" "this" {
  vpc_id          = aws_vpc.this.id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flows.arn
  iam_role_arn    = aws_iam_role.flows.arn
}

# The groups, without rules; the rules are below, so that one may name another.
resource "aws_security_group" "pipeline" {
  name        = "${var.name}-pipeline"
  description = "Web server, daemon, workers and exporter"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "database" {
  name        = "${var.name}-database"
  description = "The database server"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "cache" {
  name        = "${var.name}-cache"
  description = "The queue between daemon and workers"
  vpc_id      = aws_vpc.this.id
}

resource "aws_security_group" "administration" {
  name        = "${var.name}-administration"
  description = "EC2 Instance Connect endpoint"
  vpc_id      = aws_vpc.this.id
}

locals {
  # Who may reach whom, and where: nothing else is open.
  ways = {
    pipeline_to_database       = { from = aws_security_group.pipeline.id, to = aws_security_group.database.id, port = 5432 }
    pipeline_to_cache          = { from = aws_security_group.pipeline.id, to = aws_security_group.cache.id, port = 6379 }
    pipeline_to_node_exporter  = { from = aws_security_group.pipeline.id, to = aws_security_group.database.id, port = 9100 }
    administration_to_database = { from = aws_security_group.administration.id, to = aws_security_group.database.id, port = 22 }
    # Through SSH on the database server an administrator looks at Dagster's web server.
    database_to_web_server = { from = aws_security_group.database.id, to = aws_security_group.pipeline.id, port = 3000 }
    # The exporter asks the web server whether the code is loaded.
    pipeline_to_web_server = { from = aws_security_group.pipeline.id, to = aws_security_group.pipeline.id, port = 3000 }
    # A Prometheus among the services reads the exporter.
    pipeline_to_exporter = { from = aws_security_group.pipeline.id, to = aws_security_group.pipeline.id, port = 9464 }
  }
}

resource "aws_vpc_security_group_ingress_rule" "way" {
  for_each = local.ways

  description                  = replace(each.key, "_", " ")
  security_group_id            = each.value.to
  referenced_security_group_id = each.value.from
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

resource "aws_vpc_security_group_egress_rule" "way" {
  for_each = local.ways

  description                  = replace(each.key, "_", " ")
  security_group_id            = each.value.from
  referenced_security_group_id = each.value.to
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
}

# Providers, AWS' own services, package and image registries.
resource "aws_vpc_security_group_egress_rule" "https" {
  for_each = {
    pipeline = aws_security_group.pipeline.id
    database = aws_security_group.database.id
  }

  description       = "HTTPS to providers, AWS and registries"
  security_group_id = each.value
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# Debian's packages are signed, and come over HTTP.
resource "aws_vpc_security_group_egress_rule" "packages" {
  description       = "Packages of Debian"
  security_group_id = aws_security_group.database.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

resource "aws_ec2_instance_connect_endpoint" "this" {
  subnet_id          = aws_subnet.private[0].id
  security_group_ids = [aws_security_group.administration.id]
  tags               = { Name = var.name }
}
