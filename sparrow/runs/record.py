"""`run.json`: what one run was, what it read, what it cost and what it scored, written whole or not at all."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from sparrow.analysis.scores import Score
from sparrow.core.errors import ConfigError, RunError
from sparrow.core.files import write_json
from sparrow.core.hashing import content_hash, file_hash
from sparrow.core.settings import decoded
from sparrow.runs.settings import Study

FILE_NAME = "run.json"
MANIFEST = "manifest.json"
METRICS = "metrics.csv"
SCHEMA_VERSION = 1

Status = Literal["running", "finished", "failed", "interrupted"]
Phase = Literal["before", "after", "blind", "one_frame"]


@dataclass
class Failure:
    """Why a run did not finish."""

    type: str
    message: str

    @property
    def last_line(self) -> str:
        """The error in one line."""
        return f"{self.type}: {(self.message.strip().splitlines() or [''])[-1].strip()}"


@dataclass
class GitRevision:
    """The commit that the running code was checked out at; `dirty` if files differ, `changes` a digest of how."""

    revision: str
    dirty: bool
    changes: str | None = None

    def __str__(self) -> str:
        changes = f" ({self.changes})" if self.changes else ""
        return self.revision[:12] + (f" with local changes{changes}" if self.dirty else "")


@dataclass
class Tokens:
    """Tokens that a run was trained on, repeated epochs counted; `supervised` is a part of `text`."""

    visual: int = 0
    text: int = 0
    supervised: int = 0

    @property
    def total(self) -> int:
        """Length of all sequences together."""
        return self.visual + self.text


@dataclass
class DataCounts:
    """What became of the samples that a mixture's component asked for: `requested = used + rejected + failed`.

    `failed` counts planned ones that training could not read, with their reasons in `rejected_by_reason`; `held_out`
    samples beside these, which validation alone looks at.
    """

    requested: int = 0
    used: int = 0
    rejected: int = 0
    rejected_by_reason: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    frames: int = 0
    visual_tokens: int = 0
    text_tokens: int = 0
    supervised_tokens: int = 0
    held_out: int = 0

    @property
    def reconciles(self) -> bool:
        """Whether every requested sample is accounted for."""
        unused = self.rejected + self.failed
        return self.requested == self.used + unused and unused == sum(self.rejected_by_reason.values())


@dataclass
class Diversity:
    """How diverse the instructions of a run's used samples are (`sparrow.instructions.metrics`).

    Values are by metric, of at most `num_instructions` of each component and of the whole mixture. The vectors of an
    `embedder` are fitted on these instructions: compare within a study, not beyond.
    """

    embedder: str
    num_instructions: int
    components: dict[str, dict[str, float]] = field(default_factory=dict)
    mixture: dict[str, float] = field(default_factory=dict)


def utc_now() -> str:
    """The present time in UTC as ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(kw_only=True)
