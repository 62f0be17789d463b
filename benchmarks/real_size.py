"""A backbone of real size with random weights on one GPU: seconds and memory of training steps.

    python benchmarks/real_size.py [--attention sdpa flash_attention_2] [--frames 24] [--steps 20]

The sizes are those of Qwen3-VL-2B; weights are random and the tokenizer is the tiny one, which changes neither time nor
memory. The losses of the ways of attention are printed, so that they can be compared. `--tiny --device cpu` tries the
script out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from transformers import AutoModelForImageTextToText

from sparrow.models.qwen3_vl import Qwen3VL
from sparrow.models.settings import Tuning
from sparrow.models.tiny import TinySizes
from sparrow.models.tuning import apply_tuning, tuning_table
from sparrow.training.optim import build_optimizer
from sparrow.training.settings import Optimizer
from sparrow.world import world_texts

FRAME_SIZE_PX = 448
TEXT = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 262_144,
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 5e6,
        "mrope_section": [24, 20, 20],
        "mrope_interleaved": True,
    },
}
VISION = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "num_position_embeddings": 2304,
}


def real_size(frame_size_px: int = FRAME_SIZE_PX, layers: int | None = None) -> Qwen3VL:
    """The backbone without its model."""
    tiny = tiny_size(frame_size_px)
    sizes = tiny.config.to_dict()
    sizes["text_config"] |= TEXT | {"num_hidden_layers": layers or 28}
    depth = layers or 24
    sizes["vision_config"] |= VISION | {"depth": depth, "deepstack_visual_indexes": [depth // 4, depth // 2]}
    return Qwen3VL(tiny.processor, type(tiny.config)(**sizes | {"tie_word_embeddings": True}), frame_size_px)


def tiny_size(frame_size_px: int = FRAME_SIZE_PX) -> Qwen3VL:
    """The family's tiny sibling without its model."""
    config, processor = Qwen3VL.tiny(world_texts(), frame_size_px, TinySizes())
    return Qwen3VL(processor, config, frame_size_px)


def with_random_weights(backbone: Qwen3VL, attention: str, device: str, dtype: torch.dtype) -> Qwen3VL:
    """The backbone with a model on the device, a function of the arguments."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(backbone.config, dtype=dtype, attn_implementation=attention)
    return backbone.with_model(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--attention", nargs="+", default=["sdpa"])
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the tiny sibling's sizes, to try the script out")
    options = parser.parse_args()
    for attention in options.attention:
        measure(attention, options)


def measure(attention: str, options: argparse.Namespace) -> None:
    sizes = tiny_size() if options.tiny else real_size()
    backbone = with_random_weights(sizes, attention, options.device, torch.bfloat16)
    tuning = Tuning(activation_checkpointing=True)
    apply_tuning(backbone, tuning)
    print(tuning_table(backbone, tuning, 5e-6))
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (FRAME_SIZE_PX, FRAME_SIZE_PX, 3), dtype=np.uint8)] * options.frames
    words = {"type": "text", "text": "Describe the clip."}
    chat = [
        {"role": "user", "content": [{"type": "image"}] * options.frames + [words]},
        {"role": "assistant", "content": [{"type": "text", "text": "A red circle moves left."}]},
    ]
    tokens = backbone.tokenize_chat(chat, [frame.shape[:2] for frame in frames])
    ids = torch.from_numpy(tokens.input_ids).to(options.device)
    places = torch.from_numpy(np.flatnonzero(tokens.supervised)).to(options.device)
    prepared = backbone.prepare_frames(frames).to(options.device)
    optimizer = build_optimizer(backbone.parts(), Optimizer(), tuning)
    losses, times = [], []
    for _ in range(options.steps):
        started = time.perf_counter()
        logits = backbone.forward(ids[None], None, prepared, logits_to_keep=places - 1).logits[0]
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - started)
    memory = torch.cuda.max_memory_allocated() / 2**30 if options.device == "cuda" else float("nan")
    print(
        f"{attention}: {len(ids)} tokens, {np.median(times):.3f} s a step, {len(ids) / np.median(times):.0f} tokens/s, "
        f"{memory:.1f} GiB, loss {losses[0]:.4f} to {losses[-1]:.4f}\n"
    )


if __name__ == "__main__":
    main()
