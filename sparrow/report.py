"""`sparrow report FOLDER...`: the tables, pictures and page of all runs below some folders, rebuilt from disk."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Write the report and print its tables, or print how the jobs stand; return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow report", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with runs in it or below")
    parser.add_argument("--out", type=Path, help="where report.html and the other files go (default: the folder)")
    parser.add_argument(
        "--status", action="store_true", help="only print how each job stands: done, running, failed, missing, ..."
    )
    options = parser.parse_args(argv)
    if options.status and options.out is not None:
        parser.error("--status prints and writes nothing: leave --out away")
    if options.out is None and len(options.folders) > 1 and not options.status:
        parser.error("with several folders, say with --out where the report goes")
    try:
        if options.status:
            _print_status(options.folders)
        else:
            _report(options.folders, options.out or options.folders[0])
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _report(folders: list[Path], out: Path) -> None:
    from sparrow.runs.report import print_table, read_studies, write_report

    studies = read_studies(folders)
    paths = write_report(studies, out)
    print_table(studies)
    for path in paths.all:
        print(path)


def _print_status(folders: list[Path]) -> None:
    from sparrow.app.sweeps import expected_jobs
    from sparrow.runs.report.status import status_table, status_text

    print(status_text(status_table(folder, expected_jobs(folder)) for folder in folders))


if __name__ == "__main__":
    sys.exit(main())
