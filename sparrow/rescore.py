"""`sparrow rescore RUN...`: recompute a run's scores from its stored predictions, without a model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Rescore the runs, print what changed, and return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow rescore", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, with its run.json")
    options = parser.parse_args(argv)

    from sparrow.runs.rescoring import rescore, rescored_table

    try:
        for folder in options.runs:
            print(f"{folder}\n\n{rescored_table(rescore(folder)).text()}")
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
