"""`sparrow export RUN OUT`: a run's model as a Hugging Face folder of its own, adapters merged, with a model card."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Write the folder, say where it is, and return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow export", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished training run")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write, which must not be there yet")
    parser.add_argument(
        "--from-checkpoint",
        nargs="?",
        const="newest",
        choices=["newest", "best"],
        help="take the newest checkpoint of a run, finished or not, or that of the least validation loss",
    )
    parser.add_argument("--name", help="name in the model card (default: that of OUT)")
    options = parser.parse_args(argv)

    from transformers.utils import logging as transformers_logging

    from sparrow.runs.exporting import export

    transformers_logging.disable_progress_bar()

    try:
        name = options.name or options.out.name
        export(options.run, options.out, name=name, from_checkpoint=options.from_checkpoint)
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
