"""Evaluating a model on the configured benchmarks, with predictions on disk that every score is computed from."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock

from sparrow.analysis.predictions import read_predictions
from sparrow.analysis.scores import Score, score
from sparrow.core.config import Benchmark, Frames, World
from sparrow.core.hashing import content_hash
from sparrow.data.encode import Presentation
from sparrow.evaluation.engine import Protocol, answer, prompt_hash
from sparrow.evaluation.predictions import PredictionWriter, finalise, finished
from sparrow.evaluation.questions import Question, read_questions
from sparrow.media.frames import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.world import TABLES, WorldSettings, ensure_world

log = logging.getLogger(__name__)


class Evaluator:
    """Asks a model the questions of the configured benchmarks.

    Args:
        benchmarks: Settings by name.
        frames: The frame policy of training, which a benchmark may narrow by its own `max_frames`.
        world: The generated world, for benchmarks that are part of it.
        data_seed: Seed of that world.
        cache_root: Where the world and shared evaluations are kept.
        precision: Lightning's name of the numeric precision.
        num_workers: Processes that read videos.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Benchmark],
        frames: Frames,
        world: World,
        data_seed: int,
        cache_root: Path,
        *,
        precision: str,
        num_workers: int,
    ) -> None:
        self.benchmarks, self.frames, self.world, self.data_seed = benchmarks, frames, world, data_seed
        self.cache_root, self.precision, self.num_workers = cache_root, precision, num_workers
        self._questions: dict[str, tuple[list[Question], Path]] = {}

    def questions(self, name: str) -> tuple[list[Question], Path]:
        """Questions of a benchmark and the folder of its videos.

        Raises:
            DataError: If its file is missing or wrong.
        """
        if name not in self._questions:
            settings = self.benchmarks[name]
            root, file, media_root = Path(settings.root), settings.file, settings.media_root
            if settings.world is not None:
                table = TABLES[settings.world]
                root = ensure_world(self.cache_root, WorldSettings(**vars(self.world)), self.data_seed)
                file, media_root = table.file, table.media_root
            questions = read_questions(root / file, benchmark=name)
            self._questions[name] = (questions[: settings.num_questions], root / media_root)
        return self._questions[name]

    def evaluate(self, backbone: Backbone, model_id: str, folder: Path, phase: str) -> dict[str, Score]:
        """Answer all benchmarks and score them; questions answered before a kill are not asked again.

        Args:
            backbone: With its model.
            model_id: Identifies the weights.
            folder: The run's folder; predictions go to `predictions/<phase>/<benchmark>.jsonl`.
            phase: `before`, `after`, or either with the prefix `blind_` / as `blind`: then without frames.
        """
        return {name: self._evaluate_one(name, backbone, model_id, folder, phase) for name in self.benchmarks}

    def evaluate_shared(self, backbone: Backbone, model_id: str, folder: Path, phase: str) -> dict[str, Score]:
        """As `evaluate`, for a model that several runs start from: answered once, under a lock, then copied."""
        scores = {}
        for name in self.benchmarks:
            questions, _ = self.questions(name)
            protocol = self._protocol(name, phase)
            key = content_hash([prompt_hash(question, protocol, model_id) for question in questions])
            shared = self.cache_root / "evaluations" / key
            shared.mkdir(parents=True, exist_ok=True)
            with FileLock(shared / "lock"):
                self._evaluate_one(name, backbone, model_id, shared, phase)
            target = folder / _predictions_file(phase, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(shared / _predictions_file(phase, name), target)
            scores[name] = self._score(name, folder, phase)
        return scores

    def _evaluate_one(self, name: str, backbone: Backbone, model_id: str, folder: Path, phase: str) -> Score:
        questions, media_root = self.questions(name)
        protocol = self._protocol(name, phase)
        hashes = {question.id: prompt_hash(question, protocol, model_id) for question in questions}
        final = folder / _predictions_file(phase, name)
        partial = final.with_suffix(".partial.jsonl")
        earlier = [path for path in (final, partial) if path.is_file()]
        done = finished(earlier, hashes)
        todo = [question for question in questions if question.id not in done]
        if todo:
            log.info("%s (%s): %d questions, %d answered before", name, phase, len(questions), len(done))
            with PredictionWriter(partial) as writer, self._numerics(backbone):
                for prediction in answer(
                    backbone,
                    todo,
                    media_root,
                    protocol,
                    benchmark=name,
                    model_id=model_id,
                    num_workers=self.num_workers,
                ):
                    writer.write(prediction)
            earlier = [*earlier, partial] if partial not in earlier else earlier
        finalise(earlier, hashes, into=final)
        partial.unlink(missing_ok=True)
        return self._score(name, folder, phase)

    def _score(self, name: str, folder: Path, phase: str) -> Score:
        file = _predictions_file(phase, name)
        return score(read_predictions(folder / file), scoring=self.benchmarks[name].scoring, file=str(file))

    def _protocol(self, name: str, phase: str) -> Protocol:
        settings = self.benchmarks[name]
        policy = FramePolicy(**vars(self.frames))
        if settings.max_frames is not None:
            policy = replace(policy, max_frames=settings.max_frames)
        return Protocol(
            scoring=settings.scoring,  # type: ignore[arg-type]  # checked with the configuration
            show_options=settings.show_options,
            max_new_tokens=settings.max_new_tokens,
            presentation=Presentation(frames=policy),
            blind=phase.startswith("blind"),
        )

    def _numerics(self, backbone: Backbone) -> contextlib.AbstractContextManager:
        device = next(backbone.model.parameters()).device.type
        if self.precision == "bf16-mixed":
            return torch.autocast(device, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def _predictions_file(phase: str, benchmark: str) -> Path:
    return Path("predictions") / phase / f"{benchmark}.jsonl"
