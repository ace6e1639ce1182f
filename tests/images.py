"""The images that tests deploy, built on windlass/base; built anew only when they change."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

BASE = "windlass/base"  # deploy/setup/base-image.sh provides it
EXAMPLES = Path(__file__).parent.parent / "examples"
BUILT_WITHIN = 300.0  # seconds

INSTALL = "apt-get update && apt-get install -y --no-install-recommends"
CLEAN = "&& apt-get clean && rm -rf /var/lib/apt/lists/*"  # half as much to unpack

# Two servers as Debian packages them. Only where they listen is set: nginx on a fixed port,
# lighttpd on the one that the platform names.
NGINX = f"""
FROM {BASE}
RUN {INSTALL} nginx-light {CLEAN}
RUN sed -i 's/listen 80 /listen 8080 /; /listen \\[::\\]/d' /etc/nginx/sites-available/default
CMD ["nginx", "-g", "daemon off;"]
"""
LIGHTTPD = f"""
FROM {BASE}
RUN {INSTALL} lighttpd {CLEAN}
RUN sed -i 's/^server.port .*/server.port = env.PORT/; /use-ipv6/d' /etc/lighttpd/lighttpd.conf
CMD ["lighttpd", "-D", "-f", "/etc/lighttpd/lighttpd.conf"]
"""

OTHERS = {
    "apache": f"""
FROM {BASE}
RUN {INSTALL} apache2 {CLEAN}
RUN sed -i 's/Listen 80$/Listen 8080/' /etc/apache2/ports.conf
CMD ["apachectl", "-D", "FOREGROUND"]
""",
    "node": f"""
FROM {BASE}
RUN {INSTALL} nodejs {CLEAN}
RUN echo "require('http').createServer((q, s) => s.end('node ' + process.getuid()))" \
    ".listen(process.env.PORT)" > /server.js
ENTRYPOINT ["node", "/server.js"]
USER www-data
""",
    "writer": f"""
FROM {BASE}
WORKDIR /work
CMD echo written > /tmp/x && cp /tmp/x index.html && exec python3 -m http.server 8080
""",
}


class BuildFailed(Exception):
    """An image could not be built; carries what the engine said."""


def build_example(name: str) -> str:
    """Build examples/NAME if it changed; return its tag."""
    folder = EXAMPLES / name
    content = b"".join(path.read_bytes() for path in sorted(folder.glob("[Ds]*")))
    return _build(name, content, str(folder))


def build_from(name: str, dockerfile: str) -> str:
    """Build an image that needs no files of ours; return its tag."""
    return _build(name, dockerfile.encode(), "-")


def _build(name: str, content: bytes, context: str) -> str:
    base = _docker("image", "inspect", "--format", "{{.Id}}", BASE)
    tag = f"windlass-test/{name}:{hashlib.sha256(base.encode() + content).hexdigest()[:12]}"
    if not _docker("image", "ls", "--quiet", tag):
        stdin = content if context == "-" else b""
        _docker("build", "--build-arg", f"BASE={BASE}", "--tag", tag, context, stdin=stdin)
    return tag


def _docker(*words: str, stdin: bytes = b"") -> str:
    try:
        done = subprocess.run(
            ["docker", *words], input=stdin, capture_output=True, timeout=BUILT_WITHIN, check=False
        )
    except subprocess.TimeoutExpired as fault:
        raise BuildFailed(f"docker {words[0]}: not done within {BUILT_WITHIN} s") from fault
    if done.returncode != 0:
        raise BuildFailed(f"docker {words[0]}: {(done.stdout + done.stderr).decode()[-4000:]}")
    return done.stdout.decode().strip()
