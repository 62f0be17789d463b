"""The questions of a benchmark that are asked, and what a reader of the score should know of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from sparrow.core.errors import DataError
from sparrow.core.files import user_path
from sparrow.evaluation.formats import brings_prompts, oddities, read_benchmark, size_note, spread_evenly
from sparrow.evaluation.questions import Question, missing_videos
from sparrow.evaluation.rehearsal import REHEARSED, ensure_items
from sparrow.evaluation.settings import Benchmark
from sparrow.world import TABLES, WorldSettings, ensure_world

log = logging.getLogger(__name__)
SHOWN_NAMES = 20


@dataclass(frozen=True)
class Asked:
    """What is asked of a benchmark.

    Media paths are relative to the first of `media_roots` and may lead into any. `protocol` says whose prompts are
    used, `as in the file` where annotations bring them; `note` stands with the score.
    """

    questions: list[Question]
    media_roots: tuple[Path, ...]
    missing_videos: list[str]
    protocol: str
    note: str


def standing_in(settings: Benchmark) -> Benchmark:
    """The settings by which the generated world stands in for a benchmark that is not `REHEARSED` in its own format.

    Its one-word options are scored by likelihood, since a tiny model does not learn to answer with letters.
    """
    if not settings.use_world or settings.format in ("multiple_choice", *REHEARSED):
        return settings
    return replace(
        settings,
        format="multiple_choice",
        tasks=[],
        subtitles="off",
        metric="accuracy",
        scoring="option_likelihood",
        show_options=False,
    )


def read_asked(name: str, settings: Benchmark, world: WorldSettings, data_seed: int, cache_root: Path) -> Asked:
    """The questions of a benchmark that its settings ask for.

    The generated world is read where the settings name a table of it.

    Raises:
        DataError: If annotations are missing or wrong, or none of the videos is there.
    """
    root, file, media_root = Path(settings.root), settings.file, settings.media_root
    if settings.use_world:
        assert settings.world is not None, "checked with the configuration"
        if world.num_benchmark_clips == 0:
            raise DataError(
                "the generated world holds nothing to ask about",
                where=f"benchmark '{name}'",
                remedy="set world.num_benchmark_clips, as in world.num_benchmark_clips=300",
            )
        table = TABLES[settings.world]
        root = ensure_world(cache_root, world, data_seed)
        if settings.format in REHEARSED:
            root, file = ensure_items(root, table, settings.format, media_root), ""
        else:
            file, media_root = table.file, table.media_root
    questions = read_benchmark(
        settings.format,
        root / file,
        benchmark=name,
        protocol=settings.protocol,
        subtitles=settings.subtitles,
        tasks=settings.tasks,
    )
    note = size_note(settings.format, questions)
    if settings.use_world and not name.startswith("world"):
        note += f" of the generated world, not of {name}"
    if settings.unscored_tasks == "skip" and (num_unscored := sum(question.needs_judge for question in questions)):
        note += f"; {num_unscored} that need a judge are not asked"
        questions = [question for question in questions if not question.needs_judge]
        if not questions:
            raise DataError(
                f"all {num_unscored} questions need a judge",
                where=f"benchmark '{name}'",
                remedy="choose other tasks, or set unscored_tasks=generate for their replies",
            )
    if settings.num_questions is not None and settings.num_questions < len(questions):
        questions = spread_evenly(settings.format, questions, settings.num_questions)
        note = f"{len(questions)} spread evenly over {note}"
    odd = oddities(questions)
    if one_option := odd.get("one_option"):
        note += f"; {len(one_option)} with one option"
    for what, ids in odd.items():
        log.info("%s: %d questions: %s (%s)", name, len(ids), what.replace("_", " "), _some(ids))
    media_roots = (root / media_root, root, *(root / user_path(folder) for folder in settings.media_roots))
    missing = missing_videos(questions, media_roots)
    absent = set(missing)
    asked = [q for q in questions if settings.missing_videos == "wrong" or absent.isdisjoint(q.media)]
    if missing:
        videos = {path for question in questions for path in question.media}
        if len(missing) == len(videos):
            where = f"benchmark '{name}', {root / media_root}"
            what = f"none of its {len(videos)} videos is there; looked for {_some(missing)}"
            raise DataError(what, where=where, remedy="download and unpack them, or set its root and media_root")
        affected = sum(not absent.isdisjoint(question.media) for question in questions)
        fate = "are not asked" if settings.missing_videos == "exclude" else "count as wrong"
        log.warning(
            "%s: %d of %d videos are missing in %s; their %d questions %s: %s",
            *(name, len(missing), len(videos), root / media_root, affected, fate, _some(missing)),
        )
        note += f"; {affected} questions about {len(missing)} missing videos {fate}"
    protocol = "as in the file" if brings_prompts(settings.format, root / file) else settings.protocol
    return Asked(asked, media_roots, missing, protocol, note)


def _some(names: list[str]) -> str:
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")
