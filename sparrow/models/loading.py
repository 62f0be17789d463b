"""Loading a backbone from a Hugging Face folder or Hub id; a tiny sibling is made first, then loaded alike."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import torch
from filelock import FileLock
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig

from sparrow.core.errors import BackboneError
from sparrow.core.files import drafted, remove_drafts, user_path
from sparrow.core.hashing import content_hash, file_hash
from sparrow.models import tiny
from sparrow.models.adapters import load_adapters, merge_adapters
from sparrow.models.backbone import Backbone
from sparrow.models.checkpoint_files import (
    Checkpoint,
    base_of_adapters,
    explained,
    family_of,
    require_processor,
    require_weights,
    stores_output_head,
)
from sparrow.models.packed_attention import use_attention_by_sample
from sparrow.models.quantization import nf4
from sparrow.models.registry import FAMILIES, check_family, check_flash_attention
from sparrow.models.settings import BackboneSettings, CheckpointOptions, Template
from sparrow.models.template_choice import choose_template


def find_family(name: str) -> type[Backbone]:
    """The adapter of a family.

    Raises:
        ConfigError: If there is none of that name.
    """
    check_family(name)
    adapter: type[Backbone] = FAMILIES[name]
    return adapter


@dataclass(frozen=True)
class LoadOptions:
    """How a checkpoint is loaded: the settings of `BackboneSettings`, each as the checkpoint has it where None.

    Args:
        family: The expected family; read from the checkpoint where None.
        with_model: False loads the processor and configuration only, enough to count tokens.
        dtype: Type of the weights; `auto` as they are stored.
        attn_implementation: As in transformers.
        quantization: `nf4` keeps the linear layers in four bits; None leaves them as they are.
        num_replicas: Copies of the model among the connected processes.
        num_shards: Processes that share a copy: each reads its shard of every tensor only.
    """

    frame_size_px: int | None = None
    family: str | None = None
    revision: str | None = None
    with_model: bool = True
    dtype: torch.dtype | str = torch.float32
    attn_implementation: str = "sdpa"
    trust_remote_code: bool = False
    quantization: str | None = None
    native_video: bool = False
    min_frame_size_px: int | None = None
    template: Template | None = None
    thinking: bool | None = None
    num_replicas: int = 1
    num_shards: int = 1

    @classmethod
    def of(cls, settings: BackboneSettings | CheckpointOptions, **others: Any) -> Self:
        """The options that the settings name, and others; `attn_implementation` may be `auto` in the settings."""
        names = {field.name for field in fields(cls)} - {"attn_implementation"}
        chosen = {name: value for name, value in vars(settings).items() if name in names and value is not None}
        return cls(**(chosen | others))


def load_backbone(checkpoint: str, options: LoadOptions | None = None, **changes: Any) -> Backbone:
    """Load processor and, if asked, model.

    Args:
        checkpoint: A Hugging Face folder, or a Hub id (taken from the local cache when `HF_HUB_OFFLINE=1`). A folder
            of adapters names the checkpoint that they belong to.
        options: How it is loaded.
        changes: Fields of `LoadOptions` by keyword, in place of those of `options`.

    Raises:
        BackboneError: If the checkpoint is missing, of another family, or has code of its own; or if native video or
            flash attention is asked of a family that it is not offered for.
    """
    options = replace(options or LoadOptions(), **changes)
    given = Checkpoint(user_path(checkpoint), options.revision)
    if options.family is not None:
        check_family(options.family)
    adapter = find_family(family_of(given, options.family))
    if "flash" in options.attn_implementation:
        check_flash_attention(adapter.family)
    require_processor(given)
    code: dict[str, Any] = {"trust_remote_code": options.trust_remote_code}
    with explained(given):
        config = AutoConfig.from_pretrained(given.name, revision=given.revision, **code)
        # Pillow resizes alike whether torchvision is installed or not.
        processor = adapter.processor_class.from_pretrained(given.name, revision=given.revision, backend="pil", **code)
        origin = given.pinned
        video_settings = given.settings("video_preprocessor_config.json")
        _tie_as_stored(config, given)
    with explained(given, "generation_config.json"):  # which the weights are read with
        GenerationConfig.from_dict(given.settings("generation_config.json")).validate()
    # What does not fit is refused before the weights are read.
    size_px = options.frame_size_px or adapter.frame_size_of(processor)
    own_template = processor.chat_template or processor.tokenizer.chat_template
    backbone = adapter(
        processor,
        config,
        size_px,
        native_video=options.native_video,
        min_frame_size_px=options.min_frame_size_px,
    )
    backbone.origin, backbone.video_settings = origin, video_settings
    backbone.template_choice = choose_template(backbone, own_template, options.template, options.thinking, given.name)
    if not options.with_model:
        return backbone
    of_model = code | {"dtype": options.dtype, "attn_implementation": options.attn_implementation, "config": config}
    if options.quantization is not None:
        of_model["quantization_config"] = nf4()
    if options.num_replicas * options.num_shards > 1:
        from transformers.distributed.configuration_utils import DistributedConfig

        of_model["distributed_config"] = DistributedConfig(
            fsdp_size=options.num_shards, dp_replicate_size=options.num_replicas
        )
    return _attending(backbone.with_model(_read_model(given, **of_model)), options.attn_implementation)


def _tie_as_stored(config: Any, checkpoint: Checkpoint) -> None:
    """Let the output head be the embeddings where the checkpoint stores none, whatever its configuration says.

    transformers and vLLM each have defaults of their own, and read one of the two places.
    """
    stored = stores_output_head(checkpoint)
    if stored is not None:
        config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = not stored


def outline(backbone: Backbone, options: LoadOptions) -> Backbone:
    """The backbone with its model on the meta device: all modules and shapes, no weights."""
    with torch.device("meta"):
        model: nn.Module = AutoModelForImageTextToText.from_config(
            backbone.config, dtype=options.dtype, attn_implementation=options.attn_implementation
        )
    return _attending(backbone.with_model(model), options.attn_implementation)


def _attending(backbone: Backbone, attn_implementation: str) -> Backbone:
    """The backbone, which attends sample by sample where torch's attention would build a mask of a packed row."""
    if attn_implementation == "sdpa" and backbone.supports_packing:
        use_attention_by_sample(backbone.model)
    return backbone


