# Three buckets: the archive with the raw zone, the audit log's anchors under lock, and backups. What
# a role may do, and which files get colder, stands in deploy/object_storage and is read from there.

locals {
  folder = "${path.module}/../../../../object_storage"
  rules  = jsondecode(file("${local.folder}/aws.json")).Rules

  buckets = {
    archive = "${var.prefix}-archive"
    audit   = "${var.prefix}-audit"
    backups = "${var.prefix}-backups"
  }

  # Days after which a replaced version is forgotten. Anchors are never replaced.
  replaced = { audit = 365, backups = 14 }

  policies = {
    loader       = replace(file("${local.folder}/policies/loader.json"), "BUCKET", local.buckets.archive)
    reader       = replace(file("${local.folder}/policies/reader.json"), "BUCKET", local.buckets.archive)
    audit_anchor = replace(file("${local.folder}/policies/audit_anchor.json"), "AUDIT-BUCKET", local.buckets.audit)
    backup       = data.aws_iam_policy_document.backup.json
  }

  # Runs and commands load, and anchor the audit log. Everyone else has one purpose.
  users = {
    loader = ["loader", "audit_anchor"]
    reader = ["reader"]
    backup = ["backup"]
  }
}

resource "aws_s3_bucket" "this" {
  for_each = local.buckets

  bucket              = each.value
  object_lock_enabled = each.key == "audit"
  force_destroy       = !var.protected && each.key != "audit"
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = aws_s3_bucket.this

  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# With S3's own keys: a key of ours would cost a request to KMS for each of many small answers, and
# the roles' policies would have to name it.
resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

data "aws_iam_policy_document" "tls" {
  for_each = local.buckets

  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = ["arn:aws:s3:::${each.value}", "arn:aws:s3:::${each.value}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "tls" {
  for_each = aws_s3_bucket.this

  bucket = each.value.id
  policy = data.aws_iam_policy_document.tls[each.key].json
}

resource "aws_s3_bucket_lifecycle_configuration" "archive" {
  bucket = aws_s3_bucket.this["archive"].id

  dynamic "rule" {
    for_each = local.rules
    content {
      id     = rule.value.ID
      status = rule.value.Status

      filter {
        prefix = rule.value.Filter.Prefix
      }

      dynamic "abort_incomplete_multipart_upload" {
        for_each = try([rule.value.AbortIncompleteMultipartUpload], [])
        content {
          days_after_initiation = abort_incomplete_multipart_upload.value.DaysAfterInitiation
        }
      }

      dynamic "transition" {
        for_each = try(rule.value.Transitions, [])
        content {
          days          = transition.value.Days
          storage_class = transition.value.StorageClass
        }
      }
    }
  }

  # What was replaced or deleted can be had back for 30 days.
  rule {
    id     = "forget-replaced-versions"
    status = "Enabled"

    filter {
      prefix = ""
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  # Portable dumps hold everything: a month of them is kept.
  rule {
    id     = "forget-old-portable-backups"
    status = "Enabled"

    filter {
      prefix = "backups/portable/"
    }

    expiration {
      days = 30
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "others" {
  for_each = local.replaced

  bucket = aws_s3_bucket.this[each.key].id

  rule {
    id     = "forget-replaced-versions"
    status = "Enabled"

    filter {
      prefix = ""
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }

    noncurrent_version_expiration {
      noncurrent_days = each.value
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

data "aws_iam_policy_document" "backup" {
  statement {
    sid       = "ListTheRepository"
    actions   = ["s3:ListBucket"]
    resources = ["arn:aws:s3:::${local.buckets.backups}"]
  }

  statement {
    sid       = "WriteAndExpireBackups"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["arn:aws:s3:::${local.buckets.backups}/*"]
  }
}

# The bucket's settings are keys, which a role cannot give: a user for each purpose. Its key is made
# by `aws iam create-access-key`, so that no secret stands in the state.
resource "aws_iam_user" "this" {
  for_each = local.users

  name = "${var.name}-${each.key}"
}

resource "aws_iam_group" "this" {
  for_each = local.users

  name = "${var.name}-${each.key}"
}

resource "aws_iam_user_group_membership" "this" {
  for_each = local.users

  user   = aws_iam_user.this[each.key].name
  groups = [aws_iam_group.this[each.key].name]
}

resource "aws_iam_group_policy" "this" {
  for_each = merge([
    for user, policies in local.users : {
      for policy in policies : "${user}-${policy}" => { user = user, policy = policy }
    }
  ]...)

  name   = each.value.policy
  group  = aws_iam_group.this[each.value.user].name
  policy = local.policies[each.value.policy]
}
