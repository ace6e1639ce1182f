"""Writes the figures of `make bench-router` into docs/performance.md, as tables and as a plot.

`python -m windlass.bench.router_page`. No figure on that page is typed by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from html import escape
from pathlib import Path
from typing import Any

TITLES = {
    "small": ("Small answers: CPU µs per request", "cpu_us_per_request"),
    "headers": ("Ten headers of a browser: CPU µs per request", "cpu_us_per_request"),
    "queued": ("Half of the requests wait in the queue: CPU µs per request", "cpu_us_per_request"),
    "fixed_rate": ("2 000 requests per second: CPU µs per request", "cpu_us_per_request"),
    "large_download": ("1 MiB down: CPU µs per MiB", "cpu_us_per_mib"),
    "large_upload": ("1 MiB up: CPU µs per MiB", "cpu_us_per_mib"),
    "websocket": ("WebSocket messages: CPU µs per message and echo", "cpu_us_per_request"),
    "grpc": ("gRPC's unary calls: CPU µs per call", "cpu_us_per_request"),
}
COLUMNS = (
    ("CPU µs", "", "{:.1f}"),  # the case's own figure
    ("of nginx", "ratio_to_nginx", "{:.2f}"),
    ("requests/s", "requests_per_second", "{:.0f}"),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("p99.9 ms", "p999_ms", "{:.2f}"),
)
BEGIN, END = "<!-- figures: python -m windlass.bench.router_page -->", "<!-- end of figures -->"

Document = dict[str, Any]  # what router_bench wrote: parsed JSON


def main(arguments: list[str] | None = None) -> int:
    """Write page and plot; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m windlass.bench.router_page", description=__doc__
    )
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/router.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    options = parser.parse_args(arguments)
    document = json.loads(options.results.read_text())
    text = options.page.read_text()
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        print(f"{options.page} has no lines {BEGIN} and {END}", file=sys.stderr)
        return 1
    plot = options.page.with_suffix(".svg")
    plot.write_text(draw(document))
    figures = f"\n![CPU time beside other proxies]({plot.name})\n\n{tables(document)}"
    options.page.write_text(before + BEGIN + "\n" + figures + END + after)
    return 0


def tables(document: Document) -> str:
    """Return a line on the machine and a Markdown table for each case."""
    machine, settings = document["machine"], document["settings"]
    text = (
        f"{machine['processor']}, {machine['cores']} cores, Linux {machine['kernel']}, "
        f"Python {machine['python']}, {machine['date']}; medians of {settings['rounds']} "
        f"rounds of {settings['seconds']} s. {settings.get('note', '')}".rstrip()
        + "\n\n"
    )
    for case, (title, key) in TITLES.items():
        if case not in document:
            continue
        text += f"**{title}**\n\n| |" + "|".join(f" {name} " for name, _, _ in COLUMNS) + "|\n"
        text += "| --- |" + " ---: |" * len(COLUMNS) + "\n"
        for proxy, figures in document[case].items():
            cells = (
                form.format(figures[name or key]) if (name or key) in figures else ""
                for _, name, form in COLUMNS
            )
            text += f"| {proxy} | " + " | ".join(cells) + " |\n"
        text += "\n"
    if "idle" in document:
        text += "**Idle connections: memory of the process**\n\n| | connections | KiB each |\n"
        text += "| --- | ---: | ---: |\n"
        for proxy, figures in document["idle"].items():
            count, each = figures["connections"], figures["kib_per_connection"]
            text += f"| {proxy} | {count} | {each:.2f} |\n"
        text += "\n"
    return text


def draw(document: Document) -> str:
    """Return an SVG with a bar for each proxy's CPU time in each case, as a multiple of nginx's."""
    rows: list[str] = []
    at = 10
    for case, (title, key) in TITLES.items():
        if case not in document:
            continue
        rows.append(f'<text x="10" y="{at + 14}" class="title">{escape(title)}</text>')
        at += 22
        for proxy, figures in document[case].items():
            if "ratio_to_nginx" not in figures:
                continue
            ratio = figures["ratio_to_nginx"]
            width = min(ratio, 10) * 50
            kind = "ours" if proxy == "windlass" else "theirs"
            label = f"{figures[key]:.1f} ({ratio:.2f} of nginx)"
            rows.append(
                f'<text x="80" y="{at + 11}" text-anchor="end">{escape(proxy)}</text>'
                f'<rect x="88" y="{at}" width="{width:.1f}" height="14" class="{kind}"/>'
                f'<text x="{94 + width:.1f}" y="{at + 11}">{label}</text>'
            )
            at += 18
        at += 14
    style = (
        "text{font:12px sans-serif;fill:#333}.title{font-weight:bold}"
        ".ours{fill:#0b6e99}.theirs{fill:#b8c4cc}svg{background:#fff}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {at}" role="img" '
        f'aria-label="CPU time beside other proxies"><style>{style}</style>'
        f'<rect width="760" height="{at}" fill="#fff"/>' + "\n".join(rows) + "</svg>\n"
    )


if __name__ == "__main__":
    sys.exit(main())
