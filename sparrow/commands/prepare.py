"""What a plan's longest micro-batch will take of a device's memory, told before a GPU is used."""

from __future__ import annotations

from sparrow.core.config import ExperimentConfig
from sparrow.core.tables import counted
from sparrow.planning.run_inputs import Prepared
from sparrow.training.memory_estimate import estimate_memory, longest_planned, tokens_of
from sparrow.training.trained_model import sharding_of, tuned_outline


def memory_text(config: ExperimentConfig, prepared: Prepared) -> str:
    """The longest planned micro-batch of all ranks, and the estimated memory of the device that gets it."""
    plan = prepared.plan
    num_ranks = config.trainer.devices * config.trainer.num_nodes
    positions = longest_planned(plan, num_ranks, range(num_ranks))
    tokens = tokens_of(plan, positions)
    sharding = sharding_of(config, prepared)
    estimate = estimate_memory(
        tuned_outline(config, prepared.backbone),
        config.optimizer,
        tokens,
        checkpointing=config.tuning.activation_checkpointing,
        precision=config.trainer.precision,
        num_shards=1 if sharding is None else sharding.num_shards(num_ranks),
    )
    frames = int(plan.ledger["num_frames"].to_numpy()[positions].sum())
    quantized = "" if config.tuning.quantization is None else ", its weights counted as if they were not quantized"
    return (
        f"Longest micro-batch: {counted(len(positions), 'sample')}, {tokens:,} tokens, {counted(frames, 'frame')}; "
        f"a device's memory in training: {estimate}{quantized}"
    )
