"""Benchmarks whose files hold a row for each question: what their fields are called stands in `tables/{name}.yaml`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from string import Formatter, ascii_uppercase
from typing import Any, Literal

import yaml

from sparrow.core.errors import DataError
from sparrow.core.files import inside_root, write_atomically
from sparrow.evaluation.annotations import Problems, find_files, read_json, read_text, records, require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording, seconds, task_files
from sparrow.evaluation.questions import Question, make_questions, split_prompt
from sparrow.evaluation.subtitles import Subtitle, parse_srt, parse_subtitles

TABLES = Path(__file__).with_name("tables")
PICTURES = "pictures"
WITHHELD = "withheld"
_EMPTY = ("", "NA", "nan", None)
_INLINE = re.compile(r"(?:\s*Options:\s*|,\s*|\s+)\b([A-H]):\s+")
_LONGEST_REFERENCE = 64


@dataclass(frozen=True, kw_only=True)
class Table:
    """How the rows of a publisher's files are read as questions; docs/benchmarks.md says what each field is."""

    id: str
    category: str
    files: tuple[str, ...] = ()
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: str = "json"
    keyed: bool = False
    nested: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)
    extracted: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    video: str = ""
    subtitles: str = ""
    picture: str = ""
    question: str = "question"
    hint: str = ""
    options: tuple[str, ...] = ("options",)
    no_option: str = ""
    inline: bool = False
    verbatim: bool = False
    answer: str = "answer"
    answer_as: Literal["letter", "place", "text"] = "letter"
    answers: str = ""
    may_lack_answer: bool = False
    is_number: bool = False
    free: tuple[str, ...] = ()
    is_withheld: bool = False
    categories: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""
    bounded: tuple[str, ...] = ()
    fps: Mapping[str, float] = field(default_factory=dict)
    duration: str = ""
    wordings: Mapping[str, Wording] = field(default_factory=lambda: {"official": Wording(instruction=DIRECTLY)})
    open_wording: Wording = Wording()
    rotated: bool = False

    def read(self, location: Path, reading: Reading) -> list[Question]:
        """The questions of a file, or of the files in a folder; a DataError with all that is wrong with them."""
        benchmark = reading.benchmark
        if reading.protocol not in self.wordings:
            what = f"there are no prompts of the protocol {reading.protocol!r}"
            raise DataError(what, where=f"benchmark '{benchmark}'", remedy="set its protocol to official")
        names = {task: f"{constants.get('file', task)}.json" for task, constants in self.tasks.items()}
        paths: Iterable[tuple[str, Path]] = (
            task_files(location, names, reading, self.folder).items()
            if self.tasks
            else [(path.stem, path) for path in find_files(location, self.files, benchmark=benchmark)]
        )
        folder = location if location.is_dir() else location.parent
        if reading.subtitles and not (shown := folder / Path(self.subtitles).parts[0]).is_dir():
            raise DataError(
                "the folder of subtitles is missing",
                where=f"benchmark '{benchmark}', {shown}",
                remedy="unpack the subtitles there, or turn subtitles off",
            )
        answers = require(read_json(folder / self.answers, benchmark=benchmark)) if self.answers else None
        problems = Problems(benchmark, location)
        rows = self._rows(paths, folder, benchmark, problems)
        questions = make_questions(rows, lambda row: self._question(row, answers, folder, reading), problems)
        return [turn for question in questions for turn in (rotations(question) if self.rotated else [question])]

    def _rows(
        self, paths: Iterable[tuple[str, Path]], folder: Path, benchmark: str, problems: Problems
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        held: dict[str, Any] = {}
        for task, path in paths:
            constants = {"file": path.stem, "task": task, **self.tasks.get(task, {})}
            found = records(
                path, benchmark=benchmark, problems=problems, store=lambda content, _: stored_picture(content, folder)
            )
            number = 0
            for where, record in found:
                try:
                    rows = list(self._flat(record))
                except (KeyError, TypeError) as error:
                    problems.add(where, f"it is no record of this benchmark ({error})")
                    continue
                for place, row in rows:
                    cell = row.get(self.picture)
                    # VLMEvalKit writes a picture once, and then the index of the row that holds it.
                    cell = held.get(cell, cell) if isinstance(cell, str) else cell
                    held.setdefault(str(row.get("index")), cell)
                    yield where + place, {**row, **constants, self.picture: cell, "row": number}
                    number += 1

    def _flat(self, record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The questions of a record, each with its fields and those around it, and with its place in the record."""
        for name, item in record.items() if self.keyed else [("", record)]:
            outer = {**item, "name": name} if self.keyed else dict(item)
            place = f", {name!r}" if self.keyed else ""
            if not self.nested or (self.nested not in outer and self.question in outer):
                yield place, outer
                continue
            for number, inner in enumerate(outer.pop(self.nested), 1):
                yield f"{place}, question {number}", {**outer, **inner}

    def _question(self, row: dict[str, Any], answers: Any, folder: Path, reading: Reading) -> Question:
        self._complete(row)
        require(row, self.question)
        name, category = _filled(self.id, row), _filled(self.category, row)
        question, options = self._options(row)
        if not options and not (self.is_number or category in self.free):
            places = " or ".join([*(repr(name) for name in self.options if name), "the question"])
            raise DataError(f"no options found in {places}: expected a list, or lines that begin 'A.', 'B.'")
        answer = row.get(self.answer) if answers is None else answers.get(name)
        withheld = self.is_withheld and answer in _EMPTY
        if answer is None and not withheld:
            raise DataError(f"missing {self.answer!r}")
        wording = self.wordings[reading.protocol] if options else self.open_wording
        if self.hint and row.get(self.hint) not in _EMPTY:
            wording = replace(wording, preamble=f"Hint: {row[self.hint]}\n{wording.preamble}")
        groups = {axis: _filled(template, row, may_be_null=True) for axis, template in self.groups.items()}
        groups |= {str(tag): "yes" for tag in row[self.tags]} if self.tags else {}
        is_bounded = category in self.bounded and bool(require(row, "start", "end"))
        return wording.ask(
            id=name,
            video=_filled(self.video, row) if self.video else None,
            pictures=(stored_picture(row.get(self.picture), folder),) if self.picture else (),
            question=question,
            options=options,
            gold=self._gold(answer, options) if options and not withheld else None,
            number=self._number(answer) if self.is_number and not options else None,
            withheld=withheld,
            category=WITHHELD if withheld else self.categories.get(category, category),
            groups={axis: value for axis, value in groups.items() if value},
            start_s=seconds(row, "start") if is_bounded else None,
            end_s=seconds(row, "end") if is_bounded else None,
            fps=self.fps.get(category),
            duration_s=seconds(row, self.duration) if row.get(self.duration) is not None else None,
            subtitles=self._subtitles(row, folder, reading.benchmark) if reading.subtitles else (),
        )

    def _complete(self, row: dict[str, Any]) -> None:
        """Fill in fields that this release calls otherwise, or that stand inside another one."""
        for other, name in self.aliases.items():
            if row.get(name) is None:
                row[name] = row.get(other)
        for name, (source, pattern) in self.extracted.items():
            if not row.get(name):
                match = re.search(pattern, str(row.get(source) or ""))
                if match is None:
                    raise DataError(f"missing {name!r}, which {source!r} does not hold either")
                row[name] = match[1]

    def _subtitles(self, row: dict[str, Any], folder: Path, benchmark: str) -> tuple[Subtitle, ...]:
        """Those of the row's `.srt` file, which a video may lack, or of LongVideoBench's `.json`."""
        name = _filled(self.subtitles, row)
        try:
            path = inside_root(folder, name)
            if path.suffix == ".srt":
                return parse_srt(read_text(path, benchmark=benchmark)) if path.is_file() else ()
            require(row, "duration", "starting_timestamp_for_subtitles")
            return parse_subtitles(
                read_json(path, benchmark=benchmark),
                duration_s=seconds(row, "duration"),
                starting_s=seconds(row, "starting_timestamp_for_subtitles"),
            )
        except DataError as error:
            raise DataError(f"subtitles {name}: {error}") from error

    def _options(self, row: dict[str, Any]) -> tuple[str, list[str]]:
        """The question alone, and its options without their letters."""
        text, cells = str(row[self.question]), [row[name] for name in self.options if name in row]
        listed: Any = next((cell for cell in cells if isinstance(cell, (list, dict))), None)
        if listed is not None and self.verbatim:
            return text, [str(option) for option in listed]
        if listed is None and len(self.options) > 1:
            listed = [None if cell == self.no_option else cell for cell in cells]
        options = list(listed.values() if isinstance(listed, dict) else listed or ())
        while options and options[-1] in ("", None):
            options.pop()
        if gap := next((place for place, option in enumerate(options, 1) if option in ("", None)), None):
            raise DataError(f"option {gap} of {len(options)} is empty")
        if self.verbatim:
            return text, [str(option) for option in options]
        if options:
            options = [str(option).strip() for option in options]
            parts = split_prompt("\n".join(["?", *options]))
            lettered = parts is not None and parts.question == "?" and len(parts.options) == len(options)
            return text.strip(), list(parts.options) if parts and lettered else options
        text = _INLINE.sub(r"\n\1: ", text.strip()) if self.inline else text.strip()
        parts = split_prompt("\n".join([text, *(cell for cell in cells if isinstance(cell, str))]))
        return (parts.question, list(parts.options)) if parts else (text, [])

    def _gold(self, answer: Any, options: list[str]) -> int | None:
        shown = str(answer) if self.verbatim else str(answer).strip()
        if self.answer_as == "text":
            place = max((i for i, option in enumerate(options) if option == shown), default=-1)
        elif self.answer_as == "place":
            place = int(shown) if shown.isdecimal() else -1
        else:
            letter = shown.strip("().")
            place = ascii_uppercase.find(letter) if len(letter) == 1 else -1
        if 0 <= place < len(options):
            return place
        if self.may_lack_answer:
            return None
        raise DataError(f"{self.answer!r} is {answer!r}, expected the {self.answer_as} of one of {options}")

    def _number(self, answer: Any) -> float:
        try:
            number = float(answer)
        except (TypeError, ValueError):
            number = 0.0
        if not 0 < number < float("inf"):
            raise DataError(f"{self.answer!r} is {answer!r}, expected a number above 0, which accuracy is relative to")
        return number


def rotations(question: Question) -> list[Question]:
    """The question once with each of its options as the first; to its id the number of the turn is added."""
    options, gold, size = question.options, question.gold, len(question.options)
    return [
        replace(
            question,
            id=f"{question.id}/{turn}",
            options=options[turn:] + options[:turn],
            gold=None if gold is None else (gold - turn) % size,
        )
        for turn in range(size)
    ]


def stored_picture(cell: Any, folder: Path) -> str:
    """Path of a row's picture in `folder`; bytes are written to `pictures/` there, once, by the name of their digest.

    Raises:
        DataError: If there is none, or it cannot be written.
    """
    if isinstance(cell, str) and len(cell) > _LONGEST_REFERENCE:
        try:
            cell = base64.b64decode(cell, validate=True)
        except binascii.Error as error:
            raise DataError(f"the picture is neither a path nor base64: {cell[:40]!r} ...") from error
    if isinstance(cell, str) and Path(cell).name:
        return cell
    if not isinstance(cell, bytes) or not cell:
        raise DataError(f"the row has no picture, but {cell!r}")
    name = f"{PICTURES}/{sha256(cell).hexdigest()[:32]}"
    if not (folder / name).is_file():
        try:
            (folder / PICTURES).mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, cell)
        except OSError as error:
            raise DataError(f"pictures cannot be written to {folder / PICTURES} ({error.strerror})") from error
    return name


def table(path: Path) -> Format:
    """The format that a YAML file describes: the fields of `Format` but `read`, and as `table` those of `Table`.

    Raises:
        TypeError: If there is no such field.
    """
    given: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    fields: dict[str, Any] = given.pop("table")
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    if "wording" in fields:
        fields["wordings"] = {"official": fields.pop("wording")}
    if "wordings" in fields:
        fields["wordings"] = {name: Wording(**words) for name, words in fields["wordings"].items()}
    if "open_wording" in fields:
        fields["open_wording"] = Wording(**fields["open_wording"])
    if isinstance(fields.get("options"), str):
        fields["options"] = (fields["options"],)
    if isinstance(fields.get("tasks"), tuple):
        fields["tasks"] = {task: {} for task in fields["tasks"]}
    found = Table(**fields)

    def from_released(question: Question) -> Question:
        return replace(question, category=found.categories.get(question.category, question.category))

    return Format(read=found.read, has_subtitles=bool(found.subtitles), from_released=from_released, **given)


@cache
def __getattr__(name: str) -> Format:
    path = TABLES / f"{name.lower()}.yaml"
    if not name.isupper() or not path.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return table(path)


def _filled(template: str, row: Mapping[str, Any], *, may_be_null: bool = False) -> str:
    """A template with a row's fields; `may_be_null` gives "" where one is null, which otherwise is missing."""
    try:
        for _, name, _, _ in Formatter().parse(template):
            if name and Formatter().get_field(name, (), row)[0] is None:
                if may_be_null:
                    return ""
                raise KeyError(name)
        return template.format_map(row)
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"missing a field of {template!r} ({error})") from error
