#!/usr/bin/env python3
"""Holds deploy/terraform to what it promises, by its text alone: no Terraform is needed.

What a proxy may do is held against what src/audit/ship calls.
"""

import pathlib
import re

import hcl2

ROOT = pathlib.Path(__file__).parents[2]
MODULE = ROOT / "deploy/terraform"


def main():
    blocks = Blocks(MODULE)
    nothing_is_public(blocks)
    segments_are_locked(blocks)
    encryption_is_by_keys_that_rotate(blocks)
    endpoint_admits_proxies_only(blocks)
    proxy_may_do_what_the_shipper_calls(blocks)
    proxy_reads_one_version_of_one_secret(blocks)
    secret_has_no_value_and_rotates_monthly(blocks)
    variables_and_outputs_are_described(blocks)
    no_lock_file_and_no_host_of_a_registry()
    print("terraform: module holds")


class Blocks:
    """All blocks of a module's files: resources and data by type and name."""

    def __init__(self, folder):
        self.files = {path.name: plain(hcl2.loads(path.read_text())) for path in sorted(folder.glob("*.tf"))}

    def of(self, kind):
        for content in self.files.values():
            yield from content.get(kind, [])

    def resources(self, type_, kind="resource"):
        found = {}
        for block in self.of(kind):
            for name, body in block.get(type_, {}).items():
                found[name] = body
        return found

    def resource(self, type_, name):
        return self.resources(type_)[name]

    def statements(self, name):
        return self.resources("aws_iam_policy_document", "data")[name]["statement"]


def plain(value):
    """Without the quotes that hcl2 keeps around keys and texts."""
    if isinstance(value, dict):
        return {key.strip('"'): plain(inner) for key, inner in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str) and value.startswith('"') and value.endswith('"'):
        return value[1:-1]
    return value


def nothing_is_public(blocks):
    buckets = set(blocks.resources("aws_s3_bucket"))
    blocked = blocks.resources("aws_s3_bucket_public_access_block")
    policies = blocks.resources("aws_s3_bucket_policy")
    assert buckets == set(blocked) == set(policies) and "audit" in buckets, buckets
    for name, body in blocked.items():
        for flag in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
            assert body[flag] is True, f"{name}: {flag}"
    for name in buckets:
        statements = blocks.statements(f"{name}_bucket")
        assert all(one["effect"] == "Deny" for one in statements), f"{name}: a bucket's policy only denies"
        tls = next(one for one in statements if one["sid"] == "TlsOnly")
        assert tls["actions"] == ["s3:*"] and len(tls["resources"]) == 2, tls
        (condition,) = tls["condition"]
        assert (condition["variable"], condition["values"]) == ("aws:SecureTransport", ["false"]), condition
    assert blocks.resource("aws_secretsmanager_secret_policy", "key")["block_public_policy"] is True
    assert not blocks.resources("aws_s3_bucket_acl") and not blocks.resources("aws_s3_bucket_website_configuration")


def segments_are_locked(blocks):
    bucket = blocks.resource("aws_s3_bucket", "audit")
    assert bucket["object_lock_enabled"] is True and bucket["force_destroy"] is False
    assert bucket["lifecycle"][0]["prevent_destroy"] is True
    versioning = blocks.resource("aws_s3_bucket_versioning", "audit")
    assert versioning["versioning_configuration"][0]["status"] == "Enabled"
    lock = blocks.resource("aws_s3_bucket_object_lock_configuration", "audit")
    (retention,) = lock["rule"][0]["default_retention"]
    assert retention == {"mode": "${var.lock_mode}", "days": "${var.retention_days}"}, retention
    variables = {name: body for block in blocks.of("variable") for name, body in block.items()}
    assert variables["lock_mode"]["default"] == "COMPLIANCE" and variables["retention_days"]["default"] == 2190
    age = blocks.resource("aws_s3_bucket_lifecycle_configuration", "audit")["rule"][0]
    assert age["expiration"][0]["days"] == "${var.retention_days + 1}", age
    shorter = next(one for one in blocks.statements("audit_bucket") if one["sid"] == "NoShorterRetention")
    assert set(shorter["actions"]) == {"s3:PutObject", "s3:PutObjectRetention"}, shorter


def encryption_is_by_keys_that_rotate(blocks):
    for name, body in blocks.resources("aws_s3_bucket_server_side_encryption_configuration").items():
        (rule,) = body["rule"]
        (default,) = rule["apply_server_side_encryption_by_default"]
        assert default["sse_algorithm"] == "aws:kms" and "aws_kms_key" in default["kms_master_key_id"], name
    assert set(blocks.resources("aws_s3_bucket_server_side_encryption_configuration")) == set(blocks.resources("aws_s3_bucket"))
    keys = blocks.resources("aws_kms_key")
    assert keys and all(key["enable_key_rotation"] is True for key in keys.values())
    assert "aws_kms_key" in blocks.resource("aws_secretsmanager_secret", "key")["kms_key_id"]


def endpoint_admits_proxies_only(blocks):
    assert not blocks.resources("aws_vpc_security_group_egress_rule"), "the endpoint's interfaces call nobody"
    group = blocks.resource("aws_security_group", "endpoint")
    assert "ingress" not in group and "egress" not in group, "rules are resources of their own"
    rules = blocks.resources("aws_vpc_security_group_ingress_rule")
    assert set(rules) == {"proxy", "proxy_network"}
    for rule in rules.values():
        assert (rule["ip_protocol"], rule["from_port"], rule["to_port"]) == ("tcp", 443, 443), rule
    assert rules["proxy"]["referenced_security_group_id"] == rules["proxy_network"]["cidr_ipv4"] == "${each.value}"
    assert "proxy_security_group_ids" in rules["proxy"]["for_each"] and "proxy_cidrs" in rules["proxy_network"]["for_each"]
    assert "lifecycle" in blocks.resource("aws_vpc_endpoint", "upstream")


