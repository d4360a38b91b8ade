variable "name" {
  description = "What every resource's name begins with."
  type        = string
  default     = "portcullis"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name is 2 to 31 lower-case letters, digits and hyphens, a letter first: names of buckets are made of it."
  }
}

variable "tags" {
  description = "Tags of every resource that takes them."
  type        = map(string)
  default     = {}
}

# The private way to the upstream.

variable "endpoint" {
  description = <<-EOT
    The interface endpoint to the upstream; null makes none.

    service_name: com.amazonaws.vpce.REGION.vpce-svc-... of the upstream's endpoint service, or a service of AWS.
    service_region: where the service is, when that is another region.
    vpc_id, subnet_ids: where the endpoint's interfaces are; one subnet for each zone with proxies.
    private_dns: the service's own name resolves to the endpoint in this VPC. The service must offer it, and the VPC must have
      DNS support and DNS host names. Portcullis does not need it: it dials the endpoint's names and verifies server_name.
    allowed_actions: what the endpoint's policy lets principals of this account do. Only services of AWS have such policies; an
      endpoint service of somebody else takes none, so leave it empty there.
  EOT
  type = object({
    service_name    = string
    service_region  = optional(string)
    vpc_id          = string
    subnet_ids      = list(string)
    private_dns     = optional(bool, false)
    allowed_actions = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.endpoint == null || length(try(var.endpoint.subnet_ids, [])) > 0
    error_message = "endpoint.subnet_ids names at least one subnet."
  }
  validation {
    condition     = !contains(try(var.endpoint.allowed_actions, []), "*")
    error_message = "endpoint.allowed_actions names actions, not *."
  }
}

variable "proxy_security_group_ids" {
  description = "Security groups of the proxies. Nobody else reaches the endpoint. The key names the rule."
  type        = map(string)
  default     = {}
}

variable "proxy_cidrs" {
  description = "Networks of proxies that have no security group here (other data centres), as small as they are."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.proxy_cidrs : can(cidrhost(cidr, 0)) && try(tonumber(split("/", cidr)[1]) >= 16, false)])
    error_message = "proxy_cidrs are networks of 65,536 addresses at most, such as 10.20.1.0/28."
  }
}

# The audit log's bucket.

variable "audit_bucket" {
  description = "The bucket's name. Null: NAME-audit-ACCOUNT-REGION."
  type        = string
  default     = null
}

variable "audit_prefix" {
  description = "What every key begins with: the path of [audit.ship] url."
  type        = string
  default     = "audit"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9_/-]*[A-Za-z0-9_]$", var.audit_prefix))
    error_message = "audit_prefix has letters, digits, _, - and / between them."
  }
}

variable "lock_mode" {
  description = "COMPLIANCE: nobody, the account's root included, deletes a version before its day. GOVERNANCE: who may bypass it does."
  type        = string
  default     = "COMPLIANCE"

  validation {
    condition     = contains(["COMPLIANCE", "GOVERNANCE"], var.lock_mode)
    error_message = "lock_mode is COMPLIANCE or GOVERNANCE."
  }
}

variable "retention_days" {
  description = "How long each segment is locked. HIPAA: 2190; SOX: 2555; PCI DSS: 365. In compliance mode it cannot be undone."
  type        = number
  default     = 2190

  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days is a whole number from 1 to 36500."
  }
}

variable "uploads_bear_retention" {
  description = "Whether [audit.ship] has `retention` and `lock`, so that the proxy needs s3:PutObjectRetention. Not needed where the bucket's rule is enough."
  type        = bool
  default     = false
}

variable "tiers" {
  description = "Colder classes of storage by days. Those at or beyond retention_days are left out. Athena cannot read GLACIER and DEEP_ARCHIVE without a restore; GLACIER_IR it can."
  type        = list(object({ days = number, class = string }))
  default = [
    { days = 90, class = "GLACIER_IR" },
    { days = 400, class = "DEEP_ARCHIVE" },
  ]
}

variable "keep_days_after_lock" {
  description = "Days between the end of the lock and the deletion of a version."
  type        = number
  default     = 30

  validation {
    condition     = var.keep_days_after_lock >= 1
    error_message = "keep_days_after_lock is 1 or more."
  }
}

variable "access_log_bucket" {
  description = "A bucket that takes server access logs of the audit bucket; null writes none."
  type        = string
  default     = null
}

# Keys.

variable "key_rotation_days" {
  description = "How often KMS makes new material for its keys."
  type        = number
  default     = 365

  validation {
    condition     = var.key_rotation_days >= 90 && var.key_rotation_days <= 2560
    error_message = "key_rotation_days is from 90 to 2560."
  }
}

variable "rotation_lambda_arn" {
  description = "The function that makes a new upstream key (createSecret, setSecret, testSecret, finishSecret). Null: the secret is rotated by hand."
  type        = string
  default     = null
}

variable "secret_rotation_days" {
  description = "How often the upstream key is rotated."
  type        = number
  default     = 30

  validation {
    condition     = var.secret_rotation_days >= 1 && var.secret_rotation_days <= 31
    error_message = "secret_rotation_days is a month at the most."
  }
}

# Who the proxies are.

variable "ec2" {
  description = "Whether proxies run on EC2: makes an instance profile, and lets EC2 assume the role."
  type        = bool
  default     = true
}

variable "roles_anywhere" {
  description = <<-EOT
    For proxies outside AWS: who shows a certificate of this authority, with one of these common names, is the role.

    ca_bundle: the authority's certificates, in PEM.
    common_names: of the hosts' certificates.
    session_seconds: how long temporary keys live.
  EOT
  type = object({
    ca_bundle       = string
    common_names    = list(string)
    session_seconds = optional(number, 3600)
  })
  default = null

  validation {
    condition     = var.roles_anywhere == null || length(try(var.roles_anywhere.common_names, [])) > 0
    error_message = "roles_anywhere.common_names names the hosts: without names every certificate of the authority would do."
  }
  validation {
    condition     = alltrue([for name in try(var.roles_anywhere.common_names, []) : !strcontains(name, "*")])
    error_message = "roles_anywhere.common_names are whole names."
  }
}

# Reading and watching.

variable "athena" {
  description = "Whether to make the table, the workgroup and the prepared questions of deploy/athena, and a policy for auditors."
  type        = bool
  default     = true
}

variable "athena_scan_limit_bytes" {
  description = "What one query may read before it is cancelled."
  type        = number
  default     = 1099511627776
}

variable "table_since" {
  description = "The day of the first segment, from which on the table has partitions."
  type        = string
  default     = "2026-01-01"

  validation {
    condition     = can(formatdate("YYYY-MM-DD", "${var.table_since}T00:00:00Z"))
    error_message = "table_since is a day, such as 2026-01-01."
  }
}

variable "alarms" {
  description = "Whether to make the alarms of deploy/cloudwatch, and to let the proxies' CloudWatch agent write metrics."
  type        = bool
  default     = true
}

variable "fleet" {
  description = "The label `fleet` that the agents give their metrics."
  type        = string
  default     = "edge"
}

variable "alarm_topic_arns" {
  description = "Topics that alarms and their ends are sent to."
  type        = list(string)
  default     = []
}

variable "metrics_log_days" {
  description = "How long the agents' log of metrics is kept."
  type        = number
  default     = 365
}