class RunRecord:
    """Everything the report needs to know about a run.

    Args:
        factors: Values of the study's factors in this run, by factor.
        data: Counts by component of the mixture.
        num_samples: Samples trained on, repeated epochs counted; without those that could not be read.
        num_steps_done: Optimizer steps done of `num_steps` planned ones; while a run goes on, at its last heartbeat.
        time_s: Seconds by stage, such as `prepare`, `train`, `evaluate`, over all attempts; of one that was killed
            those up to its last heartbeat.
        throughput: Training in figures, as `docs/logging.md` defines them: `samples_per_s`, `tokens_per_s`, `mfu`, ...
        skipped_steps: Steps whose loss or gradient was not finite and that taught nothing.
        peak_memory_bytes: By device, as `peak_memory_bytes()` gives it.
        diversity: Of the used samples' instructions; None where it could not be measured.
        parent: `run_id` of the run whose model this one started from.
        num_steps_taken_over: Of the steps done, those that a run of a smaller size has trained (`study.trunk`).
        weights: Fingerprint of the checkpoint that it began with (`sparrow.models.fingerprint`).
        rescored_by: The code that `sparrow rescore` last read the replies with; None where the run's own code did.
        model_input: What a checkpoint is shown: whose chat template, how it differs from the checkpoint's own, and the
            limits of a frame's size with where they come from.
        notes: What happened on the way and is worth knowing, such as a checkpoint that could not be read.
        scores: By benchmark, then phase: before training, after it, and each again without frames.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    name: str
    command: Literal["train", "evaluate"]
    status: Status = "running"
    started_at: str = field(default_factory=utc_now)
    ended_at: str | None = None
    heartbeat_at: str | None = None
    error: Failure | None = None
    config: dict[str, Any] = field(default_factory=dict)
    study: Study = field(default_factory=Study)
    factors: dict[str, Any] = field(default_factory=dict)
    git: GitRevision | None = None
    versions: dict[str, str] = field(default_factory=dict)
    data: dict[str, DataCounts] = field(default_factory=dict)
    manifest_hash: str | None = None
    diversity: Diversity | None = None
    tokens: Tokens = field(default_factory=Tokens)
    num_samples: int = 0
    num_steps: int = 0
    num_steps_done: int = 0
    num_steps_taken_over: int = 0
    time_s: dict[str, float | None] = field(default_factory=dict)
    throughput: dict[str, float | None] = field(default_factory=dict)
    peak_memory_bytes: dict[str, int] = field(default_factory=dict)
    skipped_steps: list[int] = field(default_factory=list)
    attn_implementation: str | None = None
    final_loss: float | None = None
    parent: str | None = None
    weights: str | None = None
    rescored_by: GitRevision | None = None
    model_input: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scores: dict[str, dict[Phase, Score]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._clock: Callable[[], None] | None = None
        self.continues_earlier = False  # whether the folder's record was of the same run

    @property
    def total_time_s(self) -> float:
        """Seconds over all stages."""
        return sum(seconds for seconds in self.time_s.values() if seconds is not None)

    @property
    def on_gpu(self) -> bool:
        """Whether the run has used a GPU."""
        return "cuda" in self.peak_memory_bytes

    @property
    def device_hours(self) -> float | None:
        """Hours of training times devices, GPUs or CPU processes; None where nothing was trained."""
        seconds, trainer = self.time_s.get("train"), self.config.get("trainer")
        if self.command != "train" or seconds is None or not isinstance(trainer, dict):
            return None
        return seconds * int(trainer.get("devices") or 1) * int(trainer.get("num_nodes") or 1) / 3600

    @property
    def gpu_hours(self) -> float | None:
        """Hours of training times GPUs, steps that a kill undid included; None without a GPU."""
        measured = self.throughput.get("gpu_hours")
        return (self.device_hours or measured) if self.on_gpu or measured else None

    def metric(self) -> float | None:
        """The value of `study.metric`, written `BENCHMARK` or `BENCHMARK.PHASE`: the benchmark's own score, a fraction.

        Raises:
            ConfigError: If the run has no such score, or it is not a number.
        """
        name = self.study.metric
        if name is None:
            return None
        benchmark, _, phase = name.partition(".")
        found = self.scores.get(benchmark, {}).get(phase or "after")  # type: ignore[call-overload]
        if found is None:
            raise ConfigError(f"study.metric: '{name}' was not measured; measured: {', '.join(self.scores)}")
        if found.official is None:
            raise ConfigError(
                f"study.metric: '{name}' has no {found.metric}, which is the benchmark's score; ask it the "
                f"questions that this is of, or set benchmark.{benchmark}.metric"
            )
        return found.official

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds spent inside to a stage; whatever is saved meanwhile holds those so far."""
        before, started = self.time_s.get(stage) or 0.0, time.perf_counter()

        def so_far() -> None:
            self.time_s[stage] = before + time.perf_counter() - started

        self._clock = so_far
        try:
            yield
        finally:
            so_far()
            self._clock = None

    def save(self, folder: Path) -> None:
        """Write `run.json` atomically; a number that is not finite is written as null."""
        if self._clock is not None:
            self._clock()
        write_json(folder / FILE_NAME, _finite(asdict(self)))

    def beat(self, folder: Path, num_steps_done: int) -> None:
        """Save with a new heartbeat, from which a reader tells a live run from a killed one."""
        self.heartbeat_at, self.num_steps_done = utc_now(), num_steps_done
        self.save(folder)

    def end(self, folder: Path, status: Status, error: BaseException | None = None) -> None:
        """Save the way that the run ended."""
        self.status = status
        self.ended_at = self.heartbeat_at = utc_now()
        self.error = Failure(type(error).__name__, str(error)) if error is not None else None
        self.save(folder)

    @classmethod
    def load(cls, folder: Path) -> RunRecord:
        """Read `folder/run.json`.

        Raises:
            RunError: If the file is missing, is not a whole run record, or was written in another schema version.
        """
        path = folder / FILE_NAME
        try:
            # NaN, which some writers leave in JSON, is a number that is not there.
            raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
        except FileNotFoundError:
            raise RunError(f"{path}: there is no such file; is {str(folder)!r} the folder of a run?") from None
        except OSError as error:
            raise RunError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise RunError(
                f"{path}: not valid JSON ({error}); remove it and run the same command again: "
                "what the folder holds is used only where it carries this run's id"
            ) from None
        version = raw.get("schema_version") if isinstance(raw, dict) else None
        if version != SCHEMA_VERSION:
            raise RunError(
                f"{path}: schema version {version}, this version of Sparrow reads {SCHEMA_VERSION}; "
                "read it with the version that wrote it, or repeat the run"
            )
        record = decoded(cls, raw)
        if isinstance(record, list):
            raise RunError(
                f"{path}: not a run record of this version of Sparrow: {record[0]}; read it with the one "
                "that wrote it, or move it away and run the same command again"
            )
        return record


def new_record(config: Any, command: Literal["train", "evaluate"], **values: Any) -> RunRecord:
    """The record of a run that is to begin with these settings, this code and these packages."""
    return RunRecord(
        command=command,
        config=asdict(config),
        study=config.study,
        git=git_revision(),
        versions=package_versions(),
        **values,
    )


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def git_revision() -> GitRevision | None:
    """The commit of this package's own checkout, or None where it runs from an installed copy or git is absent."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository: only a tracked file shows whose commit it is.
        git("ls-files", "--error-unmatch", "__init__.py")
        root = Path(git("rev-parse", "--show-toplevel"))
        untracked = git("ls-files", "--others", "--exclude-standard", "--full-name", ":/").splitlines()
        new_files = [(name, file_hash(root / name)) for name in untracked if (root / name).is_file()]
        changes = [git("diff", "HEAD", "--binary"), new_files]
        dirty = any(changes)
        return GitRevision(git("rev-parse", "HEAD"), dirty, content_hash(changes, length=12) if dirty else None)
    except (OSError, subprocess.SubprocessError):
        return None


def package_versions() -> dict[str, str]:
    """Versions of Python, of Sparrow, and of each installed package that it requires."""
    required = (metadata.requires("sparrow-video") or []) + ["sparrow-video"]
    names = {re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line}
    versions = {"python": sys.version.split()[0]}
    for name in sorted(names):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # required on other platforms only
    return versions
