"""`sparrow prepare`: the plan of a mixture, what it costs and what it shares with benchmarks; nothing is trained."""

from __future__ import annotations

import logging
from pathlib import Path

from sparrow.core.files import write_atomically
from sparrow.core.tables import counted
from sparrow.data.rejecting import BadSamples, UnusableSamples, missing_media, missing_text
from sparrow.data.trainer_export import export_mixture
from sparrow.models.loading import LoadOptions, outline
from sparrow.models.memory_estimate import estimate_memory
from sparrow.models.precision import weights_dtype
from sparrow.models.tuning import apply_tuning
from sparrow.planning.contamination import overlap_of, overlap_text, write_overlap
from sparrow.planning.manifest import manifest_table
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.settings import ExperimentConfig, PrepareConfig

log = logging.getLogger(__name__)


def show_plan(config: PrepareConfig, folder: Path, checkpoint: str | None = None) -> None:
    """Plan, look for overlap, write manifest, ledger and what another trainer needs, print the tables.

    Media files that are missing are listed in `missing_files.txt`, whether samples without them are an error or not.
    """
    try:
        prepared = prepare(config, checkpoint)
    except UnusableSamples as error:
        _list_missing(error.missing, folder)
        raise
    prepared.plan.write(folder)
    print(manifest_table(prepared.plan.manifest()))
    missing = missing_media(prepared.plan.ledger, prepared.sources)
    print(missing_text(missing), end="\n" if missing else "")
    _list_missing(missing, folder)
    print(f"\n{memory_text(config, prepared)}\n")
    overlap = overlap_of(config, prepared)
    write_overlap(overlap, folder)
    print(overlap_text(overlap))
    if config.export is not None:
        print(_export(config, prepared, folder / config.export))
    print(f"\ncounts (manifest.json), samples (ledger.parquet) and overlap: {folder}")


def _list_missing(files: list[Path], folder: Path) -> None:
    """Write the paths of files to fetch, a line each; nothing where none is missing."""
    if files:
        path = folder / "missing_files.txt"
        write_atomically(path, "".join(f"{file}\n" for file in files))
        log.info("all missing files: %s", path)


def _export(config: PrepareConfig, prepared: Prepared, folder: Path) -> str:
    bad_samples, workers = BadSamples(config.on_bad_sample, config.max_bad_fraction), config.batching.num_workers
    export = export_mixture(prepared.plan, prepared, folder.name, folder, bad_samples=bad_samples, num_workers=workers)
    left_out = [f"  {len(ids):,} left out: {reason}: {ids[0]}" for reason, ids in export.left_out.items()]
    written = {"sample": export.num_samples, "picture": export.num_images, "video": export.num_videos}
    counts = ", ".join(counted(number, noun) for noun, number in written.items())
    return "\n".join([f"\nExport for {folder.name}: {counts}: {folder}", *left_out])


def memory_text(config: ExperimentConfig, prepared: Prepared) -> str:
    """The longest planned micro-batch of all ranks, and the estimated memory of the device that gets it."""
    plan, trainer, tuning = prepared.plan, config.trainer, config.tuning
    num_ranks = trainer.devices * trainer.num_nodes
    positions = plan.longest_micro_batch(num_ranks, range(num_ranks))
    tokens = plan.tokens_of(positions)
    dtype = weights_dtype(trainer.precision)
    options = LoadOptions.of(config.backbone, dtype=dtype, quantization=tuning.quantization)
    backbone = outline(prepared.backbone, options)
    apply_tuning(backbone, tuning)
    estimate = estimate_memory(
        backbone,
        config.optimizer.name,
        tokens,
        checkpointing=tuning.activation_checkpointing,
        precision=trainer.precision,
        num_shards=config.strategy.num_shards(num_ranks, trainer.num_nodes),
    )
    frames = int(plan.ledger["num_frames"].to_numpy()[positions].sum())
    quantized = "" if tuning.quantization is None else ", its weights counted as if they were not quantized"
    return (
        f"Longest micro-batch: {counted(len(positions), 'sample')}, {tokens:,} tokens, {counted(frames, 'frame')}; "
        f"a device's memory in training: {estimate}{quantized}"
    )
