# The archive's bucket on Spaces. Spaces locks no objects, so that the audit log's anchors need a
# bucket elsewhere, and it has one storage class, so that nothing moves to a colder one. Keys are
# not made here, since their secrets would stand in the state: `doctl spaces keys create` makes
# them, as `key_commands` says.

locals {
  # What a key may do ends at the bucket: Spaces knows no prefixes.
  grants = {
    loader = { bucket = digitalocean_spaces_bucket.archive.name, permission = "readwrite" }
    reader = { bucket = digitalocean_spaces_bucket.archive.name, permission = "read" }
    backup = { bucket = digitalocean_spaces_bucket.backups.name, permission = "readwrite" }
  }

  rules = jsondecode(file("${path.module}/../../../../object_storage/spaces.json")).Rules
}

resource "digitalocean_spaces_bucket" "archive" {
  name          = "${var.prefix}-archive"
  region        = var.region
  acl           = "private"
  force_destroy = !var.protected

  versioning {
    enabled = true
  }

  dynamic "lifecycle_rule" {
    for_each = local.rules
    content {
      id                                     = lifecycle_rule.value.ID
      enabled                                = lifecycle_rule.value.Status == "Enabled"
      prefix                                 = lifecycle_rule.value.Filter.Prefix
      abort_incomplete_multipart_upload_days = lifecycle_rule.value.AbortIncompleteMultipartUpload.DaysAfterInitiation
    }
  }

  # What was replaced or deleted can be had back for 30 days.
  lifecycle_rule {
    id      = "forget-replaced-versions"
    enabled = true

    noncurrent_version_expiration {
      days = 30
    }
  }

  # Portable dumps hold everything: a month of them is kept.
  lifecycle_rule {
    id      = "forget-old-portable-backups"
    enabled = true
    prefix  = "backups/portable/"

    expiration {
      days = 30
    }
  }
}

# pgBackRest's repository, for a server of one's own; a managed database leaves it empty.
resource "digitalocean_spaces_bucket" "backups" {
  name          = "${var.prefix}-backups"
  region        = var.region
  acl           = "private"
  force_destroy = !var.protected

  # pgBackRest removes what has expired; versions bring back what was deleted by mistake.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    id                                     = "forget-replaced-versions"
    enabled                                = true
    abort_incomplete_multipart_upload_days = 7

    noncurrent_version_expiration {
      days = 14
    }
  }
}
