"""The `sparrow` command line: one table of the commands, and one place where their errors become messages.

`python -m sparrow COMMAND` is the same. What does the work is imported once the arguments are known to be right, so
that `--help` is quick.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill
from typing import Any

from sparrow import __version__
from sparrow.app.user_errors import message_of
from sparrow.core.errors import BackboneError

ENDED_BY_SIGNAL = 128  # a shell's exit code for a process that a signal ended, less the signal's number


def _init(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("project", type=Path, metavar="PROJECT", help="the folder to make, named as the study")
    parser.add_argument("data", nargs="*", type=Path, metavar="DATA_FOLDER", help="a folder with records and media")
    given = parser.parse_args(arguments)

    from sparrow.app.help import options_by_group
    from sparrow.commands.new_project import new_project

    print(new_project(given.project, given.data, {name for names in options_by_group().values() for name in names}))


def _export(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished training run")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder to write, which must not be there yet")
    which = "take the newest checkpoint of a run, finished or not; `best`: of the least validation loss; or a step"
    parser.add_argument("--from-checkpoint", nargs="?", const="newest", metavar="WHICH", help=which)
    parser.add_argument("--name", help="name in the model card (default: that of OUT)")
    given = parser.parse_args(arguments)

    from sparrow.commands.export import export

    export(given.run, given.out, name=given.name or given.out.name, from_checkpoint=given.from_checkpoint)
    print(given.out)


def _report(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a folder with runs in it or below")
    parser.add_argument("--out", type=Path, help="where report.html and the other files go (default: the folder)")
    stand = "only print how each job stands: done, running, failed, missing, ..."
    parser.add_argument("--status", action="store_true", help=stand)
    watch = "print it again every so many seconds (default: 10) until Ctrl-C"
    parser.add_argument("--watch", nargs="?", const=10.0, type=float, metavar="SECONDS", help=watch)
    given = parser.parse_args(arguments)
    if given.status and given.out is not None:
        parser.error("--status prints and writes nothing: leave --out away")
    if given.watch is not None and not (given.status and given.watch > 0 and sys.stdout.isatty()):
        parser.error("--watch SECONDS needs --status, a terminal, and more than 0 seconds")
    if given.out is None and len(given.folders) > 1 and not given.status:
        parser.error("with several folders, say with --out where the report goes")

    from sparrow.commands.report import print_status, report

    if given.status:
        from sparrow.app.launching.slurm import known_queue
        from sparrow.app.sweeps import expected_jobs

        print_status(given.folders, expected_jobs, known_queue, given.watch)
    else:
        report(given.folders, given.out or given.folders[0])


def _compare(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("first", type=Path, metavar="RUN", help="folder of a run, or of `sparrow prepare`: A")
    parser.add_argument("second", type=Path, metavar="RUN", help="folder of another: B")
    given = parser.parse_args(arguments)

    from sparrow.commands.compare import compare

    print(compare(given.first, given.second))


def _rescore(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, with its run.json")
    given = parser.parse_args(arguments)

    from sparrow.commands.rescore import rescore, rescored_table

    for folder in given.runs:
        print(f"{folder}\n\n{rescored_table(rescore(folder)).text()}")


def _ask(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("checkpoint", help="a run's folder, a Hugging Face folder or a Hub id")
    parser.add_argument(
        "media", type=Path, nargs="*", help="a video file, an animation or a folder of frames; or pictures; or nothing"
    )
    parser.add_argument("text", metavar="question")
    parser.add_argument(
        "--question", action="append", default=[], dest="more", metavar="TEXT", help="another question about the same"
    )
    parser.add_argument("--frame-size", type=int, dest="frame_size_px", help="longest side of a frame in pixels")
    parser.add_argument("--options", nargs="+", default=[], metavar="TEXT", help="texts to choose from")
    most = "most frames (default: as the run was trained, or 24)"
    parser.add_argument("--frames", type=int, dest="max_frames", help=most)
    parser.add_argument("--start", type=float, dest="start_s", help="begin of the part that is shown, in seconds")
    parser.add_argument("--end", type=float, dest="end_s", help="its end")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="limit of the reply (default: 256)")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="write a picture of the frames shown")
    parser.add_argument("--accelerator", choices=("auto", "cpu"), default="auto")
    given = vars(parser.parse_args(arguments))
    sheet = given.pop("contact_sheet")
    questions = [given.pop("text"), *given.pop("more")]

    from sparrow.commands.ask import Request, ask, contact_sheet, described

    request = Request(questions=questions, **given)
    answered = ask(request)
    print(described(answered, request))
    if sheet is not None and not len(answered.clip.frames):
        parser.error("--contact-sheet: no frame was shown")
    if sheet is not None:
        contact_sheet(answered.clip).save(sheet, format="PNG")
        print(f"sheet:  {sheet}")


def _check_model(parser: ArgumentParser, arguments: list[str]) -> None:
    parser.add_argument("checkpoint", help="a Hugging Face folder, a run's model folder or a Hub id")
    parser.add_argument("--frame-size", type=int, dest="frame_size_px", help="longest side of a frame in pixels")
    parser.add_argument("--template", choices=("sparrow", "checkpoint"), help="whose chat template is meant")
    parser.add_argument("--accelerator", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--no-sharding", action="store_false", dest="sharding", help="start no further processes")
    given = parser.parse_args(arguments)

    from sparrow.commands.check_model import Checkup

    marks = {True: "ok", False: "FAILED", None: "-"}
    checkup = Checkup(**vars(given))
    for result in checkup.run():
        line = f"{marks[result.passed]:<8}{result.name:<11}{result.detail}"
        print(fill(line, 100, subsequent_indent=" " * 19, break_long_words=False, break_on_hyphens=False), flush=True)
        if result.passed is False:
            raise BackboneError(f"{given.checkpoint!r} cannot be trained as it is: see '{result.name}' above")
    size = f"backbone.frame_size_px={checkup.frame_size_px}"
    print(f"\nready to train: backbone.family={checkup.planned.family} backbone.checkpoint={given.checkpoint} {size}")


@dataclass(frozen=True)
class Command:
    """What a command is for, and what carries it out where argparse reads its command line; Hydra reads the others."""

    purpose: str
    run: Callable[[ArgumentParser, list[str]], None] | None = None


COMMANDS = {
    "init": Command("make a project: settings for the data in some folders, and the commands to run", _init),
    "train": Command("fine-tune a backbone on a mixture, evaluate it before and after"),
    "evaluate": Command("evaluate a checkpoint on benchmarks"),
    "prepare": Command("plan a mixture: counts, tokens, steps, rejected samples; nothing is trained"),
    "preview": Command("one HTML page of samples as the model gets them"),
    "diversity": Command("how diverse instructions are: metrics, clusters, pictures"),
    "export": Command("a run's model as a Hugging Face folder, adapters merged, with a model card", _export),
    "report": Command("tables and plots over folders of runs, or how their jobs stand", _report),
    "compare": Command("what differs between two runs in settings, data and scores", _compare),
    "rescore": Command("recompute a run's scores from its stored predictions, without a model", _rescore),
    "check-model": Command("whether a checkpoint can be trained as it is, before the first job", _check_model),
    "ask": Command("questions about a video or pictures: the replies, the frames, the options weighed", _ask),
}


class UnreadFile(io.FileIO):
    """A standard stream whose reader may leave early, as `head` does: what is written after that is dropped."""

    def write(self, data: Any) -> int:
        """Write, if somebody reads it."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)


