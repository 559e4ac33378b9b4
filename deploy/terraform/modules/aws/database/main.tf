# The database server on EC2: RDS has no TimescaleDB. One machine in a private subnet, its data on a
# disk of its own, both encrypted. Its backups are pgBackRest's (deploy/backup), whose keys a person
# puts there.

data "aws_ami" "debian" {
  most_recent = true
  owners      = ["136693071363"] # Debian's account

  filter {
    name   = "name"
    values = ["debian-12-arm64-*"]
  }

  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

module "host" {
  source = "../../database_host"

  # EBS volumes are NVMe devices, found by the volume's id without its hyphen.
  data_device    = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(aws_ebs_volume.data.id, "-", "")}"
  client_network = var.client_network
  server_names   = ["DNS:${var.host_name}", "IP:${var.address}"]
  memory_gb      = var.memory_gb
}

resource "aws_key_pair" "administrator" {
  key_name   = "${var.name}-administrator"
  public_key = var.ssh_public_key
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

# The machine may nothing: pgBackRest has keys of its own.
resource "aws_iam_role" "database" {
  name               = "${var.name}-database"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_instance_profile" "database" {
  name = "${var.name}-database"
  role = aws_iam_role.database.name
}

resource "aws_ebs_volume" "data" {
  availability_zone = var.zone
  size              = var.disk_gb
  type              = "gp3"
  encrypted         = true
  kms_key_id        = var.kms_key_arn
  final_snapshot    = true
  tags              = { Name = "${var.name}-database" }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_instance" "database" {
  ami                     = data.aws_ami.debian.id
  instance_type           = var.instance_type
  subnet_id               = var.subnet_id
  private_ip              = var.address
  vpc_security_group_ids  = [var.security_group_id]
  key_name                = aws_key_pair.administrator.key_name
  iam_instance_profile    = aws_iam_instance_profile.database.name
  user_data               = module.host.cloud_init
  ebs_optimized           = true
  monitoring              = true
  disable_api_termination = var.protected
  tags                    = { Name = "${var.name}-database" }

  root_block_device {
    volume_type = "gp3"
    volume_size = 20
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  # A machine asks for its credentials with a token, and no container behind it can.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # A newer image or script makes no new database server: that is a decision of a person.
  lifecycle {
    ignore_changes = [ami, user_data]
  }
}

resource "aws_volume_attachment" "data" {
  device_name                    = "/dev/sdf"
  volume_id                      = aws_ebs_volume.data.id
  instance_id                    = aws_instance.database.id
  stop_instance_before_detaching = true
}

resource "aws_service_discovery_service" "database" {
  name = "database"

  dns_config {
    namespace_id = var.namespace_id

    dns_records {
      type = "A"
      ttl  = 30
    }
  }
}

resource "aws_service_discovery_instance" "database" {
  instance_id = "database"
  service_id  = aws_service_discovery_service.database.id

  attributes = {
    AWS_INSTANCE_IPV4 = var.address
  }
}
