"""The confound guard: what differs between the runs of a study and is none of its declared factors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sparrow.analysis.answers import HASHED, questions_difference
from sparrow.analysis.scores import Score
from sparrow.core.hashing import content_hash
from sparrow.runs.differences import leaves
from sparrow.runs.find import SEEDS
from sparrow.runs.record import RunRecord
from sparrow.settings import SCHEMAS, is_recorded

ABSENT = "-"
NAMED_GROUPS = ("source", "benchmark")
# Settings that a plan does not depend on: runs that differ in nothing else have read the same data.
NOT_OF_DATA = ("seed", "tuning", "optimizer", "schedule", "trainer", "evaluation", "benchmark", "start_from")

Labelled = tuple[str, RunRecord]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all runs: the labels of the arms by the value that they have."""

    what: str
    arms: dict[str, tuple[str, ...]]


def undeclared_differences(runs: Sequence[Labelled], factors: Iterable[str]) -> list[Difference]:
    """All differences between runs that could change a result and are not declared.

    Declared are the study's factors and what was swept beside them, since both stand in the name of an arm, with all
    settings below them. Seeds are averaged over and differ only if arms were run with other ones. Settings marked
    `recorded` cannot change a result. A source or benchmark that a run lacks is no difference in itself: what is drawn
    from it stands in the mixture, and each benchmark has its own column.
    """
    declared = {*factors, *(name for _, record in runs for name in record.factors)} | set(SEEDS)
    found = [
        *_settings(runs, declared),
        *_parents(runs, declared),
        _difference("seeds", _seeds(runs)),
        *_versions(runs),
        _difference("code revision", ((label, str(r.git)) for label, r in runs if r.git)),
        *_scoring_code(runs),
        _difference("device", ((label, "GPU" if r.on_gpu else "CPU") for label, r in runs if r.peak_memory_bytes)),
        *_data(runs),
        *_questions(runs, declared),
    ]
    return [difference for difference in found if difference is not None]


def _difference(what: str, values: Iterable[tuple[str, Hashable]]) -> Difference | None:
    arms: dict[str, dict[str, None]] = {}
    for label, value in values:
        arms.setdefault(str(value), {})[label] = None
    return Difference(what, {value: tuple(labels) for value, labels in arms.items()}) if len(arms) > 1 else None


def _is_declared(key: str, declared: Iterable[str]) -> bool:
    return any(key == factor or key.startswith(f"{factor}.") for factor in declared)


def _settings(runs: Sequence[Labelled], declared: set[str]) -> Iterator[Difference | None]:
    for command, schema in SCHEMAS.items():
        configs = [(label, dict(leaves(r.config))) for label, r in runs if r.command == command]
        for key in dict.fromkeys(key for _, config in configs for key in config):
            group, _, rest = key.partition(".")
            prefix = f"{group}.{rest.partition('.')[0]}."
            values = [
                (label, config.get(key, ABSENT))
                for label, config in configs
                if group not in NAMED_GROUPS or any(name.startswith(prefix) for name in config)
            ]
            difference = _difference(key, values)
            if difference is None or _is_declared(key, declared) or is_recorded(schema, key):
                continue
            if not any(_follows(key, factor, configs) for factor in declared):
                yield difference


def _follows(key: str, factor: str, configs: Sequence[tuple[str, dict[str, Any]]]) -> bool:
    """Whether a setting takes its value from a factor of the same name, as a benchmark's `max_frames` does."""
    same_name = key.rpartition(".")[2] == factor.rpartition(".")[2]
    return same_name and all(c.get(key) in (c.get(factor, ABSENT), None) for _, c in configs)


def _parents(runs: Sequence[Labelled], declared: set[str]) -> Iterator[Difference | None]:
    if any(factor.startswith(("start_from", "backbone")) for factor in declared):
        return
    for seeds in dict.fromkeys(_seeds_of(record) for _, record in runs):
        trained = [(label, r) for label, r in runs if _seeds_of(r) == seeds and r.command == "train"]
        yield _difference(f"model started from ({_seed_text(seeds)})", ((label, r.parent) for label, r in trained))
        weights = ((label, r.weights) for label, r in trained if r.weights)
        yield _difference(f"files of the base checkpoint ({_seed_text(seeds)})", weights)


