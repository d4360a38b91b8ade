variable "region" {
  description = "Where all of it is."
  type        = string
  default     = "us-east-1"
}

variable "name" {
  description = "What names begin with."
  type        = string
  default     = "portcullis"
}

variable "service_name" {
  description = "The upstream's endpoint service."
  type        = string
  default     = "com.amazonaws.us-east-1.bedrock-runtime"
}

variable "private_dns" {
  description = "Whether the service's own name resolves to the endpoint."
  type        = bool
  default     = false
}

variable "rotation_lambda_arn" {
  description = "The function that rotates the upstream key."
  type        = string
  default     = null
}

variable "ca_bundle" {
  description = "The authority of hosts outside AWS, in PEM."
  type        = string
  default     = null
}
