#!/usr/bin/env python3
"""Lets Terraform itself judge deploy/terraform, where it and the provider are on this machine: fmt, validate, its own tests
with a mocked provider, and the complete example applied to moto. Says so where it cannot.

TF_PLUGIN_DIR is a folder of providers in Terraform's layout (HOST/NAMESPACE/TYPE/VERSION/SYSTEM/...). None is downloaded.
"""

import glob
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3

ROOT = pathlib.Path(__file__).parents[2]
PROVIDER = "*/hashicorp/aws/5.*/*/terraform-provider-aws_v5*"
FOLDERS = (os.environ.get("TF_PLUGIN_DIR"), "~/.terraform.d/plugins", "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins", "/opt/*")
DAYS = 2190


def main():
    terraform, plugins = shutil.which("terraform"), plugin_folder()
    if not (terraform and plugins):
        print("terraform: NOT RUN: no " + ("provider of AWS" if terraform else "terraform") + " on this machine")
        return
    with tempfile.TemporaryDirectory() as copy:
        # A copy, for what init writes names a registry's host. The module reads its neighbours in deploy/.
        ignore = shutil.ignore_patterns(".terraform*")
        module = pathlib.Path(shutil.copytree(ROOT / "deploy", pathlib.Path(copy, "deploy"), ignore=ignore), "terraform")
        environment = os.environ | {"TF_CLI_CONFIG_FILE": "/dev/null", "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
        run = Terraform(terraform, plugins, environment)
        run(module, "fmt", "-check", "-recursive", "-diff")
        run.init(module)
        run(module, "validate")
        run(module, "test")
        applies(run, module / "examples/complete")
    print("terraform: fmt, validate, test and apply (to moto) hold")


def plugin_folder():
    for pattern in filter(None, FOLDERS):
        for folder in sorted(glob.glob(os.path.expanduser(pattern))):
            if glob.glob(f"{folder}/{PROVIDER}"):
                return folder
    return None


class Terraform:
    def __init__(self, program, plugins, environment):
        self.program, self.plugins, self.environment = program, plugins, environment

    def __call__(self, folder, *arguments, more=None, timeout=300):
        done = subprocess.run(
            [self.program, *arguments, *([] if arguments[0] == "fmt" else ["-no-color"])],
            cwd=folder, env=self.environment | (more or {}), text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"terraform {' '.join(arguments)}:\n{done.stdout[-6000:]}")
        return done.stdout

    def init(self, folder):
        self(folder, "init", "-input=false", "-backend=false", f"-plugin-dir={self.plugins}")


OVERRIDE = """
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
}
"""


def applies(run, example):
    (example / "moto_override.tf").write_text(OVERRIDE)
    run.init(example)
    with Moto() as url:
        account = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "3",
        }
        run(example, "apply", "-auto-approve", "-input=false", more=account)
        shipped = run(example, "output", "-raw", "ship_url", more=account)
        bucket, prefix = shipped.removeprefix("s3://").split("/", 1)
        a_segment_is_locked(url, bucket, prefix)
        services = {name: client(name, url) for name in ("cloudwatch", "iam", "secretsmanager", "athena")}
        assert len(services["cloudwatch"].describe_alarms()["MetricAlarms"]) >= 10
        assert sorted(services["iam"].list_role_policies(RoleName="portcullis-proxy")["PolicyNames"]) == ["metrics", "secret", "ship"]
        assert services["iam"].list_attached_role_policies(RoleName="portcullis-proxy")["AttachedPolicies"] == []
        usage = services["athena"].get_prepared_statement(StatementName="usage", WorkGroup="portcullis-audit")["PreparedStatement"]
        assert "FROM portcullis_audit.portcullis_audit\n" in usage["QueryStatement"] and ";" not in usage["QueryStatement"], usage
        assert "VersionIdsToStages" not in services["secretsmanager"].describe_secret(SecretId="portcullis/anthropic-key")


def a_segment_is_locked(url, bucket, prefix):
    s3 = client("s3", url)
    # moto reads no conditions, and so denies all that the policy denies to some.
    assert '"aws:SecureTransport":"false"' in s3.get_bucket_policy(Bucket=bucket)["Policy"].replace(" ", "")
    s3.delete_bucket_policy(Bucket=bucket)
    key = f"{prefix}/dt=2026-11-28/host=edge-1/audit-0-000000000001.jsonl.zst"
    s3.put_object(Bucket=bucket, Key=key, Body=b"lines")
    head = s3.head_object(Bucket=bucket, Key=key)
    left = head["ObjectLockRetainUntilDate"].timestamp() - time.time()
    assert head["ObjectLockMode"] == "COMPLIANCE" and (DAYS - 2) * 86400 < left <= DAYS * 86400, head
    assert head["ServerSideEncryption"] == "aws:kms" and head["VersionId"], head


def client(service, url):
    return boto3.client(
        service, endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


class Moto:
    """A stand-in for AWS on loopback, while it is entered."""

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = pathlib.Path(sys.executable).with_name("moto_server")
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=self.log, stderr=self.log)
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                return url
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    sys.exit("moto does not start")
                time.sleep(0.1)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


if __name__ == "__main__":
    main()
