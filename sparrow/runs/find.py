"""Runs found on disk, and their tidy rows: one per run, benchmark, phase and category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from sparrow.analysis.scores import Accuracy, Score
from sparrow.core.errors import RunError
from sparrow.runs.record import FILE_NAME, Phase, RunRecord

if TYPE_CHECKING:
    import pandas as pd

ARCHIVE_PREFIX = "archived-"  # of the folders of runs that restart=true moved away
PHASES: tuple[Phase, ...] = get_args(Phase)
EVERY_CATEGORY = "all"
_THROUGHPUT_COLUMNS = ("samples_per_s", "tokens_per_s", "mfu", "data_wait_share", "packing_efficiency")
SEEDS = ("seed", "data_seed")
_SCORE_COLUMNS = ("score", "score_low", "score_high", "metric")
_ACCURACY_COLUMNS = [*(f.name for f in fields(Accuracy)), "chance_bound"]


@dataclass(frozen=True)
class FoundRun:
    """A folder with a `run.json`: its record, or the problem that kept it from being read.

    `label` is the folder seen from where the search began, so that it is the same on every machine; a second search
    from a folder of the same name is told apart by `#2`.
    """

    folder: Path
    label: str
    record: RunRecord | None
    problem: str = ""

    @property
    def status(self) -> str:
        """How the run stands; `unreadable` where its record cannot tell."""
        return self.record.status if self.record else "unreadable"

    @property
    def seeds(self) -> tuple[Any, ...]:
        """The values of `seed` and `data_seed`."""
        return tuple(self.record.config.get(name) for name in SEEDS) if self.record else ()


def find_runs(folders: Iterable[Path]) -> list[FoundRun]:
    """All runs in the folders and below, each once, by folder.

    Raises:
        RunError: If a folder does not exist, or none of them holds a run.
    """
    folders = list(folders)
    found: dict[Path, FoundRun] = {}
    names: Counter[str] = Counter()
    for root in dict.fromkeys(folders):
        if not root.is_dir():
            raise RunError(f"{str(root)!r} is not a folder; name a folder of runs")
        name = root.resolve().name
        names[name] += 1
        name += f"#{names[name]}" if names[name] > 1 else ""
        for path in sorted(root.rglob(FILE_NAME)):
            folder = path.parent
            if any(part.startswith(ARCHIVE_PREFIX) for part in folder.relative_to(root).parts):
                continue
            label = "/".join((name, *folder.relative_to(root).parts))
            found.setdefault(folder.resolve(), _read(folder, label))
    if not found:
        raise RunError(f"no {FILE_NAME} in or below {', '.join(map(str, folders))}; nothing has been run there yet")
    return list(found.values())


def _read(folder: Path, label: str) -> FoundRun:
    try:
        return FoundRun(folder, label, RunRecord.load(folder))
    except RunError as error:
        return FoundRun(folder, label, None, str(error).replace(str(folder / FILE_NAME), FILE_NAME))


def load_runs(folders: Path | str | Iterable[Path | str]) -> pd.DataFrame:
    """Runs below one or several folders as a tidy table: one row per run, benchmark, phase and category.

    The category `all` is the whole benchmark, `score` the number that the benchmark reports. A run without scores has
    one row with an empty benchmark, and so has a run whose record cannot be read, with the status `unreadable`.
    Accuracies are fractions.

    Raises:
        RunError: If a folder does not exist, or none of them holds a run.
    """
    import pandas as pd

    if isinstance(folders, (str, Path)):
        folders = [folders]
    return pd.DataFrame(tidy_rows(find_runs(Path(folder) for folder in folders)))


def tidy_rows(runs: Iterable[FoundRun]) -> list[dict[str, Any]]:
    """The rows of `load_runs`, all with the same keys in the same order; None where there is no value."""
    runs = list(runs)
    factors = sorted({name for run in runs if run.record for name in run.record.factors})
    rows = [{**_run_columns(run, factors), **score} for run in runs for score in _score_columns(run)]
    # The longest row names all columns in their order: that of any run which could be read.
    columns = max(rows, key=len)
    return [{column: row.get(column) for column in columns} for row in rows]


def _run_columns(run: FoundRun, factors: list[str]) -> dict[str, Any]:
    record = run.record
    if record is None:
        return {"study": None, "folder": run.label, "status": run.status, "error": run.problem}
    return {
        "study": record.study.name,
        "folder": run.label,
        "status": run.status,
        "error": record.error.last_line if record.error else None,
        **{name: getattr(record, name) for name in ("run_id", "parent", "name", "command")},
        **{f"factor.{name}": record.factors.get(name) for name in factors},
        **{name: record.config.get(name) for name in SEEDS},
        "num_samples": record.num_samples,
        **{f"num_{what}": _total(record, what) for what in ("requested", "used")},
        "num_steps": record.num_steps,
        **{f"{kind}_tokens": count for kind, count in asdict(record.tokens).items()},
        "train_time_s": record.time_s.get("train"),
        "total_time_s": record.total_time_s,
        **{name: record.throughput.get(name) for name in _THROUGHPUT_COLUMNS},
        "device": "gpu" if record.on_gpu else "cpu" if record.peak_memory_bytes else None,
        **{name: getattr(record, name) for name in ("device_hours", "gpu_hours")},
        **{f"peak_{device}_bytes": record.peak_memory_bytes.get(device) for device in ("host", "cuda")},
        **{name: getattr(record, name) for name in ("final_loss", "manifest_hash")},
        **{name: getattr(record.git, name, None) for name in ("revision", "dirty")},
    }


def _total(record: RunRecord, what: str) -> int | None:
    return sum(getattr(counts, what) for counts in record.data.values()) if record.data else None


def _score_columns(run: FoundRun) -> list[dict[str, Any]]:
    scores = run.record.scores if run.record else {}
    return [
        {
            "benchmark": benchmark,
            "phase": phase,
            "category": category,
            **(_official(phases[phase]) if category == EVERY_CATEGORY else dict.fromkeys(_SCORE_COLUMNS)),
            **{name: getattr(part, name) for name in _ACCURACY_COLUMNS},
            "scoring": phases[phase].scoring,
        }
        for benchmark, phases in sorted(scores.items())
        for phase in PHASES
        if phase in phases
        for category, part in [(EVERY_CATEGORY, phases[phase]), *sorted(phases[phase].by_category.items())]
    ] or [dict.fromkeys(["benchmark", "phase", "category", *_SCORE_COLUMNS, *_ACCURACY_COLUMNS, "scoring"])]


def _official(score: Score) -> dict[str, Any]:
    low, high = score.official_interval or (None, None)
    return dict(zip(_SCORE_COLUMNS, (score.official, low, high, score.metric), strict=True))
