"""`sparrow check-model`: whether a checkpoint can be trained as it is, before the first job, on one page."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn
from transformers.utils import logging as transformers_logging

from sparrow.core.errors import SparrowError
from sparrow.core.process_memory import GIBIBYTE, peak_memory_bytes
from sparrow.data.encode import IGNORED, EncodedSample
from sparrow.data.micro_batches import pack, pad
from sparrow.evaluation.workers import device_of
from sparrow.models.backbone import Backbone
from sparrow.models.loading import LoadOptions, load_backbone, outline
from sparrow.models.memory_estimate import estimate_memory
from sparrow.models.registry import WITHOUT_PACKING
from sparrow.models.settings import Template, Tuning
from sparrow.models.template_choice import PROBE
from sparrow.models.tuning import apply_tuning
from sparrow.training.losses import segment_losses
from sparrow.training.settings import Optimizer, Strategy
from sparrow.training.strategies import Sharding, gather_into

FRAMES_OF_A_CLIP = 24
NUM_RANKS = 2
PACKED_TOLERANCE = 1e-3  # relative, in fp32
STEP = 1e-2  # of the parameters together, where their gradient is longer than 1


@dataclass(frozen=True)
class Result:
    """One line of the page; `passed` is None where there was nothing to check."""

    name: str
    passed: bool | None
    detail: str


@dataclass
class Checkup:
    """What is looked at, one after another; the weights are read once, and once more by each rank that shares them."""

    checkpoint: str
    frame_size_px: int | None = None
    template: Template | None = None
    accelerator: str = "auto"
    sharding: bool = True

    @cached_property
    def device(self) -> torch.device:
        """Where it is computed."""
        return device_of(self.accelerator)

    @property
    def options(self) -> LoadOptions:
        """How it is loaded."""
        return LoadOptions(frame_size_px=self.frame_size_px, template=self.template)

    def run(self) -> Iterator[Result]:
        """The results as they come; after one that failed those that rest on it are not looked at."""
        transformers_logging.disable_progress_bar()
        transformers_logging.set_verbosity_error()  # what it would say of weights is told here
        checks: list[tuple[str, Callable[[], tuple[bool | None, str]]]] = [
            ("opens", self._opens),
            ("template", self._template),
            ("tokens", self._tokens),
            ("tying", self._tying),
            ("memory", self._memory),
            ("weights", self._weights),
            ("packing", self._packing),
            ("sharding", self._sharding),
            ("two steps", self._two_steps),
        ]
        for name, check in checks:
            try:
                passed, detail = check()
            except (SparrowError, torch.OutOfMemoryError, ProcessRaisedException, ProcessExitedException) as error:
                passed, detail = False, str(error).strip().splitlines()[-1]  # of a process the error alone
            yield Result(name, passed, detail)
            if passed is False:
                return

    def _opens(self) -> tuple[bool, str]:
        self.planned = load_backbone(self.checkpoint, self.options, with_model=False)
        if self.frame_size_px is None:
            self.planned.show_usual_frames()
        self.frame_size_px = self.planned.frame_size_px
        return True, f"family {self.planned.family}, context of {self.planned.context_length_tokens:,} tokens"

    def _template(self) -> tuple[bool, str]:
        choice = self.planned.template_choice
        same = "Sparrow's, which writes the same tokens as the checkpoint's own template and processor"
        alone = "Sparrow's; the checkpoint has no template of its own, with which it could be compared"
        return choice.refusal is None, choice.refusal or "; ".join(choice.notes()) or (same if choice.own else alone)

    def _tokens(self) -> tuple[bool, str]:
        limits = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in self.planned.frame_limits().items())
        tokens, rows = self.planned.visual_tokens((180, 320), 1), self.planned.vocabulary_size
        return True, f"each marker is one of the {rows:,} tokens; a frame of 320 x 180 px takes {tokens} ({limits})"

    def _tying(self) -> tuple[bool, str]:
        self.outline = outline(self.planned, self.options)
        tied = self.planned.config.tie_word_embeddings
        count = sum(p.numel() for p in self.outline.model.parameters())
        head = "is the embeddings, as the checkpoint stores none" if tied else "has weights of its own"
        assert self.planned.origin is not None, "it was loaded"
        config = self.planned.origin.settings("config.json")
        said = config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings", tied))
        return True, f"the output head {head}{', other than config.json says' * (said != tied)}; {count:,} parameters"

    def _memory(self) -> tuple[bool, str]:
        tokens = self.planned.visual_tokens((self.planned.frame_size_px,) * 2, FRAMES_OF_A_CLIP)
        apply_tuning(self.outline, Tuning())
        needed = estimate_memory(self.outline, Optimizer().name, tokens, checkpointing=True, precision="bf16-mixed")
        return True, f"full tuning on {FRAMES_OF_A_CLIP} frames ({tokens:,} tokens) in bf16-mixed takes {needed}"

    def _weights(self) -> tuple[bool, str]:
        self.backbone = load_backbone(self.checkpoint, self.options)
        self.backbone.model.to(self.device)
        shapes = [_shapes(each) for each in (self.backbone, self.outline)]
        differing = sorted(dict(shapes[0].items() ^ shapes[1].items()))
        if differing:
            return False, f"{len(differing)} tensors differ from the model's outline, such as {differing[0]}"
        self.sums = _sums(self.backbone)
        return True, f"{len(shapes[0])} tensors, none missing, none left over, each as the outline has it"

    def _packing(self) -> tuple[bool | None, str]:
        family = self.planned.family
        if not self.backbone.supports_packing:
            return None, f"not offered for {family}: {WITHOUT_PACKING[family]}; set batching=padded"
        samples = [(sample, 0) for sample in _samples(self.backbone)]
        with torch.no_grad():
            padded, packed = (
                segment_losses(self.backbone, join(samples, self.backbone).to(self.device)) for join in (pad, pack)
            )
        difference = float(((packed - padded) / padded).abs().max())
        return difference < PACKED_TOLERANCE, f"losses of packed and padded samples differ by {difference:.1e}"

    def _sharding(self) -> tuple[bool | None, str]:
        if not self.sharding:
            return None, "left out"
        with tempfile.TemporaryDirectory() as folder:
            spawn(_shard, args=(self.checkpoint, self.options, folder), nprocs=NUM_RANKS)
            together = json.loads((Path(folder) / "sums.json").read_text())
        differing = sorted(name for name, total in self.sums.items() if together.get(name) != total)
        if differing:
            return False, f"put together from shards, {len(differing)} tensors differ, such as {differing[0]}"
        return True, f"read as shards by {NUM_RANKS} processes and put together, every tensor is the same"

    def _two_steps(self) -> tuple[bool, str]:
        apply_tuning(self.backbone, Tuning(activation_checkpointing=True))
        learnt = {name: p for name, p in self.backbone.model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.SGD(learnt.values(), lr=STEP)  # AdamW's states would take as much again twice
        batch = pad([(sample, 0) for sample in _samples(self.backbone)], self.backbone).to(self.device)
        losses, without = [], []
        for _ in range(2):
            loss = segment_losses(self.backbone, batch).sum() / batch.supervised_tokens().sum()
            optimizer.zero_grad()
            loss.backward()
            without = [name for name, p in learnt.items() if p.grad is None]
            torch.nn.utils.clip_grad_norm_(learnt.values(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        peak = ", ".join(f"{name} {size / GIBIBYTE:.2f} GiB" for name, size in peak_memory_bytes().items())
        if without or not np.isfinite(losses).all():
            return False, f"losses {losses}; {len(without)} parameters had no gradient {without[:1]}"
        return losses[1] < losses[0], f"loss {losses[0]:.4f}, after a step {losses[1]:.4f}; peak memory {peak}"


def _samples(backbone: Backbone) -> list[EncodedSample]:
    """A chat about three frames, one about a single frame, one without."""
    made = []
    frame = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    for count in (3, 1, 0):
        chat = [{"role": "user", "content": [*[{"type": "image"}] * count, PROBE[0]["content"][-1]]}, *PROBE[1:]]
        tokens = backbone.tokenize_chat(chat, [frame.shape[:2]] * count)
        labels = np.where(tokens.supervised, tokens.input_ids, IGNORED)
        frames = backbone.prepare_frames([frame] * count)
        ids = torch.from_numpy(tokens.input_ids)
        made.append(EncodedSample(ids, torch.from_numpy(labels), frames, tokens.num_visual_tokens))
    return made


def _shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    return {name: tuple(p.shape) for name, p in backbone.model.named_parameters()}


def _sums(backbone: Backbone) -> dict[str, list[float]]:
    """What tells two models apart: sums of each tensor's values and of their magnitudes."""
    values = {name: p.detach().double() for name, p in backbone.model.named_parameters()}
    return {name: [float(value.sum()), float(value.abs().sum())] for name, value in values.items()}


def _shard(rank: int, checkpoint: str, options: LoadOptions, folder: str) -> None:
    """What each process does: hold its shards, and put them together on rank 0."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=NUM_RANKS)
    transformers_logging.disable_progress_bar()
    planned = load_backbone(checkpoint, options, with_model=False)
    sharded = outline(planned, options)
    sharding = Sharding(Strategy(name="fsdp"), 1, "32-true", lambda *_: load_backbone(checkpoint, options).model)
    sharding.apply(sharded, torch.device("cpu"))
    together = gather_into(sharded, outline(planned, options))
    if together is not None:
        (Path(folder) / "sums.json").write_text(json.dumps(_sums(together)))
    dist.barrier()  # neither ends its connection while the other needs it
    dist.destroy_process_group()
