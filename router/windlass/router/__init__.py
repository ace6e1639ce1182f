"""The router. Where its hot path is compiled, that is imported in place of the sources."""

from pathlib import Path

from windlass.router import compiled

_here = Path(__file__).parent
if not compiled.why_pure(_here):
    __path__.insert(0, str(compiled.directory(_here)))
