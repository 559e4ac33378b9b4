"""Pictures of Dagster's UI for the pages: python docs/take_screenshots.py [ADDRESS].

Needs a running `wrdata up` and Chromium (on Debian: apt-get install chromium); Playwright drives
the installed browser and downloads none.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PAGES = {
    "lineage.png": "/asset-groups/",
    "no_dead_letters.png": (
        "/assets/curated/equity_prices/daily_bars_table?view=checks&checkDetail=no_dead_letters"
    ),
}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


def main(address: str, folder: Path) -> None:
    """Write one picture a page into ``folder``."""
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        for name, path in PAGES.items():
            page.goto(f"{address}{path}")
            page.wait_for_timeout(6000)
            page.screenshot(path=folder / name)
        browser.close()


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:3000",
        Path(__file__).parent / "pictures",
    )
