terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.25"
    }
  }

  # The rest is in <environment>.s3.tfbackend: terraform init -backend-config=…
  backend "s3" {}
}

# Credentials come from the environment, such as AWS_PROFILE.
provider "aws" {
  region = var.region

  default_tags {
    tags = module.standards.tags
  }
}
