"""`sparrow ask CHECKPOINT VIDEO "question"`: what a model says about a video, and which frames it saw."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sparrow.core.errors import SparrowError


def main(argv: list[str] | None = None) -> int:
    """Ask, print the answer, and return the exit status."""
    parser = argparse.ArgumentParser(prog="sparrow ask", description=__doc__)
    parser.add_argument("checkpoint", help="a run's folder, a Hugging Face folder or a Hub id")
    parser.add_argument("video", type=Path, help="a video file, an animation or a folder of frames")
    parser.add_argument("question")
    parser.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="texts to choose from")
    parser.add_argument("--frames", type=int, help="most frames (default: as the run was trained, or 24)")
    parser.add_argument("--start", type=float, help="begin of the part that is shown, in seconds")
    parser.add_argument("--end", type=float, help="its end")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="limit of the reply (default: 256)")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="write a picture of the frames shown")
    parser.add_argument("--accelerator", choices=("auto", "cpu"), default="auto")
    given = parser.parse_args(argv)

    from transformers.utils import logging as transformers_logging

    from sparrow.runs.asking import ask, contact_sheet, described

    transformers_logging.disable_progress_bar()

    try:
        answered = ask(
            given.checkpoint,
            given.video,
            given.question,
            tuple(given.options),
            max_frames=given.frames,
            start_s=given.start,
            end_s=given.end,
            max_new_tokens=given.max_new_tokens,
            accelerator=given.accelerator,
        )
        print(described(answered, given.video, tuple(given.options)))
        if given.contact_sheet is not None:
            contact_sheet(answered.clip).save(given.contact_sheet, format="PNG")
            print(f"sheet:  {given.contact_sheet}")
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
