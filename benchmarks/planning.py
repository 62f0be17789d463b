"""Planning a mixture: frames and tokens counted from headers and layout, against decoding and processing every sample.

`python benchmarks/planning.py` plans generated clips and long texts with the tiny backbone at the paper's page size,
one process, and compares with what a trainer without a plan does to learn the lengths: decode, draw and run the
family's processor. The second plan is read from the cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from sparrow.app.entry import set_up
from sparrow.app.schema import checked
from sparrow.data.encode import load_frames
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.settings import ExperimentConfig


def settings(folder: Path, num_samples: int) -> ExperimentConfig:
    set_up()
    overrides = [
        "scale=tiny",
        "mixture=world/sparrow",
        "sample_divisor=1",
        f"mixture.num_samples={num_samples}",
        f"world.num_clips={num_samples}",
        f"world.num_event_texts={num_samples}",
        "backbone.frame_size_px=448",
        "text_to_image.page_width_px=448",
        "text_to_image.page_height_px=448",
        "text_to_image.font_size_px=20",
        "text_to_image.margin_px=20",
        "text_to_image.words_per_page=5",
        "batching.num_workers=0",
        f"paths.cache_root={folder}",
    ]
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        composed = compose("train", overrides=overrides)
    OmegaConf.set_struct(composed, False)
    return checked(composed, ExperimentConfig)


def decode_and_process(prepared: Prepared) -> int:
    """Tokens of all samples by the family's own processor."""
    backbone, num_tokens = prepared.backbone, 0
    for row in prepared.plan.ledger.itertuples():
        source, how = prepared.sources[row.source], prepared.presentations[row.component]
        sample = source[row.row]
        frames = [Image.fromarray(frame).convert("RGB") for frame in load_frames(sample, source.media_roots, how)]
        messages = [
            {
                "role": message.role,
                "content": [{"type": "image"}] * (len(frames) if i == 0 else 0)
                + [{"type": "text", "text": part.text} for part in message.parts if type(part).__name__ == "Text"],
            }
            for i, message in enumerate(sample.messages)
        ]
        prompt = backbone.processor.apply_chat_template(messages, tokenize=False)
        inputs = backbone.processor(text=prompt, images=frames, return_tensors="pt", add_special_tokens=False)
        num_tokens += int(inputs["input_ids"].shape[1])
    return num_tokens


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-samples", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), options.num_samples)
        prepare(config)  # writes the world and the tiny checkpoint
        for file in Path(folder).glob("measurements/*"):
            file.unlink()
        first, prepared = seconds(lambda: prepare(config))
        again, _ = seconds(lambda: prepare(config))
        assert isinstance(prepared, Prepared)
        naive, num_tokens = seconds(lambda: decode_and_process(prepared))
    assert num_tokens == int(prepared.plan.lengths.sum()), "the plan counts what the processor gives"
    print(f"{options.num_samples} samples, {int(prepared.plan.ledger['num_frames'].sum())} frames of 448 px")
    for name, value in (("decode and process", naive), ("plan, first", first), ("plan, again", again)):
        print(f"{name:20s}{value:8.2f} s {options.num_samples / value:10.0f} samples/s {naive / value:8.1f}x")


if __name__ == "__main__":
    main()
