"""TLS at the listener: certificates by the name a client asks for, and taking on renewed ones.

HTTP is not known here.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = structlog.get_logger(__name__)

PROTOCOLS = ["h2", "http/1.1"]


class CertificateFault(Exception):
    """A certificate or key cannot be used; the text says which and why."""


class Certificates:
    """Pairs of certificate and key files; the first serves clients that ask for no known name."""

    def __init__(self, pairs: Sequence[tuple[Path, Path]]) -> None:
        """Read the files.

        Raises:
            CertificateFault: one of them cannot be used.
        """
        self._pairs = tuple(pairs)
        self._default, self._by_name = _load(self._pairs)
        # A listener keeps the context it began with: this one only asks which one is meant.
        self.context = _new_context(*self._pairs[0])
        self.context.sni_callback = self._choose

    def reload(self) -> None:
        """Read the files again; new connections get what is there now, or what was before."""
        try:
            self._default, self._by_name = _load(self._pairs)
        except CertificateFault as fault:
            log.error("certificates not reloaded, the old ones go on", reason=str(fault))
        else:
            log.info("certificates reloaded", names=sorted(self._by_name))

    def _choose(
        self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> ssl.AlertDescription | None:
        connection.context = self._context_for(name or "")
        return None

    def _context_for(self, name: str) -> ssl.SSLContext:
        name = name.lower()
        wildcard = f"*.{name.partition('.')[2]}"
        return self._by_name.get(name) or self._by_name.get(wildcard) or self._default


def _load(
    pairs: Sequence[tuple[Path, Path]],
) -> tuple[ssl.SSLContext, dict[str, ssl.SSLContext]]:
    contexts = []
    by_name: dict[str, ssl.SSLContext] = {}
    for certificate, key in pairs:
        context = _new_context(certificate, key)
        contexts.append(context)
        for name in _names(certificate):
            by_name.setdefault(name.lower(), context)
    return contexts[0], by_name


def _new_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)
    try:
        # An empty password: one that is asked for on a terminal would be waited for without end.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CertificateFault(f"{certificate} with {key}: {error}") from error
    return context


def _names(certificate: Path) -> list[str]:
    """Return the DNS names that a certificate is for."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    except (OSError, ValueError) as error:
        raise CertificateFault(f"{certificate}: {error}") from error
    return names.get_values_for_type(x509.DNSName)
