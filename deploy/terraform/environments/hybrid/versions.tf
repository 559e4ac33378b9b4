terraform {
  required_version = ">= 1.11"

  required_providers {
    digitalocean = {
      source  = "digitalocean/digitalocean"
      version = "~> 2.71"
    }
    hcloud = {
      source  = "hetznercloud/hcloud"
      version = "~> 1.68"
    }
  }

  # The rest is in <environment>.s3.tfbackend: terraform init -backend-config=…
  backend "s3" {}
}

# HCLOUD_TOKEN, DIGITALOCEAN_TOKEN, SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY come from the
# environment.
provider "digitalocean" {}

provider "hcloud" {}
