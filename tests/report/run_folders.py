"""Synthetic run folders: `run.json` and prediction files of given hit rates, and how a written table is read."""

import json
import re
from pathlib import Path

import numpy as np

from sparrow.analysis.answers import read_predictions
from sparrow.analysis.scores import score
from sparrow.report.output import markdown
from sparrow.report.study import read_studies
from sparrow.runs.record import DataCounts, GitRevision, RunRecord, Tokens
from sparrow.runs.settings import Study

CATEGORIES = ("colour", "shape", "direction", "count")


def write_predictions(path: Path, rate: float, seed: int, num_videos: int = 40, per_video: int = 2) -> None:
    """Answers that are right with a probability of `rate`, two questions a video, four options each."""
    random = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for i in range(num_videos * per_video):
        gold = int(random.integers(4))
        correct = bool(np.random.default_rng([seed, i]).random() < rate)
        lines.append(
            json.dumps(
                {
                    "question_id": f"q{i:03d}",
                    "video": f"clip{i // per_video}.mp4",
                    "category": CATEGORIES[i % len(CATEGORIES)],
                    "options": ["red", "green", "blue", "white"],
                    "gold": i % 4,
                    "choice": i % 4 if correct else None if gold == 0 else (i + gold) % 4,
                    "correct": correct,
                }
            )
        )
    path.write_text("\n".join(lines) + "\n")


def add_run(
    folder: Path, mixture: str, rates: dict[str, dict[str, float]], *, minute: int = 0, seed: int = 0, **changes
) -> RunRecord:
    """A run folder with `run.json` and prediction files of the given hit rates, by benchmark and phase."""
    record = RunRecord(
        run_id=f"id-{mixture}-{seed}",
        name=f"mixture={mixture}",
        command="train",
        status="finished",
        started_at=f"2026-01-01T00:{minute:02d}:00+00:00",
        config={"seed": seed, "data_seed": 0, "backbone": {"family": "idefics3", "tiny": True}},
        study=Study(name="quickstart", question="Do pages help?", factors=["mixture"], published={}),
        factors={"mixture": mixture},
        git=GitRevision("0123456789abcdef", dirty=False),
        data={"clips": DataCounts(120, 118, 2, {"unreadable": 2}, 0, 900, 57_600, 9_000, 2_000)},
        tokens=Tokens(visual=57_600, text=9_000, supervised=2_000),
        num_samples=118,
        num_steps=30,
        time_s={"prepare": 3.5, "train": 61.0, "evaluate": 12.25},
    )
    for name, value in changes.items():
        setattr(record, name, value)
    for benchmark, phases in rates.items():
        for phase, rate in phases.items():
            file = f"predictions/{phase}/{benchmark}.jsonl"
            write_predictions(folder / file, rate, seed)
            record.scores.setdefault(benchmark, {})[phase] = score(
                read_predictions(folder / file), scoring="option_likelihood", file=file
            )
    record.save(folder)
    return record


def two_arms(root: Path, **changes) -> Path:
    short = {"before": 0.3, "after": 0.75, "blind": 0.28}
    add_run(root / "a", "video_only", {"clips_short": short, "clips_long": {"before": 0.3, "after": 0.4}}, **changes)
    better = {"clips_short": {**short, "after": 0.78}, "clips_long": {"before": 0.3, "after": 0.9}}
    add_run(root / "b", "video_and_pages", better, minute=1, **changes)
    return root


def text_of(*folders: Path) -> str:
    """The written report without its pictures, which take most of the time."""
    return markdown(read_studies(list(folders)), [])


def cells(text: str, title: str) -> list[list[str]]:
    """The body of the Markdown table under a heading, marked or not."""
    section = re.split(rf"### {re.escape(title)}(?: †)?\n", text, maxsplit=1)[1].split("###", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def add_exact_run(
    folder: Path,
    factors: dict,
    correct: dict[str, dict[str, int]],
    *,
    num_questions: int = 40,
    seed: int = 0,
    **changes,
) -> RunRecord:
    """A run that answers exactly so many questions of each benchmark and phase right, one question a video.

    The first ones are right, beginning with the question of the seed's number, so that seeds differ in which.
    """
    samples = factors.get("mixture.num_samples", 120)
    record = RunRecord(
        run_id=f"{sorted(factors.items())} {seed}",
        name="run",
        command="train",
        status="finished",
        started_at="2026-01-01T00:00:00+00:00",
        config={"seed": seed, "data_seed": 0, "trainer": {"devices": 4, "num_nodes": 2}},
        study=Study(name="scaling", factors=["mixture", "mixture.num_samples"]),
        factors=dict(factors),
        data={"clips": DataCounts(samples, samples)},
        tokens=Tokens(visual=1000 * samples, text=1000 * samples),
        num_samples=samples,
        time_s={"train": 900.0},
        peak_memory_bytes={"host": 1, "cuda": 1},
    )
    for name, value in changes.items():
        setattr(record, name, value)
    for benchmark, phases in correct.items():
        for phase, count in phases.items():
            file = f"predictions/{phase}/{benchmark}.jsonl"
            write_answers(folder / file, [(i - seed) % num_questions < count for i in range(num_questions)])
            asked = {"protocol": "released", "frames": "8"}
            answers = read_predictions(folder / file)
            record.scores.setdefault(benchmark, {})[phase] = score(answers, file=file, protocol=asked)
    record.save(folder)
    return record


def rewrite_answers(folder: Path, **changes) -> None:
    """Change fields of all answers of a run; a function is given the answer."""
    for path in folder.rglob("*.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row.update({name: value(row) if callable(value) else value for name, value in changes.items()})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def ask_another(record: RunRecord, folder: Path) -> None:
    """Answer another question instead of the first one, in the file and in the record."""
    for phases in record.scores.values():
        for phase, own in phases.items():
            path = folder / own.predictions
            first, *others = path.read_text().splitlines()
            path.write_text("\n".join([json.dumps({**json.loads(first), "question_id": "another"}), *others]) + "\n")
            phases[phase] = score(read_predictions(path), file=own.predictions)
    record.save(folder)


def write_answers(path: Path, correct: list[bool]) -> None:
    """One question a video, two options each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "question_id": f"q{i:04d}",
            "video": f"clip{i}.mp4",
            "category": CATEGORIES[i % 2],
            "options": ["yes", "no"],
            "gold": 0,
            "choice": 0 if is_correct else 1,
            "correct": is_correct,
        }
        for i, is_correct in enumerate(correct)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
