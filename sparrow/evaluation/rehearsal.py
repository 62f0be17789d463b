"""Generated items in a benchmark's own format, so that a rehearsal reads, asks and scores as the benchmark does."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import av
import yaml
from filelock import FileLock

from sparrow.core.files import drafted, write_atomically, write_json
from sparrow.core.hashing import content_hash
from sparrow.core.templating import render
from sparrow.evaluation.formats.table_format import TABLES
from sparrow.evaluation.questions import read_questions
from sparrow.evaluation.settings import FORMATS
from sparrow.world import WorldTable

REHEARSED = ("video_mme", "mvbench", "tempcompass", "mlvu", "longvideobench")
NUM_ITEMS = 24


def ensure_items(world: Path, table: WorldTable, name: str, media_root: str) -> Path:
    """The folder of one of `REHEARSED` about clips of the world, made first by `benchmarks/NAME.json.jinja`."""
    asked = read_questions(world / table.file, benchmark=name)[:NUM_ITEMS]
    questions = [{**asdict(question), "stem": Path(str(question.video)).stem} for question in asked]
    described = TABLES / f"{name}.yaml"
    fields = yaml.safe_load(described.read_text(encoding="utf-8"))["table"] if described.is_file() else {}
    tasks = FORMATS[name].num_questions
    made = json.loads(render(f"benchmarks/{name}.json.jinja", questions=questions, table=fields, tasks=tasks))
    folder = world.with_name(f"{world.name}-{name}-{content_hash([made, media_root], length=8)}")
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return folder
        with drafted(folder) as draft:
            for file, content in made["files"].items():
                (write_atomically if isinstance(content, str) else write_json)(draft / file, content)
            for media, clip in made["media"].items():
                _put(world / table.media_root / clip, draft / media_root / media)
    return folder


def _put(clip: Path, place: Path) -> None:
    """Copy a clip, or write its frames where the benchmark has a folder of them."""
    (place.parent if place.suffix else place).mkdir(parents=True, exist_ok=True)
    if place.suffix:
        shutil.copyfile(clip, place)
        return
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0), 1):
            frame.to_image().save(place / f"{number:05d}.jpg")
