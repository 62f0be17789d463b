"""CPU time of a sample's frames on their way to the device: the family's image processor against Sparrow's path.

    python benchmarks/pixels.py [--family qwen3_vl] [--frames 24] [--size-px 448]

Both make the same model inputs. Sparrow's worker only resizes, and copies 8-bit pixels; what is left, rescaling,
normalising and laying out patches, is done where the model is, and is timed on the CPU here to be complete.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from PIL import Image

from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.models.registry import FAMILIES
from sparrow.world import world_texts


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Median CPU time of this process, in ms."""
    work()
    times = []
    for _ in range(repeats):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1000 * median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=list(FAMILIES))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size-px", type=int, default=448)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    print(f"{options.frames} frames, median CPU ms of {options.repeats}; worker: Sparrow's; device: on the CPU here\n")
    print("| family | input px | image processor | worker | ratio | device |")
    print("|---|---|---|---|---|---|")
    for family in [options.family] if options.family else FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            tiny = ensure_tiny(Path(folder), family, world_texts(), frame_size_px=options.size_px, seed=0)
            backbone = load_backbone(str(tiny), with_model=False)
        for size in ((options.size_px, options.size_px), (360, 640)):
            frames = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(options.frames)]
            compare(backbone, frames, options.repeats)


def compare(backbone, frames: list[np.ndarray], repeats: int) -> None:
    def theirs() -> dict:
        # Pictures, as transformers' own video readers hand them over.
        images = [[Image.fromarray(frame) for frame in frames]]
        return backbone.processor.image_processor(images, return_tensors="pt")

    prepared = backbone.prepare_frames(frames)
    ours = backbone.pixel_inputs(prepared, torch.float32)
    reference = theirs()["pixel_values"]
    torch.testing.assert_close(ours["pixel_values"].reshape(reference.shape), reference, atol=1e-5, rtol=0)
    processor = cpu_ms(theirs, repeats)
    worker = cpu_ms(lambda: backbone.prepare_frames(frames), repeats)
    device = cpu_ms(lambda: backbone.pixel_inputs(prepared, torch.float32), repeats)
    height, width = frames[0].shape[:2]
    print(
        f"| {backbone.family} | {width} x {height} | {processor:.0f} | {worker:.1f} | "
        f"{processor / worker:.1f}x | {device:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
