"""`sparrow compare RUN RUN`: what differs between two runs in settings and data, and what each scored."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Print the comparison and return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow compare", description=__doc__)
    parser.add_argument("first", type=Path, metavar="RUN", help="folder of a run, or of `sparrow prepare`: A")
    parser.add_argument("second", type=Path, metavar="RUN", help="folder of another: B")
    options = parser.parse_args(argv)

    from sparrow.runs.comparing import compare

    try:
        print(compare(options.first, options.second))
    except SparrowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
