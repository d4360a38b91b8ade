"""Uploads, which stream through without being judged by model."""

import hashlib
import os

import anthropic
import pytest


@pytest.fixture
def file(client):
    """A small file with every byte in it, gone after the test."""
    file = client.files.upload(file=("bytes.bin", bytes(range(256)) * 100, "application/octet-stream"))
    yield file
    client.files.delete(file.id)


def test_an_uploaded_file_is_described(client, file):
    shown = client.files.retrieve_metadata(file.id)
    assert (shown.filename, shown.size_bytes, shown.mime_type) == ("bytes.bin", 25_600, "application/octet-stream")


def test_an_uploaded_file_is_listed(client, file):
    assert file.id in [listed.id for listed in client.files.list(limit=1000)]


def test_a_file_comes_back_byte_by_byte(client, file):
    assert client.files.download(file.id).read() == bytes(range(256)) * 100


def test_a_deleted_file_is_gone(client):
    file = client.files.upload(file=("gone.txt", b"gone", "text/plain"))
    assert client.files.delete(file.id).id == file.id
    with pytest.raises(anthropic.NotFoundError):
        client.files.retrieve_metadata(file.id)


def test_an_upload_larger_than_any_message_arrives_whole(client):
    content = os.urandom(40 * 1024 * 1024)
    file = client.files.upload(file=("large.bin", content, "application/octet-stream"))
    assert file.size_bytes == len(content)
    assert file.standin_sha256 == hashlib.sha256(content).hexdigest()
    client.files.delete(file.id)
