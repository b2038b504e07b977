"""Makes the pictures of the pages: `python docs/pages.py`, with the demo index built and Chromium installed.

A service with an arena of three real systems is started, a headless browser asks, fights, votes and compares,
and takes pictures meanwhile. The leaderboard is one of simulated votes beside the votes cast here.
"""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

TARGET = Path(__file__).resolve().parent / "pages"
PROGRAM = Path(sys.executable).parent / "ragnarok"
QUESTION = "How do I make a temporary directory?"
COLOURS, LARGEST = 128, 150_000
WAIT = 180_000

CONFIGURATION = """
[systems.bm25]
method = "bm25"
rerank = false
generator = "quote"
top_k = 10

[systems.hybrid]
method = "hybrid"
rerank = false
generator = "quote"
top_k = 10

[systems.attention]
method = "hybrid"
generator = "quote"
top_k = 10
"""


def main() -> None:
    """Take all pictures."""
    TARGET.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        _serving(Path(folder)) as address,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = chromium.new_page(viewport={"width": 1180, "height": 900}, reduced_motion="reduce")
        tab.set_default_timeout(WAIT)
        _ask(tab, address)
        _battle(tab, address)
        _compare(tab, address)
        _leaderboard(tab, address, Path(folder))
        phone = chromium.new_page(
            viewport={"width": 390, "height": 800}, reduced_motion="reduce", color_scheme="dark"
        )
        phone.goto(tab.url)
        _keep(phone, "phone")
        chromium.close()


def _ask(tab: Page, address: str) -> None:
    tab.goto(f"{address}/?q={quote(QUESTION)}")
    expect(tab.get_by_role("status")).to_contain_text("Done in", timeout=WAIT)
    _keep(tab, "ask")


def _battle(tab: Page, address: str) -> None:
    tab.goto(f"{address}/battle")
    expect(tab.get_by_label("Your question")).to_be_focused()
    tab.get_by_label("Your question").fill(QUESTION)
    tab.get_by_role("button", name="Begin").click()
    expect(tab.locator("#vote")).to_be_visible(timeout=WAIT)
    tab.keyboard.press("1")
    _keep(tab, "battle")
    tab.keyboard.press("Shift+Digit3")
    tab.keyboard.press("Enter")
    expect(tab.locator("#told")).to_be_visible()
    _keep(tab, "record")


def _compare(tab: Page, address: str) -> None:
    tab.goto(f"{address}/compare?q={quote(QUESTION)}&a=bm25&b=attention")
    expect(tab.get_by_role("status")).to_contain_text("Done", timeout=WAIT)
    _keep(tab, "compare")


def _leaderboard(tab: Page, address: str, folder: Path) -> None:
    votes = folder / "votes.jsonl"
    systems = ["bm25-alone=1000", "dense-alone=985", "hybrid-late=1045", "hybrid-joint=1060"]
    subprocess.run([PROGRAM, "arena", "simulate", *systems, "--votes", "1500", "--output", votes], check=True)
    store = folder / "arena.db"
    subprocess.run([PROGRAM, "arena", "import", votes, "--store", store], check=True)
    tab.goto(f"{address}/leaderboard?topics=simulated")
    tab.wait_for_load_state("networkidle")
    _keep(tab, "leaderboard")


def _keep(tab: Page, name: str) -> None:
    """A picture of what is to be seen, in few colours: pages have few."""
    shot = Image.open(io.BytesIO(tab.screenshot()))
    path = TARGET / f"{name}.png"
    shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes, over {LARGEST:,}: show less, or take fewer colours")
    print(f"{path.name}: {size:,} bytes")


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """The address of the service, once it answers."""
    (folder / "arena.toml").write_text(CONFIGURATION)
    port = os.environ.get("PORT", "8765")
    settings = {"RAGNAROK_DEPTH": "10", "RAGNAROK_ARENA": str(folder / "arena.toml")}
    server = subprocess.Popen([PROGRAM, "serve", "--port", port], env=os.environ | settings)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def _wait(address: str) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        try:
            if httpx.get(f"{address}/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise TimeoutError(f"the service at {address} was not ready within 300 s")


if __name__ == "__main__":
    main()
