"""Makes the README's pictures: `python docs/pictures.py`, with the demo index built and Chromium installed.

The terminal's picture is drawn by `ragnarok demo --picture`, the page's by a headless browser.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parent
QUESTION = "When is the else clause of a for loop executed?"


def main() -> None:
    """Draw both pictures."""
    program = Path(sys.executable).parent / "ragnarok"
    subprocess.run([program, "demo", "--picture", DOCS / "demo.svg"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [program, "serve", "--port", str(port)], env=os.environ | {"RAGNAROK_DEPTH": "10"}
    )
    try:
        _wait(port)
        _photograph(f"http://127.0.0.1:{port}/?q={quote(QUESTION)}")
    finally:
        server.terminate()
        server.wait(30)


def _wait(port: int) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"the service did not open port {port} within 120 s")


def _photograph(address: str) -> None:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.goto(address)
        page.wait_for_load_state("networkidle", timeout=120_000)
        page.screenshot(path=DOCS / "page.png")
        chromium.close()


if __name__ == "__main__":
    main()
