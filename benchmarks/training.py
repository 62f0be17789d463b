"""Training, three ways side by side: the released recipe, Hugging Face's Trainer, and Sparrow.

    python benchmarks/training.py                        # a tiny model on the CPU
    python benchmarks/training.py --size 2b              # a model of Qwen3-VL-2B's sizes, random weights, one GPU
    python benchmarks/training.py --ranks 2              # two CPU processes, connected by gloo

All start from the same weights and take the same samples; each repetition of each way is a process of its own, the
ways in turn. What is timed lies between the ends of two steps, with further samples behind them, so that the data
workers are as busy at the end as at the beginning.

* `released`: micro-batches of 2 as the samples come, padded on the right, frames and pages from PNG files, the family's
  PIL image processor in the workers, the logits of every token. Its loss is normalised over the global batch, as the
  others' is, so that they can be compared.
* `trainer`: transformers' Trainer with the settings that its guide to training on one GPU names: samples of similar
  length together (as its length-grouped sampler does in a long run), workers, pinned memory, bf16, fused AdamW, the
  fastest attention installed, checkpointed activations where the model is large, the image processor on torchvision
  and Liger's kernels where they are installed. The same PNG files.
* `sparrow`: packed rows, frames from the same PNG files, pages drawn by the workers, through Lightning as
  `sparrow train` does it.

Without hydra, decord and datasets, of which Sparrow needs none here: torch, transformers, pytorch-lightning, peft,
accelerate, pandas and Pillow do.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import transformers
from PIL import Image
from pytorch_lightning.callbacks import Callback
from real_size import real_size, with_random_weights
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from training_mixture import Mixture, make_mixture

from sparrow.core.process_memory import GIBIBYTE, peak_memory_bytes
from sparrow.data.batching import StepBatch
from sparrow.data.datamodule import PlannedData
from sparrow.data.encode import IGNORED, Shown, tokenize
from sparrow.data.settings import Batching
from sparrow.models.attention import choose_attention
from sparrow.models.backbone import Backbone
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.models.packed_attention import use_attention_by_sample
from sparrow.models.tuning import apply_tuning
from sparrow.runs.record import RunRecord
from sparrow.runs.settings import Trainer as TrainerSettings
from sparrow.training.checkpoints import Chooser
from sparrow.training.loggers import make_loggers
from sparrow.training.mfu import device_peak_flops
from sparrow.training.module import FineTuning
from sparrow.training.optim import build_optimizer, build_schedule
from sparrow.training.settings import Logger, Optimizer, Schedule, Strategy, Tuning
from sparrow.training.strategies import trainer_options
from sparrow.training.throughput import Throughput
from sparrow.world import world_texts

RELEASED_MICRO_BATCH = 2
PREFETCHED_STEPS = 2  # of each of Sparrow's workers: the DataLoader's default
FORBIDDEN = ("hydra", "decord", "datasets")
TINY = {
    "frame_size_px": 64,
    "divisor": 1,
    "batch": 16,
    "steps": 16,
    "trainer_micro_batch": 4,
    "workers": 1,
    "repeats": 3,
    "precision": "32-true",
}
REAL = {
    "frame_size_px": 320,
    "divisor": 1,
    "batch": 64,
    "steps": 8,
    "trainer_micro_batch": 4,
    "workers": 6,
    "repeats": 2,
    "precision": "bf16-mixed",
}


@dataclass
class Result:
    """What one way did between the ends of the last warming and the last step, on one rank."""

    seconds: float = 0.0
    wait_s: float = 0.0
    cpu_s: float = 0.0
    computed_tokens: int = 0
    first_loss: float = float("nan")
    peak_bytes: int = 0
    loaded: list[str] = field(default_factory=list)


class Meter:
    """Adds up the timed steps of a way."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.first, self.last = options.warmup, options.warmup + options.steps
        self.cuda = options.device == "cuda"
        self.done = 0
        self.result = Result()

    def step(self, wait_s: float, computed_tokens: int) -> bool:
        """Count a step that has ended; whether it was the last."""
        if self.done >= self.first:
            self.result.wait_s += wait_s
            self.result.computed_tokens += computed_tokens
        self.done += 1
        if self.done in (self.first, self.last):
            if self.cuda:
                torch.cuda.synchronize()
            sign = 1 if self.done == self.last else -1
            self.result.seconds += sign * time.perf_counter()
            self.result.cpu_s += sign * cpu_seconds()
        return self.done >= self.last