def _seeds(runs: Sequence[Labelled]) -> Iterator[tuple[str, str]]:
    by_arm: dict[str, list[str]] = {}
    for label, record in runs:
        if record.command == "train":
            by_arm.setdefault(label, []).append(_seed_text(_seeds_of(record)))
    return ((label, "; ".join(sorted(seeds))) for label, seeds in by_arm.items())


def _seeds_of(record: RunRecord) -> tuple[Any, ...]:
    return tuple(record.config.get(name) for name in SEEDS)


def _seed_text(seeds: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(SEEDS, seeds, strict=True))


def _versions(runs: Sequence[Labelled]) -> Iterator[Difference | None]:
    for package in sorted({name for _, record in runs for name in record.versions}):
        found = ((label, r.versions.get(package, ABSENT)) for label, r in runs if r.versions)
        yield _difference(f"version of {package}", found)


def _scoring_code(runs: Sequence[Labelled]) -> Iterator[Difference | None]:
    if any(record.rescored_by for _, record in runs):
        yield _difference("code that scored", ((label, str(r.rescored_by or r.git)) for label, r in runs if r.scores))


def _data(runs: Sequence[Labelled]) -> Iterator[Difference | None]:
    """Samples that were asked for and not used, where arms lost other ones; data that changed under equal settings."""

    def lost(record: RunRecord) -> str:
        short = [f"{name}: {c.used:,} of {c.requested:,}" for name, c in record.data.items() if c.used != c.requested]
        return ", ".join(short) or "all"

    yield _difference("samples used of those requested", ((label, lost(r)) for label, r in runs if r.data))
    by_settings: dict[str, list[Labelled]] = {}
    for label, record in runs:
        if record.manifest_hash is not None and record.command == "train":
            own = [(k, repr(v)) for k, v in leaves(record.config) if k.partition(".")[0] not in NOT_OF_DATA]
            settings = [(key, value) for key, value in own if not is_recorded(SCHEMAS[record.command], key)]
            by_settings.setdefault(content_hash(settings), []).append((label, record))
    for alike in by_settings.values():
        yield _difference("planned data at equal settings", ((label, r.manifest_hash) for label, r in alike))


def _questions(runs: Sequence[Labelled], declared: set[str]) -> Iterator[Difference | None]:
    """How many questions a benchmark asked, and which; and how, where runs of several commands stand side by side."""
    if any(factor.startswith("benchmark") for factor in declared):
        return
    for benchmark in sorted({name for _, record in runs for name in record.scores}):
        asked = [(label, r, s) for label, r in runs if (s := r.scores.get(benchmark, {}).get("after"))]
        scores = [(label, score) for label, _, score in asked]
        how_many = _difference(f"{benchmark}: questions", ((label, s.num_questions) for label, s in scores))
        yield from (how_many,) if how_many else _which_questions(benchmark, asked)
        yield _difference(f"{benchmark}: missing videos", ((label, len(s.missing_videos)) for label, s in scores))
        if len({record.command for _, record in runs}) > 1 and not any(f.startswith("frames") for f in declared):
            for key in sorted({key for _, score in scores for key, _ in leaves(score.protocol)}):
                values = ((label, dict(leaves(score.protocol)).get(key, ABSENT)) for label, score in scores)
                yield _difference(f"{benchmark}: {key}", values)


def _which_questions(benchmark: str, scored: Sequence[tuple[str, RunRecord, Score]]) -> Iterator[Difference | None]:
    """Other questions of one world or file, which depends on `data_seed`, and other rules that read the replies;
    records that do not tell are left out, and digests of two versions are not laid beside each other."""
    by_world: dict[Any, list[tuple[str, str]]] = {}
    for label, record, score in scored:
        if score.questions_hash:
            world = record.config.get("data_seed"), ":" in score.questions_hash
            by_world.setdefault(world, []).append((label, score.questions_hash))
    for asked in by_world.values():
        differing = {part for _, digest in asked for part in questions_difference(asked[0][1], digest) or ()}
        if differing:
            what = ", ".join(part for part in HASHED if part in differing)
            yield _difference(f"{benchmark}: {what} (questions_hash)", asked)
    read = ((label, score.reply_rules or "an older one") for label, _, score in scored if score.scoring == "generate")
    yield _difference(f"{benchmark}: version of the rules that read replies", read)
