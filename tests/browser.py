"""How tests start a browser: as root, alone, and without a word to anyone outside."""

from __future__ import annotations

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
