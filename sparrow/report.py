"""`sparrow report FOLDER...`: the table and the picture of all runs below some folders, rebuilt from disk."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Write the report, print its table, and return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with runs in it or below")
    parser.add_argument("--out", type=Path, help="where report.csv, report.md and report.png go (default: the folder)")
    options = parser.parse_args(argv)
    if options.out is None and len(options.folders) > 1:
        parser.error("with several folders, say with --out where the report goes")

    from sparrow.runs.report import print_table, read_studies, write_report

    try:
        studies = read_studies(options.folders)
        paths = write_report(studies, options.out or options.folders[0])
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_table(studies)
    for path in (paths.csv, paths.markdown, paths.png):
        if path is not None:
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
