"""What a test needs from the machine. Missing, the test is skipped; in CI, conftest.py makes a failure of that."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from invalidator import embedded

_PACKAGE_OF = {
    "redis": "redis-server",
    "memcached": "memcached",
    "nginx": "nginx",
    "cache_purge": "libnginx-mod-http-cache-purge",
    "squid": "squid",
    "traffic_server": "trafficserver",
    "varnishd": "varnish",
    "vmod_xkey": "varnish-modules",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "chromium": "chromium",
    "node": "nodejs",
    "redis-cli": "redis-tools",
}
PACKAGES = frozenset(_PACKAGE_OF.values())
_MODULES = {
    "vmod_xkey": ("/usr/lib/*/varnish/vmods/libvmod_xkey.so", "/usr/lib*/varnish/vmods/libvmod_xkey.so"),
    "cache_purge": ("/usr/lib/nginx/modules/ngx_http_cache_purge_module.so",),
}


def require(name: str) -> Path:
    """Where it is: a program (`redis`, `nginx`, `promtool`, …) or a module (`vmod_xkey`, `cache_purge`)."""
    found = _module(name) if name in _MODULES else _program(name)
    if found is None:
        pytest.skip(
            f"{name} is not on this machine; it is the system package {_PACKAGE_OF[name]} (system-packages.txt)"
        )
    return found


def _program(name: str) -> Path | None:
    if name == "redis":
        return embedded.find_redis()
    # The PATH of an ordinary user often lacks the folders that servers are installed in.
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")
    return Path(found) if found else None


def _module(name: str) -> Path | None:
    return next((path for pattern in _MODULES[name] for path in Path("/").glob(pattern.removeprefix("/"))), None)