# What a call or a header of the shipper needs: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
NEEDS = {
    "put_opts": {"s3:PutObject"},
    "get": {"s3:GetObject"},
    "x-amz-object-lock-": {"s3:PutObjectRetention"},
    "aws:kms": {"kms:GenerateDataKey", "kms:Decrypt"},
}
# Every other call of object_store's traits, which the policy does not allow.
FOREIGN = (
    "put", "put_multipart", "put_multipart_opts", "get_opts", "get_range", "get_ranges", "head", "delete", "delete_stream",
    "list", "list_with_offset", "list_with_delimiter", "copy", "copy_opts", "copy_if_not_exists", "rename", "rename_if_not_exists",
)  # fmt: skip


def proxy_may_do_what_the_shipper_calls(blocks):
    files = [path for path in (ROOT / "src/audit/ship").rglob("*.rs") if path.name != "tests.rs"]
    texts = [path.read_text().split("#[cfg(test)]")[0] for path in files]
    source = "\n".join(text for text in texts if "use object_store" in text)
    calls = set(re.findall(r"(?:reader|writer\)\(now\)\?|store)\s*\.\s*(\w+)\(", source)) - {"credentials"}
    assert calls == {"put_opts", "get"}, f"the shipper calls {calls}: say in NEEDS what that takes, and give it in iam.tf"
    assert not [name for name in FOREIGN if re.search(rf"\.{name}\(&?(?:key|path|prefix|location)\b", source)]
    assert "x-amz-object-lock-mode" in source and "aws:kms" in source

    allowed, locked = set(), set()
    for statement in blocks.statements("ship"):
        if statement.get("effect") != "Deny":
            named = re.findall(r'"(\w+:[\w*]+)"', statement["actions"]) if isinstance(statement["actions"], str) else statement["actions"]
            allowed |= set(named)
            assert "*" not in "".join(named), named
    allowed, locked = allowed - {"s3:PutObjectRetention"}, allowed & {"s3:PutObjectRetention"}
    assert allowed == NEEDS["put_opts"] | NEEDS["get"] | NEEDS["aws:kms"], allowed
    assert locked == NEEDS["x-amz-object-lock-"]
    (put,) = [one for one in blocks.statements("ship") if one["sid"] == "PutAndReadBack"]
    assert "var.uploads_bear_retention ?" in put["actions"], "only who sends a date may set one"
    # Keys are PREFIX/dt=DAY/host=HOST/...: `fn key` in upload.rs.
    assert 'format!("dt={}"' in source and put["resources"] == ["${aws_s3_bucket.audit.arn}/${var.audit_prefix}/dt=*"]
    (never,) = [one for one in blocks.statements("ship") if one.get("effect") == "Deny"]
    assert {"s3:DeleteObject*", "s3:BypassGovernanceRetention", "s3:PutBucketObjectLockConfiguration"} <= set(never["actions"])
    # The page says the same.
    page = (ROOT / "docs/audit-shipping.md").read_text()
    paragraph = page[page.index("The proxy needs these actions") : page.index("It never lists or deletes")]
    assert set(re.findall(r"`(\w+:\w+)`", paragraph)) == allowed | locked, paragraph


def proxy_reads_one_version_of_one_secret(blocks):
    current, decrypt = blocks.statements("read_secret")
    assert current["actions"] == ["secretsmanager:GetSecretValue"] and len(current["resources"]) == 1
    assert current["condition"][0]["values"] == ["AWSCURRENT"]
    assert decrypt["actions"] == ["kms:Decrypt"] and len(decrypt["condition"]) == 2
    given = set()
    for name in ("ship", "read_secret", "write_metrics"):
        for statement in blocks.statements(name):
            assert statement["resources"] != ["*"], f"{name}: every resource"
            given.add(name)
    policies = next(block["proxy_policies"] for block in blocks.of("locals") if "proxy_policies" in block)
    assert set(re.findall(r"aws_iam_policy_document\.(\w+)\.json", policies)) == given, "another policy is given to proxies"
    assert set(blocks.resources("aws_iam_role_policy")) == {"proxy"} and not blocks.resources("aws_iam_role_policy_attachment")


def secret_has_no_value_and_rotates_monthly(blocks):
    assert not blocks.resources("aws_secretsmanager_secret_version"), "a value would be in the state"
    (rules,) = blocks.resource("aws_secretsmanager_secret_rotation", "key")["rotation_rules"]
    assert rules == {"automatically_after_days": "${var.secret_rotation_days}"}
    permission = blocks.resource("aws_lambda_permission", "rotation")
    assert permission["principal"] == "secretsmanager.amazonaws.com" and "source_arn" in permission


def variables_and_outputs_are_described(blocks):
    readme = (MODULE / "README.md").read_text()
    for kind in ("variable", "output"):
        for block in blocks.of(kind):
            for name, body in block.items():
                assert len(body["description"]) > 10, f"{kind} {name}"
                assert f"`{name}`" in readme, f"{kind} {name} is not in the README"


def no_lock_file_and_no_host_of_a_registry():
    ignored = (MODULE / ".gitignore").read_text().split()
    assert {".terraform/", ".terraform.lock.hcl", "*.tfstate*"} <= set(ignored), "what init and apply leave is not ours to commit"
    for path in (ROOT / "deploy").rglob("*"):
        if path.is_file() and not any(part.startswith((".terraform", "terraform.tfstate")) for part in path.parts):
            assert not re.search(r"registry\.\w+\.(io|org)", path.read_text()), path


if __name__ == "__main__":
    main()
