"""Every family against its own reference code; a new entry of the registry is tested here without a change."""

import json

import numpy as np
import pytest
import torch
from PIL import Image as PIL
from transformers import AutoModelForImageTextToText, AutoProcessor

from sparrow.core.errors import BackboneError, DataError
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.models.registry import FAMILIES
from sparrow.world import world_texts

CHAT = [
    {"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "What colour is it?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "red"}]},
    {"role": "user", "content": [{"type": "text", "text": "And the shape?"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "circle"}]},
]


@pytest.fixture(params=sorted(FAMILIES), scope="module")
def backbone(request, tiny_checkpoint):
    return load_backbone(str(tiny_checkpoint(request.param)), family=request.param, frame_size_px=64)


@pytest.fixture
def frames():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, size, dtype=np.uint8) for size in ((64, 64, 3), (50, 90, 3))]


def test_tokens_and_pixels_are_those_of_the_familys_processor(backbone, frames):
    sizes = [frame.shape[:2] for frame in frames]
    chat = backbone.tokenize_chat(CHAT, sizes)
    prompt = backbone.processor.apply_chat_template(CHAT, tokenize=False)
    reference = backbone.processor(
        text=prompt, images=[PIL.fromarray(f) for f in frames], return_tensors="pt", add_special_tokens=False
    )
    assert chat.input_ids.tolist() == reference["input_ids"][0].tolist()
    assert chat.num_visual_tokens == sum(backbone.visual_tokens(size, 1) for size in sizes)
    ours = backbone.pixel_inputs(backbone.prepare_frames(frames), torch.float32)
    torch.testing.assert_close(ours["pixel_values"], reference["pixel_values"], atol=1e-5, rtol=0)


def test_loss_and_gradients_are_those_of_the_transformers_model(backbone, frames):
    chat = backbone.tokenize_chat(CHAT, [f.shape[:2] for f in frames])
    ids = torch.from_numpy(chat.input_ids)[None]
    labels = torch.where(torch.from_numpy(chat.supervised)[None], ids, -100)
    prompt = backbone.processor.apply_chat_template(CHAT, tokenize=False)
    reference = backbone.processor(
        text=prompt, images=[PIL.fromarray(f) for f in frames], return_tensors="pt", add_special_tokens=False
    )
    backbone.model.zero_grad()
    expected = backbone.model(**reference, labels=labels).loss
    expected.backward()
    expected_gradients = [p.grad.clone() for p in backbone.model.parameters() if p.grad is not None]
    backbone.model.zero_grad()
    logits = backbone.forward(ids, None, backbone.prepare_frames(frames)).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:])
    loss.backward()
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(
        (p.grad for p in backbone.model.parameters() if p.grad is not None), expected_gradients, strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_only_the_assistants_words_and_their_end_are_supervised(backbone):
    chat = backbone.tokenize_chat(CHAT, [(64, 64)] * 2)
    runs = np.split(np.flatnonzero(chat.supervised), np.flatnonzero(np.diff(np.flatnonzero(chat.supervised)) > 1) + 1)
    texts = [backbone.tokenizer.decode(chat.input_ids[run]) for run in runs]
    end = backbone.tokenizer.eos_token
    assert [text.strip() for text in texts] == [f"red{end}", f"circle{end}"]


def test_a_grey_page_is_a_frame(backbone):
    page = np.full((64, 64), 200, dtype=np.uint8)
    colour = np.full((64, 64, 3), 200, dtype=np.uint8)
    assert torch.equal(backbone.prepare_frames([page]), backbone.prepare_frames([colour]))


def test_text_with_a_control_token_is_refused(backbone):
    token = backbone.tokenizer.decode([backbone.image_token_id])
    with pytest.raises(DataError, match="control token"):
        backbone.tokenize_chat([{"role": "user", "content": [{"type": "text", "text": f"a {token} b"}]}], [])


def test_parts_hold_every_parameter_once(backbone):
    held = [id(p) for part in backbone.parts().values() for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in backbone.model.parameters())
    assert set(backbone.parts()) == {"vision", "projector", "language_model"}
    assert all(isinstance(block, torch.nn.Module) for block in backbone.blocks())


def test_saved_folder_opens_with_transformers_and_gives_the_same_logits(backbone, frames, tmp_path):
    backbone.save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    processor = AutoProcessor.from_pretrained(tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path)
    prompt = processor.apply_chat_template(CHAT, tokenize=False)
    inputs = processor(
        text=prompt, images=[PIL.fromarray(f) for f in frames], return_tensors="pt", add_special_tokens=False
    )
    ids = torch.from_numpy(backbone.tokenize_chat(CHAT, [f.shape[:2] for f in frames]).input_ids)[None]
    ours = backbone.forward(ids, None, backbone.prepare_frames(frames)).logits
    torch.testing.assert_close(model(**inputs).logits, ours, atol=1e-5, rtol=1e-5)


def test_padding_changes_nothing(backbone, frames):
    ids = torch.from_numpy(backbone.tokenize_chat(CHAT, [f.shape[:2] for f in frames]).input_ids)
    prepared = backbone.prepare_frames(frames)
    alone = backbone.forward(ids[None], None, prepared).logits[0]
    padded = torch.cat([ids, torch.full((7,), backbone.tokenizer.pad_token_id)])[None]
    mask = (torch.arange(len(ids) + 7) < len(ids)).long()[None]
    torch.testing.assert_close(backbone.forward(padded, mask, prepared).logits[0, : len(ids)], alone, atol=1e-5, rtol=0)


def test_tiny_checkpoints_follow_from_the_seed(tmp_path):
    for family in FAMILIES:
        folders = [
            ensure_tiny(tmp_path / name, family, world_texts(), frame_size_px=64, seed=seed)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))
        ]
        weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
        assert weights[0] == weights[1] != weights[2]


def test_golden_tokens_of_idefics3(tiny_checkpoint):
    """The literal tokens and labels that masking and expansion must keep giving."""
    backbone = load_backbone(str(tiny_checkpoint("idefics3")), frame_size_px=64, with_model=False)
    chat = backbone.tokenize_chat(CHAT[:2], [(64, 64)] * 2)
    frame = ["<fake_token_around_image>", "<global-img>", *["<image>"] * 4, "<fake_token_around_image>"]
    question = ["What", "Ġcolour", "Ġis", "Ġit", "?"]
    tokens = backbone.tokenizer.convert_ids_to_tokens(chat.input_ids.tolist())
    text = "".join(tokens).replace("Ġ", " ").replace("Ċ", "\n")
    images = "".join(frame * 2)
    expected = f"<|begin_of_text|>User:{images}What colour is it?<end_of_utterance>\nAssistant: red<end_of_utterance>\n"
    assert text == expected
    assert tokens[-4:] == [":", "Ġred", "<end_of_utterance>", "Ċ"], question
    assert chat.supervised.tolist() == [False] * (len(tokens) - 3) + [True, True, False]


def test_a_missing_folder_and_another_family_are_refused(tmp_path, tiny_checkpoint):
    with pytest.raises(BackboneError, match="does not exist"):
        load_backbone(str(tmp_path / "nowhere"), frame_size_px=64)
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(BackboneError, match="family 'llama'"):
        load_backbone(str(folder), family="idefics3", frame_size_px=64)
    with pytest.raises(BackboneError, match="multiple of 32"):
        load_backbone(str(tiny_checkpoint("idefics3")), frame_size_px=65)
