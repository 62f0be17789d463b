"""Packed rows without a mask of their square: sample by sample, and in the words of varlen attention."""

from itertools import pairwise

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from sparrow.models.frame_buffer import Frames
from sparrow.models.hidden_states import hidden_states
from sparrow.models.loading import LoadOptions, outline
from sparrow.models.packed_attention import BY_SAMPLE
from sparrow.training.strategies import fill_outline
from tests.models.chats import CHAT, OTHER_CHAT, TEXT_CHAT, encoded


def samples_of(backbone, frames):
    """Several images, none, and one."""
    chats = ((CHAT, frames), (TEXT_CHAT, []), (OTHER_CHAT, frames[1:]))
    return [encoded(backbone, chat, shown) for chat, shown in chats]


def packed(backbone, samples):
    """Hidden states of a row of samples."""
    with torch.inference_mode():
        return hidden_states(
            backbone,
            torch.cat([ids for ids, _, _ in samples])[None],
            None,
            Frames.joined([prepared for _, _, prepared in samples]),
            position_ids=backbone.packed_position_ids([(ids, prepared) for ids, _, prepared in samples]),
            sample_lengths=[len(ids) for ids, _, _ in samples],
        )


def alone(backbone, samples):
    """Hidden states of the samples one by one."""
    with torch.inference_mode():
        return torch.cat([hidden_states(backbone, ids[None], None, prepared) for ids, _, prepared in samples], dim=1)


def require_packing(backbone):
    if not backbone.supports_packing:
        pytest.skip("its samples cannot share a row")


@pytest.mark.parametrize("filled_in_later", [False, True])
def test_no_mask_is_built_for_a_packed_row(backbone, frames, monkeypatch, filled_in_later):
    require_packing(backbone)
    if filled_in_later:  # as shards are
        whole, backbone = backbone, outline(backbone, LoadOptions())
        fill_outline(backbone.model, whole.model.state_dict(), whole.model)
    samples = samples_of(backbone, frames)
    expected = alone(backbone, samples)

    def refused(**_):
        raise AssertionError("a mask was built")

    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._global_mapping, BY_SAMPLE, refused)
    torch.testing.assert_close(packed(backbone, samples), expected, atol=1e-4, rtol=0)
    with pytest.raises(AssertionError, match="a mask was built"):
        alone(backbone, samples)


def test_flash_attention_is_told_where_samples_end(family, load_tiny, frames, monkeypatch):
    """A stand-in for the kernel, which computes what it is told to: within the given boundaries alone."""
    backbone = load_tiny(family, attn_implementation="eager")
    require_packing(backbone)
    told = []

    def varlen(module, query, key, value, attention_mask, cu_seq_lens_q=None, cu_seq_lens_k=None, **options):
        assert attention_mask is None
        bounds = cu_seq_lens_q.tolist() if cu_seq_lens_q is not None else [0, query.shape[2]]
        if cu_seq_lens_q is not None:
            assert torch.equal(cu_seq_lens_q, cu_seq_lens_k)
            assert options["max_length_q"] == options["max_length_k"] == cu_seq_lens_q.diff().max()
            told.append(bounds)
        pieces = [
            sdpa_attention_forward(module, *(s[:, :, begin:end] for s in (query, key, value)), None, **options)[0]
            for begin, end in pairwise(bounds)
        ]
        return torch.cat(pieces, dim=1), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_stand_in", varlen)
    backbone.model.set_attn_implementation({"text_config": "flash_stand_in"})
    samples = samples_of(backbone, frames)
    torch.testing.assert_close(packed(backbone, samples), alone(backbone, samples), atol=1e-4, rtol=0)
    assert len(told) == backbone.config.get_text_config().num_hidden_layers
