"""A Redis that speaks TLS."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.required import require
from tests.support.stores import RedisServer
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path


def tls_server(cleanup: ExitStack, folder: Path) -> int:
    """The port of a redis-server that speaks TLS with the certificate `cert.pem` in `folder`."""
    program = require("redis")
    openssl = shutil.which("openssl")
    if openssl is None or program.name != "redis-server":  # the wheel's server has no TLS
        pytest.skip("a redis-server with TLS and openssl are not both on this machine")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([openssl, "req", "-x509", "-newkey", "rsa:2048", *subject, *files], check=True, capture_output=True)
    port = free_port()
    certificate = ["--tls-cert-file", str(folder / "cert.pem"), "--tls-key-file", str(folder / "key.pem")]
    options = ["--tls-port", str(port), *certificate, "--tls-auth-clients", "no"]
    server = RedisServer(folder, *options)
    cleanup.callback(server.kill)
    server.start()
    return port
