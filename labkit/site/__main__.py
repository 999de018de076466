"""Build the site from the labs that `make labs` has executed, or list where it leads to:

python -m labkit.site [--build DIR] [--links]
"""

import argparse
import sys
from pathlib import Path

from labkit.quiet import print_what_the_terminal_can
from labkit.site import build
from labkit.site.source_tree import BUILD, BookError


def main(arguments: list[str] | None = None) -> int:
    """Do it and return the exit code: 0 good, 1 no site."""
    print_what_the_terminal_can()
    parser = argparse.ArgumentParser(prog="python -m labkit.site", description="Build the site from the executed labs.")
    parser.add_argument("--build", type=Path, default=BUILD, metavar="DIR", help="results of labs, and the site")
    parser.add_argument("--links", action="store_true", help="only list where the site leads to on other hosts")
    options = parser.parse_args(arguments)
    folder = options.build.absolute()
    try:
        if options.links:
            for address, pages in build.outside_links(folder / "site").items():
                print(f"{address}  ({', '.join(pages[:3])}{' …' if len(pages) > 3 else ''})")
        else:
            build.build_site(folder / "notebooks", folder / "records", folder / "site")
            print(f"The site: {(folder / 'site' / 'index.html').as_uri()}")
    except BookError as error:
        print(f"No site: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
