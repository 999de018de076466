"""Print the whole book to one PDF: all pages as a single one, which a Chromium prints.

python -m labkit.site.print [--notebooks DIR] [--records DIR] [--pdf FILE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from labkit import files
from labkit.site import browser, build
from labkit.site.source_tree import BUILD, BookError

MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}
READY = """async () => {
  for (const hidden of document.querySelectorAll("details")) hidden.open = true;
  await MathJax.startup.promise;
  await Promise.all([...document.images].map(i => { i.loading = "eager"; return i.decode(); }));
}"""


def print_page(page: Path, pdf: Path) -> None:
    """Print a page as A4, with an outline, page numbers and tags for screen readers, whole or not at all."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.find_chromium(), args=browser.FLAGS)
        tab = chromium.new_page(color_scheme="light")
        tab.goto(page.absolute().as_uri(), wait_until="networkidle")
        # A slow machine may be idle for a moment before it has read MathJax.
        tab.wait_for_function("globalThis.MathJax?.startup?.promise")
        tab.evaluate(READY)
        number = '<p style="width: 100%; text-align: center; font-size: 8px"><span class="pageNumber"></span></p>'
        options = {
            "format": "A4",
            "margin": MARGIN,
            "scale": 0.7,
            "print_background": True,
            "outline": True,
            "tagged": True,
        }
        data = tab.pdf(**options, display_header_footer=True, header_template="<p></p>", footer_template=number)
        chromium.close()
    files.write(pdf, data)


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the whole book to one PDF.")
    parser.add_argument("--notebooks", type=Path, default=BUILD / "notebooks", help="executed labs")
    parser.add_argument("--records", type=Path, default=BUILD / "records", help="this run's results")
    parser.add_argument("--pdf", type=Path, default=BUILD / "book.pdf", help="the result (build/book.pdf)")
    options = parser.parse_args()
    try:
        source, _ = build.write_source(options.notebooks, options.records, options.pdf.with_suffix(".source"))
        print_page(build.run_jupyter_book(source, "singlehtml") / "index.html", options.pdf)
    except BookError as error:
        print(f"The book was not printed: {error}", file=sys.stderr)
        return 1
    print(f"The book: {options.pdf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
