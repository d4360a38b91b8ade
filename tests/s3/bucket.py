#!/usr/bin/env python3
"""What a test asks a store of S3 that the proxy never does: to make a bucket, to put what is not the
proxy's, and to show, fetch and delete versions.

usage: bucket.py ENDPOINT make BUCKET | put BUCKET KEY TEXT | versions BUCKET | delete BUCKET KEY VERSION | fetch BUCKET FOLDER
Answers in JSON on standard output. The keys are those of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import json
import pathlib
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ATTEMPTS = 10  # a store that has just started is not ready at once


def main(endpoint, command, bucket, *rest):
    config = Config(s3={"addressing_style": "path"}, retries={"max_attempts": ATTEMPTS, "mode": "standard"})
    s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
    answer = COMMANDS[command](s3, bucket, *rest)
    json.dump(answer, sys.stdout, default=lambda time: time.isoformat())


def make(s3, bucket):
    s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)


def put(s3, bucket, key, text):
    s3.put_object(Bucket=bucket, Key=key, Body=text.encode())


def versions(s3, bucket):
    """Every version of every object, as its head tells it."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    found = [version for page in pages for version in page.get("Versions", [])]
    return [{"key": one["Key"], "version": one["VersionId"]} | head(s3, bucket, one) for one in found]


def head(s3, bucket, one):
    head = s3.head_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    return {
        "lock": head.get("ObjectLockMode"),
        "until": head.get("ObjectLockRetainUntilDate"),
        "encryption": head.get("ServerSideEncryption"),
        "type": head["ContentType"],
        "metadata": head["Metadata"],
    }


def delete(s3, bucket, key, version):
    """The code of the refusal; null when there was none."""
    try:
        s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def fetch(s3, bucket, folder):
    """Downloads every object to its key below the folder."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
    for key in keys:
        path = pathlib.Path(folder, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(path))
    return keys


COMMANDS = {"make": make, "put": put, "versions": versions, "delete": delete, "fetch": fetch}

if __name__ == "__main__":
    main(*sys.argv[1:])
