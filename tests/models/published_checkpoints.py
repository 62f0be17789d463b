"""Checkpoints as their publishers have them, cut down: layers and widths are small, key names, settings and ids real."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForImageTextToText

FACTS = Path(__file__).parent / "published"
SHARED = Path(__file__).parents[2].parent / "shared" / "published"  # publishers' chat templates, not of this project
NAMES = sorted(path.stem for path in FACTS.glob("*.json"))
WITH_TENSORS = [name for name in NAMES if "tensors" in json.loads((FACTS / f"{name}.json").read_text())]
SMALL = [name for name in WITH_TENSORS if name.startswith(("internvl", "llava", "smolvlm"))]
ONE_A_FAMILY = (
    *("gemma3_4b", "granite_docling", "internvl3_1b", "llava_onevision_0_5b", "minicpmv"),
    *("qwen2_5_vl_3b", "qwen3_vl_2b", "smolvlm_256m"),
)
# A template in the manner of Granite-Docling's.
OWN_TURNS = (
    "{% for message in messages %}<|start_of_role|>{{ message.role }}<|end_of_role|>"
    "{% for part in message.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}"
    "<|end_of_text|>\n{% endfor %}{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
OF_SHARED = ("video_preprocessor_config", "preprocessor_config", "processor_config", "generation_config")


def facts_of(name: str) -> dict:
    """What is known of a published checkpoint."""
    return json.loads((FACTS / f"{name}.json").read_text())


def published_template(name: str) -> str | None:
    """The publisher's chat template, where it is at hand."""
    folder = SHARED / name
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text()
    path = folder / "chat_template.json"
    return json.loads(path.read_text())["chat_template"] if path.is_file() else None


def write_checkpoint(
    name: str, folder: Path, *, weights: bool = True, template: str | None = None, tokenizer: Tokenizer | None = None
) -> Path:
    """A folder in the layout of a published checkpoint, with random weights and a tokenizer that knows its markers.

    Words are bytes unless a `tokenizer` with the real vocabulary is given.
    """
    facts = facts_of(name)
    folder.mkdir(parents=True)
    for file in ("config", *OF_SHARED):
        if file in facts:
            (folder / f"{file}.json").write_text(json.dumps(facts[file]))
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    _write_tokenizer(facts, folder, tokenizer)
    if weights:
        dtype = {"llava": torch.float16, "smolv": torch.float32}.get(name[:5], torch.bfloat16)
        shapes = facts.get("tensors") or _shapes(folder)
        tensors = {key: _random(key, shape, seed).to(dtype) for seed, (key, shape) in enumerate(shapes.items())}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _random(key: str, shape: list[int], seed: int) -> torch.Tensor:
    """Weights that repeat themselves, as drawing each number of a real vocabulary takes its time."""
    drawn = torch.randn(4099, generator=torch.Generator().manual_seed(seed)) * 0.1
    if "norm" in key and key.endswith("weight"):
        drawn += 1
    size = torch.Size(shape).numel()
    return drawn.repeat(-(-size // len(drawn)))[:size].reshape(shape)


def _shapes(folder: Path) -> dict[str, list[int]]:
    """Tensors of a checkpoint whose published names are not at hand: those that the library writes."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    tied = set(model.all_tied_weights_keys)
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def _write_tokenizer(facts: dict, folder: Path, tokenizer: Tokenizer | None) -> None:
    added = facts["added_tokens"]
    if tokenizer is None:
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        first = 300 if min(added.values()) < len(letters) else 0
        vocabulary = {letter: first + place for place, letter in enumerate(letters)} | added
        tokenizer = Tokenizer(models.BPE(vocabulary, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens(
        [
            AddedToken(token, special=token not in facts["not_special"], normalized=False)
            for token in sorted(added, key=added.get)
        ]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {key: value for key, value in facts["tokenizer_config"].items() if value is not None}
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
