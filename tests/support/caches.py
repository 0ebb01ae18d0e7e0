"""Real HTTP caches in front of an origin: Varnish, and nginx with its cache-purge module."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from invalidator import embedded
from tests.support.origin import Response, fetch
from tests.support.required import require
from tests.support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

_VCL = """vcl 4.1;
import std;
import xkey;
backend origin {{ .host = "{host}"; .port = "{port}"; }}
sub vcl_recv {{
    # One name for all: who purges may call this cache by another one than who reads.
    set req.http.host = "shop.example";
    if (req.method == "PURGE" && req.http.xkey-purge) {{
        set req.http.purged = xkey.purge(req.http.xkey-purge);
        return (synth(200, "Purged " + req.http.purged));
    }}
    if (req.method == "PURGE") {{ return (purge); }}
    if (req.method == "BAN") {{
        if (!std.ban(req.http.x-ban)) {{ return (synth(400, std.ban_error())); }}
        return (synth(200, "Banned"));
    }}
}}
sub vcl_backend_response {{ set beresp.http.x-path = bereq.url; }}
"""

# One process: workers of their own would outlive a SIGKILL of their master, and go on to answer.
_NGINX = """{load}
master_process off; daemon off; pid nginx.pid; error_log stderr;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    proxy_cache_path cache levels=1:2 keys_zone=pages:1m;
    server {{
        listen 127.0.0.1:{port};
        # A location of its own, and a key that is more than one variable: otherwise a purge crashes nginx
        # (libnginx-mod-http-cache-purge 2.3 in nginx 1.22, measured).
        location ~ ^/purge(/.*)$ {{ proxy_cache_purge pages $1$is_args$args; }}
        location / {{
            proxy_pass http://{origin};
            proxy_cache pages; proxy_cache_key $uri$is_args$args; proxy_cache_valid 200 1h;
            add_header X-Cache $upstream_cache_status;
        }}
    }}
}}
"""


class HttpCache(embedded.Server):
    """A cache on a free port. `get("/x")` reads through it, as an application would."""

    def __init__(self, program: Path, folder: Path) -> None:
        super().__init__(program, folder, (), unix=False)
        self.port = free_port()

    @property
    def url(self) -> str:
        """What `targets:` of an http backend takes."""
        return f"http://{self.address}"

    def get(self, path: str) -> Response:
        return fetch(self.url + path)

    def _pid_that_answers(self) -> int:
        fetch(f"{self.url}/-/alive")
        return self.pid


class Varnish(HttpCache):
    """PURGE of a path, or with `xkey-purge: TAG…`; BAN with `x-ban: EXPRESSION`; `obj.http.x-path`: the path."""

    name = "varnish"

    def __init__(self, folder: Path, origin: str) -> None:
        super().__init__(require("varnishd"), folder)
        require("vmod_xkey")
        host, _, port = origin.rpartition(":")
        self._vcl = folder / "cache.vcl"
        self._vcl.write_text(_VCL.format(host=host, port=port))

    def _arguments(self) -> list[str]:
        # `-j none`: its own jail wants users that only a packaged installation has.
        options = ["-j", "none", "-F", "-n", str(self.directory / "varnish"), "-s", "malloc,16m"]
        return [*options, "-a", self.address, "-f", str(self._vcl)]


class Nginx(HttpCache):
    """GET /purge/PATH removes /PATH: 200 when it was cached, 404 when it was not."""

    name = "nginx"

    def __init__(self, folder: Path, origin: str) -> None:
        super().__init__(require("nginx"), folder)
        load = f"load_module {require('cache_purge')};" + (" user root;" if os.geteuid() == 0 else "")
        self._config = folder / "nginx.conf"
        self._config.write_text(_NGINX.format(load=load, port=self.port, origin=origin))

    def _arguments(self) -> list[str]:
        return ["-p", str(self.directory), "-c", str(self._config), "-e", "stderr"]
