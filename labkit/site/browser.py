"""Find a Chromium for the page tests, or get one:  python -m labkit.site.browser"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# Root may not use the sandbox, a server has no GPU, and a test asks nothing of the network.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ADVICE = "no Chromium: install one (Debian: apt-get install chromium) or run `.venv/bin/playwright install chromium`"


def find_chromium() -> str | None:
    """Path of an installed Chromium or Chrome, else of playwright's own; None when there is neither."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install_chromium() -> None:
    """Try Debian's package, then playwright's build; each attempt shows what it does."""
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get") and subprocess.run([*root, "true"], capture_output=True).returncode == 0:
        for step in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *step])
    if not find_chromium():
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"])


if __name__ == "__main__":
    if not find_chromium():
        print("The page tests need a Chromium; installing one.", flush=True)
        install_chromium()
    sys.exit(None if find_chromium() else ADVICE)
