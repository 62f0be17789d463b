"""How many floating-point operations a sample takes, from the model's configuration alone.

Two for each multiplication and addition, matrix products only, as in PaLM's appendix B (arXiv 2204.02311):

    forward = 2 W_embed p + 2 W_vision p + 4 A_vision + 2 W_projector t    for each frame of p patches and t tokens
            + 2 W_language n + 4 A_language                                for the n tokens of the sample
            + 2 W_head s                                                   for its s supervised tokens

W are numbers of weights in linear and convolution layers, A sums over layers of (width of all heads) x (query-key
pairs): n^2 in full attention, without halving for causality, n x window in sliding attention. Linear attention counts
the products of its chunked form. Training takes three times the forward where all is trained: see
`ModelFlops.training`. Padding, recomputation and frames that only keep ranks in step are not counted, so that the
figure is that of the model, as in model FLOPs utilisation.

Patches follow from tokens as in images, which is too few in native video: LLaVA-OneVision pools tokens after its
encoder and projector, whose work is counted at a quarter; of the Qwens, which encode two frames as one, the attention
between patches is counted at half.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForImageTextToText

from sparrow.models.backbone import Backbone
from sparrow.models.settings import Tuning

DELTA_RULE_CHUNK_TOKENS = 64
PATCHES_MERGED = 4
MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
# What `ModelFlops.forward` counts of each part, in the order of the data: products with weights, and of activations.
PRODUCTS = {
    "vision": (("vision",), ("vision_attention",)),
    "projector": (("projector",), ()),
    "language_model": (("language_model", "head"), ("attention",)),
}


class ModelFlops:
    """Operations of samples on one model, whose layers are counted without its weights; where no tuning is given, all
    parts learn.
    """

    def __init__(self, backbone: Backbone, tuning: Tuning | None = None) -> None:
        with torch.device("meta"):
            skeleton: Any = AutoModelForImageTextToText.from_config(backbone.config)
        parts = backbone.with_model(skeleton).parts()
        self.tuning = tuning or Tuning()
        self.text = backbone.config.get_text_config()
        self.vision = backbone.config.vision_config
        self.embed_weights = _weights(parts["vision"], CONVOLUTIONS)
        self.vision_weights = self._patch_weights(parts["vision"]) - self.embed_weights
        self.projector_weights = sum(p.numel() for p in parts["projector"].parameters() if p.ndim == 2)
        self.head_weights = skeleton.lm_head.weight.numel()
        self.language_weights = _weights(parts["language_model"], MATRIX_LAYERS) - self.head_weights

        side = backbone.frame_size_px
        size = backbone.prepared_size((side, side))
        frame_ids = backbone.frame_token_ids(size)
        content = max(Counter(frame_ids).values())
        patch = self.vision.patch_size
        patch_px = patch if isinstance(patch, int) else patch[0]
        self.marker_tokens = len(frame_ids) - content
        self.patches_a_token = (size[0] // patch_px) * (size[1] // patch_px) / content

    def forward(
        self,
        visual_tokens: np.ndarray,
        text_tokens: np.ndarray,
        num_frames: np.ndarray,
        supervised_tokens: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Operations of the forward pass of each sample by what they are for, float64 [n] each.

        The frames of a sample are taken to be of equal size; visual tokens are counted with their markers.
        """
        frames = np.asarray(num_frames, dtype=np.float64)
        tokens = np.asarray(visual_tokens + text_tokens, dtype=np.float64)
        content = visual_tokens / np.maximum(frames, 1) - self.marker_tokens * (frames > 0)
        patches = content * self.patches_a_token
        return {
            "embed": 2.0 * self.embed_weights * frames * patches,
            "vision": 2.0 * self.vision_weights * frames * self._seen(patches),
            "vision_attention": frames * self._vision_attention(self._seen(patches)),
            "projector": 2.0 * self.projector_weights * frames * content,
            "language_model": 2.0 * self.language_weights * tokens,
            "attention": self._attention(tokens),
            "head": 2.0 * self.head_weights * np.asarray(supervised_tokens, dtype=np.float64),
        }

    def training(
        self,
        visual_tokens: np.ndarray,
        text_tokens: np.ndarray,
        num_frames: np.ndarray,
        supervised_tokens: np.ndarray,
    ) -> np.ndarray:
        """Operations of forward and backward pass, float64 [n]; the arguments are those of `forward`.

        The backward pass takes as much again for the gradients of a part's weights, where they are trained, and for
        those of its activations, where it or a part before it learns; nobody needs those of the pixels. Attention has
        no weights, and two products in the backward pass for each of the forward pass. Low-rank adapters themselves
        are not counted.
        """
        forward = self.forward(visual_tokens, text_tokens, num_frames, supervised_tokens)
        total = forward["embed"] * (2.0 if self.tuning.vision.mode == "trained" else 1.0)
        learns = False
        for part, (matrices, attention) in PRODUCTS.items():
            mode = self.tuning.parts[part].mode
            learns = learns or mode != "frozen"
            total = total + sum(forward[name] for name in matrices) * (1.0 + learns + (mode == "trained"))
            total = total + sum(forward[name] for name in attention) * (1.0 + 2.0 * learns)
        return total

    def _attention(self, tokens: np.ndarray) -> np.ndarray:
        """Operations between the tokens of each sample, over the language model's layers."""
        text = self.text
        heads = text.num_attention_heads
        width = heads * (getattr(text, "head_dim", None) or text.hidden_size // heads)
        total = np.zeros_like(tokens)
        for kind in getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers:
            if kind == "linear_attention":
                total += 2.0 * self._delta_rule_products() * tokens
            elif kind == "sliding_attention":
                total += 4.0 * width * tokens * np.minimum(tokens, text.sliding_window)
            else:
                total += 4.0 * width * tokens**2
        return total

    def _delta_rule_products(self) -> int:
        """Products a token and layer of the gated delta rule in chunks (arXiv 2412.06464)."""
        text, chunk = self.text, DELTA_RULE_CHUNK_TOKENS
        key, value = text.linear_key_head_dim, text.linear_value_head_dim
        return int(text.linear_num_value_heads * (2 * chunk * key + chunk * value + 3 * key * value))

    def _patch_weights(self, vision: Any) -> float:
        """Weights of the vision encoder that act on a patch; those behind a merging of patches count for less."""
        weights = float(_weights(vision, MATRIX_LAYERS))
        if self._merging_layer is None:
            return weights
        merger = vision.vit_merger
        late = [*vision.encoder.layers[self._merging_layer + 1 :], merger.linear_1, merger.linear_2]
        return weights - sum(_weights(module, MATRIX_LAYERS) for module in late) * (1 - 1 / PATCHES_MERGED)

    @property
    def _merging_layer(self) -> int | None:
        """The layer of the vision encoder after which four patches become one (MiniCPM-V)."""
        return getattr(self.vision, "insert_layer_id", None)

    def _seen(self, patches: np.ndarray) -> np.ndarray:
        """Positions of the vision encoder for a frame; InternViT adds a class token."""
        return patches + (patches > 0) if self.vision.model_type == "internvl_vision" else patches

    def _vision_attention(self, patches: np.ndarray) -> np.ndarray:
        """Operations between the patches of one frame, over the vision encoder's layers."""
        vision = self.vision
        num_layers = getattr(vision, "depth", None) or vision.num_hidden_layers
        if self._merging_layer is not None:
            early = self._merging_layer + 1
            pairs = early * patches**2 + PATCHES_MERGED * patches
            pairs = pairs + (num_layers - early) * (patches / PATCHES_MERGED) ** 2
        elif getattr(vision, "fullatt_block_indexes", None):
            full = len(vision.fullatt_block_indexes)
            window = (vision.window_size // vision.patch_size) ** 2
            pairs = full * patches**2 + (num_layers - full) * patches * np.minimum(patches, window)
        else:
            pairs = num_layers * patches**2
        return np.asarray(4.0 * vision.hidden_size * pairs)


def _weights(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> int:
    """Numbers in the weights of a module's layers of some kinds."""
    layers: list[Any] = [layer for layer in module.modules() if isinstance(layer, kinds)]
    return sum(layer.weight.numel() for layer in layers)