def cpu_seconds() -> float:
    """Processor seconds of this process and its data workers, which another's load changes less than the time."""
    spent = time.process_time()
    for worker in multiprocessing.active_children():
        fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


@dataclass
class Work:
    """What every way is given: a model, the mixture, and where to write; the first `num_steps` steps are taken."""

    backbone: Backbone
    mixture: Mixture
    options: argparse.Namespace
    tuning: Tuning
    folder: Path
    rank: int

    @property
    def num_steps(self) -> int:
        """Steps that are taken, the warming ones among them."""
        return self.options.warmup + self.options.steps


class PngSamples(Dataset):
    """Samples by their position in the ledger, read from PNG files and put through the family's image processor."""

    def __init__(self, work: Work, image_processor: Any) -> None:
        self.backbone, self.mixture = work.backbone.with_model(None), work.mixture
        self.image_processor = image_processor

    def __len__(self) -> int:
        return len(self.mixture.plan.ledger)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        sample, how, folder = self.mixture.sample(position)
        images = [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]
        chat = tokenize(sample, self.backbone, [Shown(tuple((i.height, i.width) for i in images))], how)
        pixels = self.image_processor([images], return_tensors="pt")
        pixels.pop("pixel_attention_mask", None)  # every frame fills its square
        ids = torch.from_numpy(chat.input_ids)
        labels = torch.from_numpy(np.where(chat.supervised, chat.input_ids, IGNORED))
        return {"input_ids": ids, "labels": labels, **pixels}

    def collate(self, samples: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Pad on the right; pictures of all samples one after another."""
        pad_id = self.backbone.tokenizer.pad_token_id
        fills = {"input_ids": pad_id, "labels": IGNORED}
        batch = {
            name: pad_sequence([s[name] for s in samples], batch_first=True, padding_value=fill)
            for name, fill in fills.items()
        }
        masks = [torch.ones_like(s["input_ids"]) for s in samples]
        batch["attention_mask"] = pad_sequence(masks, batch_first=True)
        for name in samples[0].keys() - fills.keys():
            batch[name] = torch.cat([s[name] for s in samples], dim=1 if samples[0][name].ndim == 5 else 0)
        return batch | self.backbone.token_inputs(batch["input_ids"])


def released(work: Work) -> Result:
    """A plain loop over micro-batches in the order of the plan."""
    options, steps, meter = work.options, work.mixture.plan.steps, Meter(work.options)
    device, model = torch.device(options.device), work.backbone.model
    if options.ranks > 1:
        dist.init_process_group("gloo")
        model = DistributedDataParallel(model)
    optimizer = build_optimizer(work.backbone.parts(), Optimizer(), work.tuning)
    schedule = build_schedule(optimizer, Schedule(), len(steps))
    supervised = work.mixture.plan.ledger["supervised_tokens"].to_numpy()
    micro_batches = [
        positions[begin : begin + RELEASED_MICRO_BATCH].tolist()
        for positions in steps
        for begin in range(0, len(positions), RELEASED_MICRO_BATCH)
    ][work.rank :: options.ranks]
    dataset = PngSamples(work, work.backbone.processor.image_processor)
    loader = DataLoader(
        dataset,
        batch_sampler=micro_batches,
        collate_fn=dataset.collate,
        num_workers=options.workers,
        pin_memory=options.device == "cuda",
    )
    batches = iter(loader)
    accumulated = options.batch // RELEASED_MICRO_BATCH // options.ranks
    for number, positions in enumerate(steps):
        wait_s, computed, total = 0.0, 0, torch.zeros((), device=device)
        for micro in range(accumulated):
            asked = time.perf_counter()
            batch = next(batches)
            wait_s += time.perf_counter() - asked
            computed += batch["input_ids"].numel()
            batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
            apart = options.ranks > 1 and micro < accumulated - 1
            with model.no_sync() if apart else nullcontext():
                with torch.autocast(options.device, torch.bfloat16, enabled=options.precision == "bf16-mixed"):
                    loss = model(**batch, use_cache=False, num_items_in_batch=int(supervised[positions].sum())).loss
                (loss * options.ranks).backward()
            total += loss.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if number == 0:
            if options.ranks > 1:
                dist.all_reduce(total)
            meter.result.first_loss = float(total)
        if meter.step(wait_s, computed):
            break
    return meter.result


def trainer(work: Work) -> Result:
    """Hugging Face's Trainer, its timed samples grouped by length."""
    from transformers.trainer_pt_utils import get_length_grouped_indices

    options, plan, meter = work.options, work.mixture.plan, Meter(work.options)
    on_gpu = options.device == "cuda"
    timed = np.concatenate(plan.steps[options.warmup : work.num_steps])
    of_step = options.batch
    # In a long run the sampler sorts windows of 50 steps.
    grouped = get_length_grouped_indices(plan.lengths[timed].tolist(), of_step, mega_batch_mult=50)
    before, after = plan.steps[: options.warmup], plan.steps[work.num_steps :]
    order = np.concatenate([*before, timed[grouped], *after]).tolist()

    class Timed(transformers.Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

        def get_batch_samples(self, *arguments: Any) -> Any:
            asked = time.perf_counter()
            found = super().get_batch_samples(*arguments)
            self.wait_s = time.perf_counter() - asked
            self.computed = sum(batch["input_ids"].numel() for batch in found[0])
            return found

    class Steps(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = meter.step(engine.wait_s, engine.computed)

    dataset = PngSamples(work, fastest_image_processor(work.backbone))
    arguments = transformers.TrainingArguments(
        output_dir=str(work.folder),
        per_device_train_batch_size=options.trainer_micro_batch,
        gradient_accumulation_steps=options.batch // options.trainer_micro_batch // options.ranks,
        max_steps=len(plan.steps),
        learning_rate=Optimizer().learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        weight_decay=Optimizer().weight_decay,
        adam_beta2=Optimizer().beta2,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=options.precision == "bf16-mixed",
        tf32=True if on_gpu else None,
        **({"gradient_checkpointing": True} if options.checkpointing else {}),
        dataloader_num_workers=options.workers,
        dataloader_pin_memory=on_gpu,
        use_liger_kernel=on_gpu and importlib.util.find_spec("liger_kernel") is not None,
        use_cpu=not on_gpu,
        ddp_backend="gloo" if options.ranks > 1 else None,
        remove_unused_columns=False,
        logging_steps=10,
        logging_first_step=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    engine = Timed(
        model=work.backbone.model,
        args=arguments,
        train_dataset=dataset,
        data_collator=dataset.collate,
        callbacks=[Steps()],
    )
    engine.remove_callback(transformers.PrinterCallback)
    engine.train()
    meter.result.first_loss = next(entry["loss"] for entry in engine.state.log_history if "loss" in entry)
    return meter.result


def fastest_image_processor(backbone: Backbone) -> Any:
    """The family's image processor on torchvision where that is installed, else on PIL."""
    on_pil = backbone.processor.image_processor
    if importlib.util.find_spec("torchvision") is None:
        return on_pil
    return getattr(transformers, type(on_pil).__name__.removesuffix("Pil")).from_dict(on_pil.to_dict())


def sparrow(work: Work) -> Result:
    """Packed steps through Lightning, with the loggers and figures of `sparrow train`."""
    options, mixture, meter = work.options, work.mixture, Meter(work.options)

    class Steps(Callback):
        def on_train_batch_end(
            self, trainer: Any, pl_module: Any, outputs: Any, batch: StepBatch, batch_idx: int
        ) -> None:
            meter.step(batch.wait_s, batch.num_computed_tokens)
            if batch.step == 0:
                meter.result.first_loss = pl_module.last_loss

    settings = TrainerSettings(precision=options.precision)
    module = FineTuning(
        work.backbone, Optimizer(), Schedule(), len(mixture.plan.steps), list(mixture.presentations), work.tuning
    )
    data = PlannedData(
        mixture.plan,
        replace(mixture, backbone=work.backbone.with_model(None)),
        Batching(num_workers=options.workers, sample_timeout_s=600),
    )
    loggers = {"csv": Logger(), "tensorboard": Logger()}
    record = RunRecord(run_id="benchmark", name="benchmark", command="train")
    strategy = Strategy("ddp" if options.ranks > 1 else "single")
    engine = pl.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=options.ranks,
        max_steps=work.num_steps,
        use_distributed_sampler=False,
        log_every_n_steps=10,
        enable_model_summary=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=work.folder,
        logger=make_loggers(loggers, work.folder, record, first_step=0),
        callbacks=[Throughput(options.precision), Steps()],
        **trainer_options(strategy, settings, Chooser(print)),
    )
    engine.fit(module, datamodule=data)
    return meter.result


WAYS: dict[str, Callable[[Work], Result]] = {"released": released, "trainer": trainer, "sparrow": sparrow}


def carry_out(
    way: str, rank: int, port: int, mixture: Mixture, options: argparse.Namespace, answer: Connection
) -> None:
    """One way in this process; its result is sent back."""
    torch.set_num_threads(options.threads)
    transformers.logging.set_verbosity_error()
    if options.ranks > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": options.ranks}
        names |= {"LOCAL_WORLD_SIZE": options.ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()})
    backbone = with_model(mixture.backbone, options, packed=way == "sparrow")
    tuning = Tuning(activation_checkpointing=options.checkpointing)
    apply_tuning(backbone, tuning)
    with tempfile.TemporaryDirectory() as folder:
        result = WAYS[way](Work(backbone, mixture, options, tuning, Path(folder), rank))
    memory = peak_memory_bytes()
    result.peak_bytes = memory.get("cuda", memory["host"])
    result.loaded = [name for name in FORBIDDEN if name in sys.modules]
    answer.send(result)
    if dist.is_initialized():
        dist.destroy_process_group()


def with_model(backbone: Any, options: argparse.Namespace, *, packed: bool) -> Backbone:
    """The backbone with its first weights."""
    attention = choose_attention(options.attention, options.precision, options.device, options.family)
    if options.size == "tiny":
        return load_backbone(options.checkpoint, attn_implementation=attention)
    backbone = with_random_weights(backbone, attention, options.device, torch.float32)
    if packed and attention == "sdpa":
        use_attention_by_sample(backbone.model)
    return backbone


def measure(way: str, mixture: Mixture, options: argparse.Namespace) -> Result:
    """One way in processes of its own, one a rank; sums over ranks, the slowest rank's time, the mean wait."""
    context = multiprocessing.get_context("forkserver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(options.ranks):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=carry_out, args=(way, rank, port, mixture, options, theirs), name=f"{way} {rank}"
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    results = []
    for process, ours in started:
        results.append(ours.recv())
        process.join()
    return Result(
        seconds=max(r.seconds for r in results),
        wait_s=statistics.mean(r.wait_s for r in results),
        cpu_s=sum(r.cpu_s for r in results),
        computed_tokens=sum(r.computed_tokens for r in results),
        first_loss=results[0].first_loss,
        peak_bytes=max(r.peak_bytes for r in results),
        loaded=sorted({name for r in results for name in r.loaded}),
    )


def main() -> None:
    options = read_options()
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["pytorch_lightning", "transformers", "sparrow.training.module", "sparrow.data.datamodule", "real_size"]
    )
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if options.size == "tiny":
            made = ensure_tiny(Path(folder), options.family, world_texts(), frame_size_px=options.frame_size_px, seed=0)
            options.checkpoint, backbone = str(made), load_backbone(str(made), with_model=False)
        else:
            backbone = real_size(options.frame_size_px, options.layers)
        steps = options.warmup + options.steps + PREFETCHED_STEPS * options.workers
        mixture = make_mixture(
            Path(folder) / "media", backbone, steps * options.batch, options.batch, options.divisor, os.cpu_count() or 1
        )
        describe(mixture, options)
        results: dict[str, list[Result]] = {way: [] for way in options.ways}
        for repeat in range(options.repeats):
            for place in range(len(options.ways)):
                way = options.ways[(place + repeat) % len(options.ways)]
                results[way].append(measure(way, mixture, options))
                last = results[way][-1]
                figures = f"{last.seconds:.2f} s, {last.cpu_s:.2f} CPU s, first loss {last.first_loss:.6f}"
                print(f"{way}: {figures}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    report(results, mixture, options)


def describe(mixture: Mixture, options: argparse.Namespace) -> None:
    """What is trained on which machine."""
    plan = mixture.plan
    lengths = plan.lengths
    print(
        f"{len(plan.ledger)} samples of {lengths.min()} to {lengths.max()} tokens (mean {lengths.mean():.0f}), "
        f"{int(plan.ledger['num_frames'].sum())} frames and pages of {options.frame_size_px} px; "
        f"{options.steps} steps of {options.batch} timed after {options.warmup}; {options.ranks} rank(s), each with "
        f"{options.threads} thread(s) and {options.workers} worker(s)"
    )
    name = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {os.cpu_count()} cores"
    attention = choose_attention(options.attention, options.precision, options.device, options.family)
    print(
        f"{name}; {attention}, {options.precision}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Lightning {pl.__version__}; {time.strftime('%Y-%m-%d')}\n",
        flush=True,
    )


def report(results: dict[str, list[Result]], mixture: Mixture, options: argparse.Namespace) -> None:
    """The table: medians over repetitions, ratios of the medians."""
    plan = mixture.plan
    timed = np.concatenate(plan.steps[options.warmup : options.warmup + options.steps])
    useful, flops = int(plan.lengths[timed].sum()), float(plan.flops[timed].sum())
    peak = device_peak_flops(torch.device(options.device), options.precision)
    seconds = {way: statistics.median(r.seconds for r in own) for way, own in results.items()}
    baselines = [way for way in ("released", "trainer") if way in results]
    titles = ["", "useful tokens/s", "samples/s", "computed / useful", "MFU", "data wait", "CPU s", "peak GiB"]
    titles += ["first loss"] + [f"x {way} (least to most); by CPU s" for way in baselines]
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for way, own in results.items():
        took = seconds[way]
        utilisation = f"{flops / took / peak / options.ranks:.1%}" if peak else "-"
        cells = [
            way,
            f"{useful / took:,.0f}",
            f"{len(timed) / took:.2f}",
            f"{own[0].computed_tokens / useful:.2f}",
            utilisation,
            f"{statistics.median(r.wait_s / r.seconds for r in own):.1%}",
            f"{statistics.median(r.cpu_s for r in own):.1f}",
            f"{max(r.peak_bytes for r in own) / GIBIBYTE:.2f}",
            f"{own[0].first_loss:.5f}",
        ]
        for other in baselines:
            ratios = [theirs.seconds / ours.seconds for theirs, ours in zip(results[other], own, strict=True)]
            of_cpu = statistics.median(r.cpu_s for r in results[other]) / statistics.median(r.cpu_s for r in own)
            cells.append(f"{seconds[other] / took:.2f} ({min(ratios):.2f} to {max(ratios):.2f}); {of_cpu:.2f}")
        print("| " + " | ".join(cells) + " |")
    losses = [r.first_loss for own in results.values() for r in own]
    spread, allowed = max(losses) - min(losses), 1e-4 if options.precision == "32-true" else 2e-2
    agree = "agree" if spread <= allowed else "DO NOT AGREE"
    print(f"\nLosses of the first step {agree}: they differ by {spread:.1e}, allowed {allowed:g}.")
    for way, own in results.items():
        if own[0].loaded:
            print(f"{way} loaded {', '.join(own[0].loaded)}.")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=["tiny", "2b"], default="tiny")
    parser.add_argument("--family", default="idefics3", help="of the tiny model")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--steps", type=int, help="timed")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of each rank")
    parser.add_argument("--workers", type=int, help="that read data, of each rank")
    parser.add_argument("--batch", type=int, help="samples of an optimizer step")
    parser.add_argument("--trainer-micro-batch", type=int, help="samples of the Trainer's micro-batch")
    parser.add_argument("--divisor", type=int, help="frames, pages and the longest row are divided by it")
    parser.add_argument("--frame-size-px", type=int)
    parser.add_argument("--device", choices=["cpu", "cuda"])
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"])
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--layers", type=int, help="fewer layers of the large model, to try the script out")
    parser.add_argument("--no-checkpointing", action="store_true", help="keep the large model's activations")
    options = parser.parse_args()
    for name, value in (TINY if options.size == "tiny" else REAL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.device = options.device or ("cpu" if options.size == "tiny" else "cuda")
    options.checkpointing = options.size == "2b" and not options.no_checkpointing
    for each in (RELEASED_MICRO_BATCH, options.trainer_micro_batch):
        if options.batch % (each * options.ranks):
            parser.error(f"--batch {options.batch}: no whole micro-batches of {each} on {options.ranks} ranks")
    return options


if __name__ == "__main__":
    main()
