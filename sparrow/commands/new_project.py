"""`sparrow init`: a project whose settings read the data that lie in some folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sparrow.core.errors import ConfigError, DataError
from sparrow.core.files import write_atomically
from sparrow.core.samples import Image, LongText, Video
from sparrow.core.templating import render
from sparrow.data.converters import CONVERTERS, LeftOutError, Record, RecordError
from sparrow.data.readers import read_records
from sparrow.data.settings import Source
from sparrow.data.sources import load_source
from sparrow.evaluation.questions import read_questions
from sparrow.runs.settings import PROJECT_MARKER

RECORDS = re.compile(r".*\.(json|jsonl|ndjson|csv|parquet)(\.gz|\.zst)?", re.IGNORECASE)
NUM_LOOKED_AT = 50  # records and names of media, by which converter and media root are guessed
QUESTIONS = {"question_id", "prompt", "GT"}  # fields of the released code's form


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file of records below `root`: of a source, of a benchmark, or not used, which `why` says.

    `found` of the `media` files that it names lie below `media_root`.
    """

    root: Path
    file: str
    name: str
    converter: str = ""
    why: str = ""
    is_benchmark: bool = False
    samples: int = 0
    present_as: str = "video"
    media: int = 0
    found: int = 0
    media_root: str = ""

    def with_media(self, names: Iterable[str]) -> FoundFile:
        """With the folder in which most of the named media files lie."""
        distinct = sorted({*names})
        folders = [self.root, *(path for path in sorted(self.root.rglob("*")) if path.is_dir())] if distinct else []
        counts = {path: sum((path / name).exists() for name in distinct[:NUM_LOOKED_AT]) for path in folders}
        best = max(counts, key=lambda path: counts[path], default=self.root)
        found, why = sum((best / name).exists() for name in distinct), ""
        if distinct and not found:
            why = f"none of its {len(distinct):,} media files is here, such as {distinct[0]}"
        return replace(self, media=len(distinct), found=found, media_root=str(best.relative_to(self.root)), why=why)


def new_project(folder: Path, data_folders: Sequence[Path], choices: Collection[str]) -> str:
    """Write the project; what was found, as text. `choices` are names that Sparrow's own settings have.

    Raises:
        ConfigError: If the folder holds something or has no fit name, or nothing in the data folders can be used.
    """
    if not re.fullmatch(r"[a-zA-Z]\w*", folder.name) or folder.name in choices:
        raise ConfigError(f"'{folder.name}': take a name of letters, digits and _ that no choice of Sparrow's own has")
    if any(folder.glob("[!.]*")):
        raise ConfigError(f"{folder} is not empty; name a new folder")
    files: list[FoundFile] = []
    for root in data_folders:
        if not root.is_dir():
            raise ConfigError(f"{root}: there is no such folder")
        for path in sorted(path for path in root.resolve().rglob("*") if RECORDS.fullmatch(path.name)):
            name, taken = re.sub(r"\W", "_", path.name.partition(".")[0]), {*choices, *(file.name for file in files)}
            names = (name, f"{folder.name}_{name}", *(f"{name}_{number}" for number in range(2, len(files) + 3)))
            unlike = next(name for name in names if name not in taken)
            files.append(_look_at(root.resolve(), path, unlike, folder / ".cache/sparrow"))
    sources = [file for file in files if file.converter and not file.why]
    benchmarks = [file for file in files if file.is_benchmark and not file.why]
    shown = render("project/found.txt.jinja", files=files)
    if data_folders and not sources:
        advice = "nothing here can be trained on; docs/your-own-data.md says how records are written"
        raise ConfigError(f"{', '.join(map(str, data_folders))}: {advice}\n{shown}")
    texts = {f"conf/source/{file.name}.yaml": render("project/source.yaml.jinja", file=file) for file in sources}
    for file in benchmarks:
        texts[f"conf/benchmark/{file.name}.yaml"] = render("project/benchmark.yaml.jinja", file=file)
    values = {"name": folder.name, "sources": sources, "benchmarks": benchmarks, "shown": shown}
    for group in ("mixture", "experiment"):
        texts[f"conf/{group}/{folder.name}.yaml"] = render(f"project/{group}.yaml.jinja", **values)
    for file_name in ("README.md", PROJECT_MARKER):
        texts[file_name] = render(f"project/{file_name}.jinja", **values)
    for place, text in texts.items():
        write_atomically(folder / place, text)
    return f"{shown}\n{len(texts)} files in {folder}; its README.md has the commands"


def _look_at(root: Path, path: Path, name: str, cache_root: Path) -> FoundFile:
    file = FoundFile(root=root, file=str(path.relative_to(root)), name=name)
    try:
        records = [*islice(read_records(path, on_bad=lambda error: None), NUM_LOOKED_AT)]
        if records and records[0].data.keys() >= QUESTIONS:
            questions = read_questions(path, benchmark=name)
            file = replace(file, is_benchmark=True, samples=len(questions))
            return file.with_media(question.video for question in questions if question.video is not None)
        fits = {converter: _fit(converter, records) for converter in CONVERTERS}
        converter = max(fits, key=lambda name: fits[name])
        if not fits[converter][0]:
            fields = ", ".join(records[0].data) if records else "none"
            return replace(file, why=f"no converter reads its records (fields: {fields})")
        source = Source(converter, [file.file], str(root))
        samples = load_source(name, source, cache_root=cache_root, on_bad_sample="skip")
    except DataError as error:
        return replace(file, why=str(error).splitlines()[0])
    parts = [part for sample in samples for part in sample.parts()]
    pages = "pages" if any(isinstance(part, LongText) for part in parts) else "video"
    file = replace(file, converter=converter, samples=len(samples), present_as=pages)
    return file.with_media(path for part in parts if isinstance(part, Image | Video) for path in part.path.split("\n"))


def _fit(name: str, records: Sequence[Record]) -> tuple[int, int, bool]:
    """How well a converter fits: records that it takes, less unknown fields, and whether it is for long texts."""
    converter, taken, unknown = CONVERTERS[name], 0, 0
    for record in records:
        with suppress(LeftOutError, RecordError):
            unknown -= len(converter.unknown_fields(record))
            taken += any(True for _ in converter.read(record))
    return taken, unknown, converter.has_long_text