def run(name: str, arguments: list[str]) -> int:
    """Carry out a command; its exit status. An error that a user can fix is one message, without a traceback."""
    command = COMMANDS[name]
    try:
        if command.run is None:
            from sparrow.app.entry import run_app
            from sparrow.commands.checkpoint_settings import each_checkpoint

            run_app(name, each_checkpoint(arguments) if name == "evaluate" else arguments, command.purpose)
        else:
            command.run(ArgumentParser(f"sparrow {name}", description=f"{command.purpose}."), arguments)
    except KeyboardInterrupt as error:
        print("sparrow: interrupted", file=sys.stderr)
        return ENDED_BY_SIGNAL + (error.args[0] if error.args else signal.SIGINT)
    except Exception as error:
        message = message_of(error)
        if message is None or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        print(message, file=sys.stderr)
        return 1
    return 0


def main() -> None:
    """Run the command that is named on the command line.

    `sys.argv` keeps the command, so that processes which Lightning starts by it run the same one.
    """
    for stream in ("stdout", "stderr"):
        file = io.BufferedWriter(UnreadFile(getattr(sys, stream).fileno(), "w", closefd=False))
        setattr(sys, stream, io.TextIOWrapper(file, errors="backslashreplace", line_buffering=True))
    name, *arguments = sys.argv[1:] or [""]
    if name in ("", "-h", "--help"):
        print("usage: sparrow COMMAND ...\n")
        for command, described in COMMANDS.items():
            print(f"  {command:<12}{described.purpose}")
        print("\n`sparrow COMMAND --help` tells more, `sparrow --version` which version this is.")
        sys.exit(0 if name else 2)
    if name == "--version":
        print(f"sparrow {__version__}")
        return
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(COMMANDS)}"
        sys.exit(f"sparrow: unknown command '{name}'; {hint}")
    sys.exit(run(name, arguments))
