"""Evaluating a model on the configured benchmarks, with predictions on disk that every score is computed from."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from sparrow.analysis.answers import Predictions, read_predictions
from sparrow.analysis.scores import Score, reason_of, score
from sparrow.core.bars import Bar
from sparrow.core.errors import BackboneError, DataError
from sparrow.core.hashing import content_hash
from sparrow.core.tables import counted
from sparrow.data.encode import Presentation
from sparrow.evaluation.benchmark import Asked, read_asked, standing_in
from sparrow.evaluation.engine import Protocol, answer
from sparrow.evaluation.predictions import PredictionWriter, finalise, finished, write_submission
from sparrow.evaluation.prompts import prompt_hash
from sparrow.evaluation.questions import Question
from sparrow.evaluation.settings import FORMATS, EvaluationSettings
from sparrow.evaluation.units import Units, group_into_units
from sparrow.models.backbone import Backbone

log = logging.getLogger(__name__)


class Evaluator:
    """Asks a model the questions of the configured benchmarks.

    The frame policy is that of training, which a benchmark may narrow by its own `max_frames`.
    """

    def __init__(self, config: EvaluationSettings) -> None:
        self.benchmarks = {name: standing_in(settings) for name, settings in config.benchmark.items()}
        self.frames, self.world, self.data_seed = config.frames, config.world, config.data_seed
        self.cache_root, self.precision = Path(config.paths.cache_root), config.trainer.precision
        self.num_workers, self.progress_bar = config.num_workers, config.trainer.progress_bar
        self.max_bad_fraction = config.max_bad_fraction
        self.notes: list[str] = []  # on the scores, for the record of the run
        self._unreadable: list[str] = []
        self._asked: dict[str, Asked] = {}
        self._digests: dict[tuple[str, str, str], dict[str, str]] = {}

    def questions(self, name: str) -> tuple[list[Question], Path]:
        """Questions of a benchmark and the folder of its videos; it raises what `read_asked` does."""
        asked = self._read(name)
        return asked.questions, asked.media_roots[0]

    def require_room(self, backbone: Backbone) -> None:
        """Refuse more frames than fit, and subtitles between frames where the chat template cannot; no model is needed.

        Raises:
            BackboneError: With the setting to change.
        """
        for name, settings in self.benchmarks.items():
            key = "frames.max_frames" if settings.max_frames is None else f"benchmark.{name}.max_frames"
            backbone.require_room(self._protocol(name, "after").presentation.frames.max_frames, key)
            if settings.subtitles == "interleaved" and not backbone.can_interleave():
                remedy = "set it to on or off, or backbone.template=sparrow"
                what = f"the chat template in use puts all frames before the text; {remedy}"
                raise BackboneError(f"benchmark.{name}.subtitles=interleaved: {what}")

    def shared_id(self, weights: str, backbone: Backbone) -> str:
        """Identifies a model that several runs start from, as it is asked: its weights, precision and inputs."""
        return content_hash([weights, self.precision, *backbone.identity()[1:]])

    @contextlib.contextmanager
    def shared(self, model_id: str, phase: str) -> Iterator[dict[str, Path]]:
        """Folders, by benchmark, that all runs which start from a model share; they are held meanwhile."""
        folders = {}
        for name in self.benchmarks:
            hashes = self._hashes(name, model_id, phase)
            folders[name] = self.cache_root / "evaluations" / content_hash(sorted(hashes.values()))
        with contextlib.ExitStack() as held:
            for folder in sorted(set(folders.values())):  # in one order, so that runs do not wait for each other
                folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(folder / "lock"))
            yield folders

    def take_over(self, folders: Mapping[str, Path], model_id: str, folder: Path, phase: str) -> dict[str, Score]:
        """Put the answers in shared folders together, copy them to a run's folder, and score them."""
        scores = {}
        for name, shared in folders.items():
            self._collect_one(name, model_id, shared, phase)
            target = folder / _predictions_file(phase, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared / _predictions_file(phase, name), target)
            scores[name] = self._score(name, folder, phase)
        return scores

    def answer(
        self,
        name: str,
        backbone: Backbone,
        model_id: str,
        folder: Path,
        phase: str,
        *,
        rank: int = 0,
        take: Iterable[int] | None = None,
    ) -> None:
        """Answer what is unanswered of a benchmark, into the rank's own file below `predictions/<phase>` in the folder.

        The phase is `before`, `after`, `blind` (without frames) or `one_frame` (with the frame in the middle alone).
        `take` are the positions of the units that this process takes, all where None.
        """
        questions, media_roots = self._read(name).questions, self._read(name).media_roots
        protocol = self._protocol(name, phase)
        done = self._answered(name, model_id, folder, phase)
        units = Units(group_into_units(questions, media_roots, protocol), backbone, media_roots, protocol, name)
        # A unit is answered whole or not at all, so that its numbers do not depend on where a kill fell.
        todo = {i for i, unit in enumerate(units.groups) if any(question.id not in done for question in unit)}
        if not todo:
            return
        if rank == 0:
            log.info("%s (%s): %s, %d already answered", name, phase, counted(len(questions), "question"), len(done))
        answers = answer(
            units,
            self._hashes(name, model_id, phase),
            num_workers=self.num_workers,
            take=(i for i in (range(len(units)) if take is None else take) if i in todo),
        )
        partial = (folder / _predictions_file(phase, name)).with_suffix(f".partial-{rank}.jsonl")
        device = next(backbone.model.parameters()).device.type
        numerics = torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bf16-mixed")
        # All processes draw from one list: where one of them is in it, they are together.
        place = dict(zip((unit[0].id for unit in units.groups), accumulate(map(len, units.groups)), strict=True))
        look = {"total": len(questions), "initial": len(done), "desc": f"{name} ({phase})", "unit": "question"}
        with Bar(shown=self.progress_bar and rank == 0, **look) as bar, PredictionWriter(partial) as writer, numerics:
            for predictions in answers:
                writer.write(*predictions)
                bar.update(place[predictions[0].question_id] - bar.n)

    def is_answered(self, name: str, model_id: str, folder: Path, phase: str) -> bool:
        """Whether nothing of a benchmark is left to ask."""
        return len(self._answered(name, model_id, folder, phase)) == len(self.questions(name)[0])

    def _answered(self, name: str, model_id: str, folder: Path, phase: str) -> set[str]:
        return set(finished(_files(folder, phase, name), self._hashes(name, model_id, phase)))

    def collect(self, model_id: str, folder: Path, phase: str) -> dict[str, Score]:
        """Put the answers of all ranks together, sorted by id, and score them; a RunError if one is missing."""
        return {name: self._collect_one(name, model_id, folder, phase) for name in self.benchmarks}

    def _collect_one(self, name: str, model_id: str, folder: Path, phase: str) -> Score:
        files = _files(folder, phase, name)
        final = folder / _predictions_file(phase, name)
        finalise(files, self._hashes(name, model_id, phase), into=final, reading=self._reading(name))
        for path in files:
            if path != final:
                path.unlink()
        return self._score(name, folder, phase)

    def _score(self, name: str, folder: Path, phase: str) -> Score:
        file = _predictions_file(phase, name)
        settings = self.benchmarks[name]
        predictions = read_predictions(folder / file)
        write_submission(FORMATS[settings.format].submission, folder / file)
        self._look_at(name, phase, predictions)
        return score(
            predictions,
            metric=settings.metric,
            scoring=settings.scoring,
            file=str(file),
            protocol=self._described(name, phase),
            missing_videos=self._read(name).missing_videos,
        )

    def _look_at(self, name: str, phase: str, answers: Predictions) -> None:
        """Note what could not be asked, by reason, and that replies never name an option."""
        where = f"{name} ({phase})"
        told: dict[str, list[str]] = {}
        for question_id, failure in zip(answers.question_ids, answers.failures.tolist(), strict=True):
            if failure:
                told.setdefault(reason_of(failure), []).append(" [".join((question_id, *failure.split(" [")[1:])))
        for reason, found in told.items():
            self._note(f"{where}: {counted(len(found), 'question')} not asked, {reason}; the first is {found[0]}")
        bad = (answers.failures != "") & ~np.isin(answers.videos, self._read(name).missing_videos)
        if bad.sum() > self.max_bad_fraction * len(answers):
            self._unreadable.append(f"{where}: {bad.mean():.1%}")
        replied = answers.chosen((answers.reply_rules > 0) & (answers.num_options > 0))
        if len(replied) and not replied.answered.any():
            hint = f"benchmark.{name}.scoring=letter_likelihood needs none"
            self._note(f"{where}: none of {len(replied):,} replies names an option; {hint}")

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)
            log.warning("%s", note)

    def require_readable(self) -> None:
        """Refuse scores of a benchmark of which more than `max_bad_fraction` could not be asked, missing videos aside.

        Raises:
            DataError: With all reasons.
        """
        if self._unreadable:
            shares = ", ".join(dict.fromkeys(self._unreadable))
            raise DataError(
                f"more than max_bad_fraction={self.max_bad_fraction} of {shares} not asked: {'; '.join(self.notes)}",
                remedy="repair the files and run the same command again, or raise max_bad_fraction in sparrow evaluate",
            )

    def _reading(self, name: str) -> dict[str, Any]:
        """How replies are read: arguments of `read_choice`."""
        settings = self.benchmarks[name]
        return {"lower_case": settings.lower_case, "thinking_tags": tuple(settings.thinking_tags)}

    def _described(self, name: str, phase: str) -> dict[str, Any]:
        settings = self.benchmarks[name]
        policy = self._protocol(name, phase).presentation.frames
        named = {"uniform": f"{policy.max_frames}", "all": "all", "one_a_second": "one a second"}
        frames = named.get(policy.policy, f"{policy.fps} a second")
        if policy.policy != "uniform" and policy.max_frames is not None:
            frames += f", at most {policy.max_frames}"
        if policy.min_frames is not None:
            frames += f", at least {policy.min_frames}"
        if policy.frame_size_px is not None:
            frames += f", of at most {policy.frame_size_px}² px"
        if policy.max_pixels is not None:
            frames += f", of at most {policy.max_pixels:,} px together"
        if policy.timestamps:
            frames += ", with their times"
        form = FORMATS[settings.format].submission
        return ({"submission": form} if form else {}) | {
            "format": settings.format,
            "protocol": self._read(name).protocol,
            "frames": "none" if phase == "blind" else frames,
            "subtitles": settings.subtitles,
            "tasks": settings.tasks,
            "options": "shown" if settings.show_options else "not shown",
            "lower_case": settings.lower_case,
            "thinking_tags": settings.thinking_tags,
            "max_new_tokens": settings.max_new_tokens if settings.scoring == "generate" else None,
            "missing_videos": settings.missing_videos,
            "note": self._read(name).note,
        }

    def _read(self, name: str) -> Asked:
        if name not in self._asked:
            self._asked[name] = read_asked(name, self.benchmarks[name], self.world, self.data_seed, self.cache_root)
        return self._asked[name]

    def _hashes(self, name: str, model_id: str, phase: str) -> dict[str, str]:
        """Digests as they were when they were first asked for: a video that is put there meanwhile changes none."""
        key = name, model_id, phase
        if key not in self._digests:
            asked, protocol = self._read(name), self._protocol(name, phase)
            self._digests[key] = {q.id: prompt_hash(q, asked.media_roots, protocol, model_id) for q in asked.questions}
        return self._digests[key]

    def _protocol(self, name: str, phase: str) -> Protocol:
        settings = self.benchmarks[name]
        policy = self.frames
        if settings.max_frames is not None:
            policy = replace(policy, max_frames=settings.max_frames)
        if settings.frame_rule == "one_a_second":
            policy = replace(policy, policy="one_a_second", fps=None, min_frames=None)
        if phase == "one_frame":
            policy = replace(policy, policy="uniform", fps=None, max_frames=1, min_frames=None)
        return Protocol(
            scoring=settings.scoring,
            show_options=settings.show_options,
            **self._reading(name),
            max_new_tokens=settings.max_new_tokens,
            max_new_tokens_open_ended=settings.max_new_tokens_open_ended,
            subtitles=settings.subtitles,
            presentation=Presentation(frames=policy),
            blind=phase == "blind",
        )


def _predictions_file(phase: str, benchmark: str) -> Path:
    return Path("predictions") / phase / f"{benchmark}.jsonl"


def _files(folder: Path, phase: str, benchmark: str) -> list[Path]:
    """Files that hold answers of a benchmark: the final one and those of ranks, as far as they are there."""
    final = folder / _predictions_file(phase, benchmark)
    return [path for path in (final, *sorted(final.parent.glob(f"{benchmark}.partial-*.jsonl"))) if path.is_file()]
