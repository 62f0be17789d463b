"""Benchmarks whose files hold a row for each question: what their fields are called stands in `tables/{name}.yaml`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from string import ascii_uppercase
from typing import Any, Literal

import yaml

from sparrow.core.errors import DataError
from sparrow.core.files import write_atomically
from sparrow.data.readers import read_records
from sparrow.evaluation.annotations import Problems, find_files, read_json, require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording, seconds, task_files
from sparrow.evaluation.questions import Question, make_questions, split_prompt

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
    tasks: tuple[str, ...] = ()
    folder: str = "json"
    keyed: bool = False
    nested: str = ""
    video: str = ""
    after: str = "\0"
    picture: str = ""
    question: str = "question"
    hint: str = ""
    options: str | tuple[str, ...] = "options"
    inline: bool = False
    answer: str = "answer"
    answer_as: Literal["letter", "place", "text"] = "letter"
    answers: str = ""
    is_number: bool = False
    is_free: bool = False
    without_options: str = ""
    is_withheld: bool = False
    categories: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""
    bounded: tuple[str, ...] = ()
    wording: Wording = Wording(instruction=DIRECTLY)
    rotated: bool = False

    def read(self, location: Path, reading: Reading) -> list[Question]:
        """The questions of a file, or of the files in a folder; a DataError with all that is wrong with them."""
        if reading.protocol != "official":
            what = f"there are no prompts of the protocol {reading.protocol!r}"
            raise DataError(what, where=f"benchmark '{reading.benchmark}'", remedy="set its protocol to official")
        if self.tasks:
            paths = list(task_files(location, {t: f"{t}.json" for t in self.tasks}, reading, self.folder).values())
        else:
            paths = find_files(location, self.files, benchmark=reading.benchmark)
        folder = location if location.is_dir() else location.parent
        answers = read_json(paths[0].parent / self.answers, benchmark=reading.benchmark) if self.answers else None
        problems = Problems(reading.benchmark, location)
        rows = self._rows(paths, folder, reading.benchmark, problems)
        questions = make_questions(rows, lambda row: self._question(row, answers, folder), problems)
        return [turn for question in questions for turn in (rotations(question) if self.rotated else [question])]

    def _rows(
        self, paths: Sequence[Path], folder: Path, benchmark: str, problems: Problems
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        held: dict[str, Any] = {}
        for path in paths:
            records = read_records(
                path,
                source=benchmark,
                on_bad=lambda error: problems.add(error.where, error.what),
                store=lambda content, _: stored_picture(content, folder),
            )
            number = 0
            for record in records:
                try:
                    items = [{"name": k, **row} for k, row in record.data.items()] if self.keyed else [record.data]
                    rows = [{**item, **row} for item in items for row in (item[self.nested] if self.nested else [{}])]
                except (KeyError, TypeError) as error:
                    problems.add(record.where, f"it is no record of this benchmark ({error})")
                    continue
                for row in rows:
                    cell = row.get(self.picture)
                    # VLMEvalKit writes a picture once, and then the index of the row that holds it.
                    cell = held.get(cell, cell) if isinstance(cell, str) else cell
                    held.setdefault(str(row.get("index")), cell)
                    where = f"{record.where}, {row['name']!r}" if self.keyed else record.where
                    yield where, {**row, self.picture: cell, "file": path.stem, "row": number}
                    number += 1

    def _question(self, row: dict[str, Any], answers: Any, folder: Path) -> Question:
        require(row, self.question)
        name, category = _filled(self.id, row), _filled(self.category, row)
        question, options = self._options(row)
        if not options and not (self.is_number or self.is_free):
            raise DataError(f"no options found in {self.options!r}, and no lines that begin 'A.', 'B.' in the question")
        answer = row.get(self.answer) if answers is None else answers.get(name)
        withheld = self.is_withheld and answer in _EMPTY
        if answer is None and not withheld:
            raise DataError(f"missing {self.answer!r}")
        wording = self.wording if options else replace(self.wording, lead="", instruction=self.without_options)
        if self.hint and row.get(self.hint) not in _EMPTY:
            wording = replace(wording, preamble=f"Hint: {row[self.hint]}\n{wording.preamble}")
        groups = {axis: _filled(template, row) for axis, template in self.groups.items()}
        groups |= {str(tag): "yes" for tag in row[self.tags]} if self.tags else {}
        is_bounded = category in self.bounded and bool(require(row, "start", "end"))
        return wording.ask(
            id=name,
            video=_filled(self.video, row).rpartition(self.after)[2] if self.video else None,
            pictures=(stored_picture(row.get(self.picture), folder),) if self.picture else (),
            question=question,
            options=options,
            gold=self._gold(answer, options) if options and not withheld else None,
            number=self._number(answer) if self.is_number and not options else None,
            withheld=withheld,
            category=WITHHELD if withheld else self.categories.get(category, category),
            groups={axis: value for axis, value in groups.items() if value not in ("", "None")},
            start_s=seconds(row, "start") if is_bounded else None,
            end_s=seconds(row, "end") if is_bounded else None,
        )

    def _options(self, row: dict[str, Any]) -> tuple[str, list[str]]:
        """The question alone, and its options without their letters."""
        text = str(row[self.question]).strip()
        cell: Any = row.get(self.options) if isinstance(self.options, str) else [row.get(name) for name in self.options]
        listed = list(cell.values()) if isinstance(cell, dict) else cell
        if isinstance(listed, list) and (
            listed := [str(option).strip() for option in listed if option not in ("", None)]
        ):
            parts = split_prompt("\n".join(["?", *listed]))
            lettered = parts is not None and parts.question == "?" and len(parts.options) == len(listed)
            return text, list(parts.options) if parts and lettered else listed
        text = _INLINE.sub(r"\n\1: ", text) if self.inline else text
        parts = split_prompt(f"{text}\n{cell}" if isinstance(cell, str) else text)
        return (parts.question, list(parts.options)) if parts else (text, [])

    def _gold(self, answer: Any, options: list[str]) -> int:
        shown = str(answer).strip()
        if self.answer_as == "text":
            place = max((i for i, option in enumerate(options) if option == shown), default=-1)
        elif self.answer_as == "place":
            place = int(shown) if shown.isdecimal() else -1
        else:
            place = ascii_uppercase.find(shown.strip("().") or "?")
        if not 0 <= place < len(options):
            raise DataError(f"{self.answer!r} is {answer!r}, expected the {self.answer_as} of one of {options}")
        return place

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
        fields["wording"] = Wording(**fields["wording"])
    return Format(read=Table(**fields).read, **given)


@cache
def __getattr__(name: str) -> Format:
    path = TABLES / f"{name.lower()}.yaml"
    if not name.isupper() or not path.is_file():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return table(path)


def _filled(template: str, row: Mapping[str, Any]) -> str:
    try:
        return template.format_map(row)
    except (KeyError, IndexError, TypeError) as error:
        raise DataError(f"missing a field of {template!r} ({error})") from error
