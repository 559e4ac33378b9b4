# Examples: put your own in their place. Nothing here is secret: TF_VAR_queue_password is in the
# environment.
environment      = "production"
organisation     = "example"
region           = "us-east-1"
zones            = ["us-east-1a", "us-east-1b"]
ssh_public_key   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample operations@example.com"
image_repository = "ghcr.io/example"
release          = "0.1.0"
alert_emails     = ["operations@example.com"]
secret_settings = [
  "WRDATA_DATABASE_URL",
  "WRDATA_DAGSTER_DATABASE_URL",
  "WRDATA_REDIS_URL",
  "AWS_ACCESS_KEY_ID",
  "AWS_SECRET_ACCESS_KEY",
  "FMP_API_KEY",
]
