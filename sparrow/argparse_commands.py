"""The commands that argparse reads: their arguments, what they print, and their exit status.

What does the work is imported once the arguments are known to be right, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from sparrow.core.errors import SparrowError


def export(argv: list[str] | None = None) -> int:
    """Write a run's model as a Hugging Face folder of its own, adapters merged, with a model card."""
    parser = _parser("export RUN OUT", export)
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
    given = parser.parse_args(argv)

    from transformers.utils import logging as transformers_logging

    from sparrow.commands.export import export as write_model

    transformers_logging.disable_progress_bar()

    def work() -> None:
        name = given.name or given.out.name
        write_model(given.run, given.out, name=name, from_checkpoint=given.from_checkpoint)
        print(given.out)

    return _exit_status(work)


def report(argv: list[str] | None = None) -> int:
    """Rebuild the tables, figures and page of all runs below some folders from disk, or print how the jobs stand."""
    parser = _parser("report FOLDER...", report)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with runs in it or below")
    parser.add_argument("--out", type=Path, help="where report.html and the other files go (default: the folder)")
    parser.add_argument(
        "--status", action="store_true", help="only print how each job stands: done, running, failed, missing, ..."
    )
    given = parser.parse_args(argv)
    if given.status and given.out is not None:
        parser.error("--status prints and writes nothing: leave --out away")
    if given.out is None and len(given.folders) > 1 and not given.status:
        parser.error("with several folders, say with --out where the report goes")

    from sparrow.commands.report import print_status
    from sparrow.commands.report import report as write_files

    def work() -> None:
        if given.status:
            from sparrow.app.sweeps import expected_jobs

            print_status(given.folders, expected_jobs)
        else:
            write_files(given.folders, given.out or given.folders[0])

    return _exit_status(work)


def compare(argv: list[str] | None = None) -> int:
    """Print what differs between two runs in settings and data, and what each scored."""
    parser = _parser("compare RUN RUN", compare)
    parser.add_argument("first", type=Path, metavar="RUN", help="folder of a run, or of `sparrow prepare`: A")
    parser.add_argument("second", type=Path, metavar="RUN", help="folder of another: B")
    given = parser.parse_args(argv)

    from sparrow.commands.compare import compare as compared

    return _exit_status(lambda: print(compared(given.first, given.second)))


def rescore(argv: list[str] | None = None) -> int:
    """Recompute a run's scores from its stored predictions, without a model."""
    parser = _parser("rescore RUN...", rescore)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, with its run.json")
    given = parser.parse_args(argv)

    from sparrow.commands.rescore import rescore as recompute
    from sparrow.commands.rescore import rescored_table

    def work() -> None:
        for folder in given.runs:
            print(f"{folder}\n\n{rescored_table(recompute(folder)).text()}")

    return _exit_status(work)


def ask(argv: list[str] | None = None) -> int:
    """Print what a model says about a video, and which frames it saw."""
    parser = _parser('ask CHECKPOINT VIDEO "question"', ask)
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

    from sparrow.commands.ask import ask as answer_one
    from sparrow.commands.ask import contact_sheet, described

    transformers_logging.disable_progress_bar()
    options = tuple(given.options)

    def work() -> None:
        answered = answer_one(
            given.checkpoint,
            given.video,
            given.question,
            options,
            max_frames=given.frames,
            start_s=given.start,
            end_s=given.end,
            max_new_tokens=given.max_new_tokens,
            accelerator=given.accelerator,
        )
        print(described(answered, given.video, options))
        if given.contact_sheet is not None:
            contact_sheet(answered.clip).save(given.contact_sheet, format="PNG")
            print(f"sheet:  {given.contact_sheet}")

    return _exit_status(work)


def _parser(usage: str, command: Callable[[list[str] | None], int]) -> argparse.ArgumentParser:
    description = f"`sparrow {usage}`: {command.__doc__}"
    return argparse.ArgumentParser(prog=f"sparrow {usage.split(maxsplit=1)[0]}", description=description)


def _exit_status(work: Callable[[], None]) -> int:
    """Do the work; an error that a user can fix is printed in one line."""
    try:
        work()
    except (SparrowError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
