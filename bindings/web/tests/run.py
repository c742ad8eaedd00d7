#!/usr/bin/env python3
"""Runs the tests of the npm package in a real browser: serves the repository, opens `suite.html`, prints what it reports.

    python3 bindings/web/tests/run.py                    Chromium, headless, WebGPU on SwiftShader
    python3 bindings/web/tests/run.py firefox            Firefox, headless, WebGPU on the system's driver (llvmpipe)
    python3 bindings/web/tests/run.py chromium sources   only tests whose name has this text

Build the package first (`bash bindings/web/build.sh`). Fails if a test fails, if the browser ends early, or after LIMIT seconds.
"""

import http.server
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

ROOT = Path(__file__).resolve().parents[3]
LIMIT = int(os.environ.get("LIMIT", "600"))
TYPES = {".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json",
         ".css": "text/css", ".png": "image/png", ".svg": "image/svg+xml"}
FIREFOX = {"dom.webgpu.enabled": True, "gfx.webgpu.ignore-blocklist": True, "dom.webgpu.workers.enabled": True,
           "datareporting.policy.dataSubmissionEnabled": False, "app.update.enabled": False,
           "browser.shell.checkDefaultBrowser": False, "network.captive-portal-service.enabled": False,
           "network.connectivity-service.enabled": False, "browser.aboutwelcome.enabled": False,
           "services.settings.server": "http://127.0.0.1:1/"}


class Server(http.server.ThreadingHTTPServer):
    """A server with the queue that the page's reports go to, and the paths that were asked for."""

    daemon_threads = True

    def __init__(self, reports):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reports, self.asked = reports, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        pass  # connections that a test aborts


class Handler(http.server.BaseHTTPRequestHandler):
    """
    Files of the repository, and the page's reports. Another port is another origin, with CORS. `?stall` sends half of a file and waits,
    `?plain` has no CORS, `?asked` gives the paths asked for so far.
    """

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.reports.put(json.loads(body))
        self.answer(204, b"")

    def do_GET(self):
        if self.path.endswith("?asked"):
            return self.answer(200, json.dumps(self.server.asked).encode(), TYPES[".json"])
        self.server.asked.append(self.path)
        path = (ROOT / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if path.is_dir() and self.path.endswith("?list"):
            names = sorted(p.name for p in path.iterdir() if (p / "expected.safetensors").is_file())
            return self.answer(200, json.dumps(names).encode(), TYPES[".json"])
        if path.is_dir():
            path = path / "index.html"
        if not path.is_relative_to(ROOT) or not path.is_file():
            return self.answer(404, b"not found")
        self.answer(200, path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))

    def answer(self, status, body, kind="text/plain"):
        query = urlsplit(self.path).query
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if query != "plain":
            self.send_header("access-control-allow-origin", "*")
        self.send_header("cache-control", "no-store")
        self.end_headers()
        if query == "stall":
            self.wfile.write(body[: len(body) // 2])
            time.sleep(LIMIT)
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def command(browser, url, profile):
    """The command line of a headless browser that opens one page."""
    if browser == "firefox":
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in FIREFOX.items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        program = shutil.which("firefox-esr") or shutil.which("firefox")
        return [program, "--headless", "--no-remote", "--profile", profile, url]
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return [program, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={profile}", "--enable-unsafe-webgpu",
            "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan", "--no-first-run", "--disable-quic",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream", url]


def browse(browser, env=None, **query):
    """Opens the suite in a headless browser, with more variables in its environment, and gives its reports until it ends."""
    reports = queue.Queue()
    page, other = (Server(reports).server_address[1] for _ in range(2))
    query = "&".join(f"{key}={quote(str(value))}" for key, value in {"other": other, **query}.items())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        line = command(browser, f"http://localhost:{page}/bindings/web/tests/suite.html?{query}", profile)
        if not line[0]:
            raise FileNotFoundError(f"{browser} is not installed")
        log = open(Path(profile) / "browser.log", "wb")
        # Chromium's drivers are its own.
        given = {k: v for k, v in os.environ.items() if k != "VK_DRIVER_FILES" or browser == "firefox"}
        given |= {**(env or {}), "HOME": profile, "MOZ_HEADLESS": "1"}
        process = subprocess.Popen(line, stdout=log, stderr=log, env=given)
        try:
            yield from until_end(reports, process, browser)
        except (TimeoutError, ChildProcessError):
            print(Path(profile, "browser.log").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def until_end(reports, process, browser):
    """The reports, as long as they come and the browser runs."""
    report, heard = {}, time.monotonic()
    while report.get("kind") != "end":
        try:
            report = reports.get(timeout=1)
        except queue.Empty:
            if process.poll() is not None:
                raise ChildProcessError(f"{browser} ended with {process.returncode}") from None
            if time.monotonic() - heard > LIMIT:
                raise TimeoutError(f"{browser} said nothing for {LIMIT} s") from None
            continue
        heard = time.monotonic()
        yield report


def main():
    browser = sys.argv[1] if len(sys.argv) > 1 else "chromium"
    failed = passed = 0
    for report in browse(browser, only=sys.argv[2] if len(sys.argv) > 2 else ""):
        failed += report["kind"] == "failed"
        passed += report["kind"] == "passed"
        if report["kind"] != "end":
            print(report["text"], flush=True)
    print(f"{browser}: {passed} passed, {failed} failed of {report['tests']}")
    if failed or passed != report["tests"] or not passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