def _read_model(checkpoint: Checkpoint, **options: Any) -> Any:
    """The model with its weights; adapters go beside those of the checkpoint that they belong to."""
    require_weights(checkpoint)
    base = base_of_adapters(checkpoint.name)
    if base is not None:
        model = _read_model(base, **options)
        merge_adapters(model)
        with explained(checkpoint):
            load_adapters(model, Path(checkpoint.name))
        return model
    name, revision = checkpoint
    with explained(checkpoint):
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name, revision=revision, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    model, found = loaded
    lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
    unknown = found["unexpected_keys"]
    if lacking:
        raise BackboneError(
            f"checkpoint {name!r} lacks {len(lacking)} of its model's tensors, or has them in other sizes, such as "
            f"{min(lacking)}, which would be random: copy or download it anew"
        )
    if unknown:
        raise BackboneError(
            f"checkpoint {name!r} holds {len(unknown)} tensors that its model has no place for, such as "
            f"{min(unknown)}, which would be dropped: correct its config.json, or take a checkpoint in transformers' "
            "own format"
        )
    return model


def ensure_tiny(
    cache_root: Path, family: str, texts: Sequence[str], *, frame_size_px: int, seed: int, width: int = 1
) -> Path:
    """Folder of a family's tiny checkpoint, made where it is not there yet; a pure function of the arguments."""
    adapter = find_family(family)
    modules = [inspect.getmodule(kind) for kind in adapter.__mro__ if issubclass(kind, Backbone)]
    code = [file_hash(Path(inspect.getfile(module))) for module in (*modules, tiny) if module]
    key = content_hash([family, list(texts), frame_size_px, seed, width, code])
    folder = cache_root / "tiny" / f"{family}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            remove_drafts(folder)
            with drafted(folder) as draft:
                sizes = tiny.TinySizes(width)
                adapter.make_tiny(draft, texts, frame_size_px=frame_size_px, seed=seed, sizes=sizes)
    return folder
