#!/usr/bin/env python3
"""Runs tiles.mjs in headless Chromium: `python3 benches/web/tiles.py`. It needs no package and no network."""

import tempfile

import run


def main() -> None:
    server = run.Server()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = run.opened(f"http://localhost:{server.ports[False]}/page/tiles.html", profile)
        try:
            print("\n".join(server.reports.get(timeout=120)["lines"]))
        finally:
            run.end_group(process)


if __name__ == "__main__":
    main()
