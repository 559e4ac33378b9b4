# Examples: put your own in their place. Nothing here is secret.
environment      = "dev"
organisation     = "example"
region           = "fra1"
ssh_addresses    = ["203.0.113.7/32"]
ssh_keys         = ["aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99"]
image_repository = "ghcr.io/example"
release          = "0.1.0"
alert_emails     = ["operations@example.com"]
