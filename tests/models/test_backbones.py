"""Every family against its own reference code; a new entry of the registry is tested here without a change."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.utils import is_torchvision_available
from transformers.utils.chat_template_utils import render_jinja_template

from sparrow.core.errors import BackboneError, DataError
from sparrow.models.frame_buffer import Frames
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.models.registry import NATIVE_VIDEO
from sparrow.world import world_texts
from tests.models.chats import CHAT, OTHER_CHAT, TEXT_CHAT, assert_same_loss_and_gradients, encoded, processed

OFFICIAL = Path(__file__).parent / "official_templates"
SYSTEM = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
TIMES = ["<0.0 seconds>", "<63.2 seconds>"]
IN_PARTS = [
    {"role": "user", "content": [{"type": "text", "text": "Say "}, {"type": "text", "text": "two colours."}]},
    {"role": "assistant", "content": [{"type": "text", "text": "red"}, {"type": "text", "text": " and blue"}]},
]
OTHER_PARTS = [
    {"type": "video", "video": "clip.mp4"},
    {"type": "image", "url": "picture.png"},
    {"type": "image_url", "image_url": {"url": "picture.png"}},
]
WITHOUT_TORCHVISION = ("idefics3", "gemma3")


def test_tokens_and_pixels_are_those_of_the_familys_processor(backbone, frames):
    reference = processed(backbone, CHAT, frames)
    ids, _, prepared = encoded(backbone, CHAT, frames)
    assert ids.tolist() == reference["input_ids"][0].tolist()
    ours = backbone.pixel_inputs(prepared, torch.float32) | backbone.token_inputs(ids[None])
    for name, value in ours.items():
        if name == "image_sizes":
            continue  # LLaVA-OneVision reads them for tiled images only
        torch.testing.assert_close(torch.as_tensor(value), reference[name], atol=1e-6, rtol=0, check_dtype=False)


def test_times_stand_before_their_frames(backbone, frames):
    times_s = [0.0, 63.25]
    question = [{"type": "text", "text": "What colour is it?"}]
    timed = [{"type": "image", "time_s": time_s} for time_s in times_s]
    ours = backbone.tokenize_chat([{"role": "user", "content": timed + question}], [f.shape[:2] for f in frames])
    written = ["\nFrame from 00:00:", "\nFrame from 01:03:"] if backbone.family == "smolvlm" else TIMES
    content = [{"type": "image", "time": words} for words in written] + question
    theirs = processed(backbone, [{"role": "user", "content": content}], frames)["input_ids"][0]
    assert ours.input_ids.tolist() == theirs.tolist()
    assert ours.num_visual_tokens == sum(backbone.visual_tokens(frame.shape[:2], 1) for frame in frames)
    text = backbone.tokenizer.decode(ours.input_ids)
    pad = backbone.tokenizer.decode([np.bincount(backbone.frame_token_ids((64, 64))).argmax()])
    assert text.index(written[0]) < text.index(pad) < text.index(written[1]) < text.rindex(pad)


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (300, 40), (17, 23), (128, 128)])
def test_visual_tokens_are_counted_before_anything_is_decoded(backbone, size):
    picture = np.zeros((*size, 3), dtype=np.uint8)
    ids, _, prepared = encoded(backbone, CHAT, [picture] * 2)
    assert ids.tolist() == processed(backbone, CHAT, [picture] * 2)["input_ids"][0].tolist()
    chat = backbone.tokenize_chat(CHAT, [size] * 2)
    assert chat.num_visual_tokens == backbone.visual_tokens(size, 2)
    text_only = backbone.tokenize_chat([{**CHAT[0], "content": CHAT[0]["content"][2:]}, *CHAT[1:]], [])
    between = len(ids) - chat.num_visual_tokens - len(text_only.input_ids)
    assert 0 <= between <= 8, "markers that the chat template writes around each image"
    assert prepared.sizes == (backbone.prepared_size(size),) * 2


def test_loss_and_gradients_are_those_of_the_transformers_model(backbone, frames):
    ids, labels, prepared = encoded(backbone, CHAT, frames)
    assert_same_loss_and_gradients(backbone, processed(backbone, CHAT, frames), ids, labels, prepared)


def test_bfloat16_gives_nearly_the_same_loss(family, backbone, load_tiny, frames):
    ids, labels, prepared = encoded(backbone, CHAT, frames)
    losses = []
    for loaded in (backbone, load_tiny(family, dtype=torch.bfloat16)):
        with torch.inference_mode():
            logits = loaded.forward(ids[None], None, prepared).logits[0].float()
        losses.append(torch.nn.functional.cross_entropy(logits[:-1], labels[1:]).item())
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_only_chosen_logits_are_computed(backbone, frames):
    ids, _, prepared = encoded(backbone, CHAT, frames)
    with torch.inference_mode():
        whole = backbone.forward(ids[None], None, prepared).logits
        places = torch.tensor([3, len(ids) - 2])
        chosen = backbone.forward(ids[None], None, prepared, logits_to_keep=places).logits
    torch.testing.assert_close(chosen, whole[:, places], atol=1e-5, rtol=0)


def test_padding_on_either_side_changes_nothing(backbone, frames):
    ids, _, prepared = encoded(backbone, CHAT, frames)
    padding = torch.full((7,), backbone.tokenizer.pad_token_id)
    on, off = torch.ones(len(ids)), torch.zeros(7)
    with torch.inference_mode():
        alone = backbone.forward(ids[None], None, prepared).logits[0]
        right = backbone.forward(torch.cat([ids, padding])[None], torch.cat([on, off]).long()[None], prepared).logits
        left = backbone.forward(torch.cat([padding, ids])[None], torch.cat([off, on]).long()[None], prepared).logits
    torch.testing.assert_close(right[0, : len(ids)], alone, atol=1e-5, rtol=0)
    torch.testing.assert_close(left[0, 7:], alone, atol=1e-5, rtol=0)


def test_rows_with_and_without_frames_share_a_batch(backbone, frames):
    rows = [
        encoded(backbone, CHAT, frames),
        encoded(backbone, TEXT_CHAT, []),
        encoded(backbone, OTHER_CHAT, frames[:1]),
    ]
    ids = torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], True, backbone.tokenizer.pad_token_id)
    lengths = torch.tensor([len(row[0]) for row in rows])
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    with torch.inference_mode():
        together = backbone.forward(ids, mask, Frames.joined([row[2] for row in rows])).logits
        for logits, (row_ids, _, prepared) in zip(together, rows, strict=True):
            alone = backbone.forward(row_ids[None], None, prepared).logits[0]
            torch.testing.assert_close(logits[: len(row_ids)], alone, atol=1e-5, rtol=0)


def test_packed_samples_do_not_see_each_other(backbone, frames):
    samples = [
        encoded(backbone, CHAT, frames),
        encoded(backbone, OTHER_CHAT, frames[1:]),
        encoded(backbone, TEXT_CHAT, []),
    ]
    row = [(ids, prepared) for ids, _, prepared in samples]
    if not backbone.supports_packing:
        with pytest.raises(BackboneError, match="batching=padded"):
            backbone.packed_position_ids(row)
        return
    with torch.inference_mode():
        packed = backbone.forward(
            torch.cat([ids for ids, _ in row])[None],
            None,
            Frames.joined([prepared for _, _, prepared in samples]),
            position_ids=backbone.packed_position_ids(row),
        ).logits[0]
        alone = [backbone.forward(ids[None], None, prepared).logits[0] for ids, _, prepared in samples]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=0)


def test_positions_are_those_that_the_model_derives(backbone, frames):
    if not backbone.supports_packing:
        pytest.skip("positions are the model's own where samples do not share a row")
    core = backbone.model.model
    if not hasattr(core, "get_rope_index"):
        ids, _, prepared = encoded(backbone, CHAT, frames)
        assert backbone.position_ids(ids, prepared).tolist() == list(range(len(ids)))
        return
    inputs = processed(backbone, CHAT, frames)
    expected, _ = core.get_rope_index(inputs["input_ids"], inputs["mm_token_type_ids"], inputs["image_grid_thw"])
    ours = backbone.position_ids(inputs["input_ids"][0], backbone.prepare_frames(frames))
    assert ours[0].tolist() == list(range(inputs["input_ids"].shape[1]))
    assert torch.equal(ours[1:], expected[:, 0])


def test_what_follows_a_cached_prefix_is_what_follows_it_uncached(backbone, frames):
    ids, _, prepared = encoded(backbone, CHAT, frames)
    split = len(ids) - 9
    with torch.inference_mode():
        whole = backbone.forward(ids[None], None, prepared).logits[0, split:]
        cache = backbone.forward(ids[None, :split], None, prepared, use_cache=True).past_key_values
        cache = copy.deepcopy(cache)
        cache.reorder_cache(torch.zeros(2, dtype=torch.int64))
        suffix = ids[split:].expand(2, -1)
        mask = torch.ones((2, len(ids)), dtype=torch.int64)
        places = torch.arange(split, len(ids)).expand(2, -1)
        logits = backbone.forward(suffix, mask, None, position_ids=places, past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(logits, whole.expand(2, -1, -1), atol=1e-5, rtol=0)


def rendered(backbone, template, chat, add_generation_prompt):
    bos_token = backbone.tokenizer.bos_token or ""
    options = {"add_generation_prompt": add_generation_prompt, "bos_token": bos_token}
    return render_jinja_template([chat], chat_template=template, **options)[0][0]


def plain(chat):
    return [turn | {"content": turn["content"][0]["text"]} for turn in chat]


def shown(part):
    return {"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}


def test_the_template_renders_as_the_official_one(backbone):
    official = OFFICIAL / f"{backbone.family}.jinja"
    if not official.is_file():
        pytest.skip(f"the official chat template of {backbone.family} is not at hand to compare with")
    theirs = official.read_text().removesuffix("\n")
    chats = [CHAT, [SYSTEM, *CHAT], OTHER_CHAT, CHAT[:1], TEXT_CHAT, IN_PARTS]
    if "is string" in theirs:
        chats += [plain(TEXT_CHAT), [*plain([SYSTEM]), *CHAT]]
    chats += [[shown(part), *TEXT_CHAT[1:]] for part in OTHER_PARTS if f"'{part['type']}'" in theirs]
    for chat in chats:
        for add_generation_prompt in (False, True):
            expected = rendered(backbone, theirs, chat, add_generation_prompt)
            if backbone.family == "llava_onevision":  # a space in a history that is not in the prompt of a reply
                expected = expected.replace("<|im_start|>assistant \n", "<|im_start|>assistant\n")
            assert rendered(backbone, backbone.template.jinja, chat, add_generation_prompt) == expected


def test_a_turn_may_be_plain_text(backbone):
    chats = (TEXT_CHAT, plain(TEXT_CHAT)), ([SYSTEM, *TEXT_CHAT], [*plain([SYSTEM]), *plain(TEXT_CHAT)])
    for in_parts, as_text in chats:
        ours = [rendered(backbone, backbone.template.jinja, chat, True) for chat in (in_parts, as_text)]
        assert ours[0] == ours[1]
        assert "Say a colour." in ours[0]


# What the model reads for the two turns of the chat about two 64 px frames; what it learns stands in brackets.
IMAGE = {
    "idefics3": "<fake_token_around_image><global-img>" + 4 * "<image>" + "<fake_token_around_image>",
    "internvl": "<img>" + 4 * "<IMG_CONTEXT>" + "</img>\n",
    "qwen": "<|vision_start|>" + 4 * "<|image_pad|>" + "<|vision_end|>",
    "llava_onevision": 17 * "<image>",
    "minicpmv": "<image><|image_pad|></image>\n",
    "gemma3": "\n\n<start_of_image>" + 4 * "<image_soft_token>" + "<end_of_image>\n\n",
}
NO_THOUGHT = "<think>\n\n</think>\n\n"
CHAT_ML = (
    "<|im_start|>user\n{}What colour is it?<|im_end|>\n<|im_start|>assistant\n[red<|im_end|>]\n"
    "<|im_start|>user\nAnd the shape?<|im_end|>\n<|im_start|>assistant\n[circle<|im_end|>]\n"
)
GOLDEN = {
    "idefics3": f"<|begin_of_text|>User:{2 * IMAGE['idefics3']}What colour is it?<end_of_utterance>\n"
    "Assistant:[ red<end_of_utterance>]\nUser: And the shape?<end_of_utterance>\n"
    "Assistant:[ circle<end_of_utterance>]\n",
    "smolvlm": f"<|im_start|>User:{2 * IMAGE['idefics3']}What colour is it?<end_of_utterance>\n"
    "Assistant:[ red<end_of_utterance>]\nUser: And the shape?<end_of_utterance>\n"
    "Assistant:[ circle<end_of_utterance>]\n",
    "internvl": CHAT_ML.format(2 * IMAGE["internvl"]),
    "qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + CHAT_ML.format(2 * IMAGE["qwen"]),
    "qwen3_vl": CHAT_ML.format(2 * IMAGE["qwen"]),
    "llava_onevision": f"<|im_start|>user {2 * IMAGE['llava_onevision']}\nWhat colour is it?<|im_end|>"
    "<|im_start|>assistant\n[red<|im_end|>]<|im_start|>user \nAnd the shape?<|im_end|>"
    "<|im_start|>assistant\n[circle<|im_end|>]",
    "minicpmv": CHAT_ML.format(2 * IMAGE["minicpmv"]).replace("assistant\n", f"assistant\n{NO_THOUGHT}"),
    "minicpmv4_7": CHAT_ML.format(2 * IMAGE["minicpmv"]).replace("assistant\n", f"assistant\n{NO_THOUGHT}"),
    "gemma3": f"<bos><start_of_turn>user\n{2 * IMAGE['gemma3']}What colour is it?<end_of_turn>\n"
    "<start_of_turn>model\n[red<end_of_turn>]\n<start_of_turn>user\nAnd the shape?<end_of_turn>\n"
    "<start_of_turn>model\n[circle<end_of_turn>]\n",
}


def marked(backbone, chat):
    """The tokens as text, supervised runs in brackets."""
    pieces, inside = [], False
    for token, supervised in zip(chat.input_ids, chat.supervised, strict=True):
        if supervised != inside:
            pieces.append("[" if supervised else "]")
            inside = bool(supervised)
        pieces.append(backbone.tokenizer.decode([token]))
    return "".join(pieces) + ("]" if inside else "")


def test_golden_tokens_and_labels(backbone):
    """The literal tokens that expansion and masking must keep giving."""
    assert marked(backbone, backbone.tokenize_chat(CHAT, [(64, 64)] * 2)) == GOLDEN[backbone.family]


def test_an_answer_is_learnt_behind_the_prompt_that_asks_for_it(backbone, frames):
    sizes = [frame.shape[:2] for frame in frames]
    learnt = backbone.tokenize_chat(CHAT[:2], sizes)
    prompt = backbone.tokenize_chat(CHAT[:1], sizes, add_generation_prompt=True).input_ids.tolist()
    assert learnt.input_ids[: learnt.supervised.argmax()].tolist() == prompt


def test_every_answer_is_supervised_with_its_end(backbone):
    text = marked(backbone, backbone.tokenize_chat([SYSTEM, *CHAT], [(64, 64)] * 2))
    learnt = [piece.split("]")[0].strip() for piece in text.split("[")[1:]]
    assert learnt == [f"red{backbone.end_of_turn}", f"circle{backbone.end_of_turn}"]
    assert backbone.tokenizer.eos_token == backbone.end_of_turn


def test_a_grey_page_is_a_frame(backbone):
    page = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    colour = np.repeat(page[..., None], 3, axis=2)
    for cut in (64, 40):
        grey, rgb = (backbone.prepare_frames([picture[:cut]]) for picture in (page, colour))
        assert grey.sizes == rgb.sizes
        assert torch.equal(grey.pixels, rgb.pixels)


def test_text_with_a_control_token_is_refused(family, load_tiny, monkeypatch):
    backbone = load_tiny(family, with_model=False)
    backbone.tokenizer.add_tokens([AddedToken("<|added|>", special=True)])
    of_video = [backbone.video_token_id] if family in NATIVE_VIDEO else []
    shown = [backbone.tokenizer.decode([token]) for token in (backbone.image_token_id, *of_video)]
    # Checkpoints differ in what they call special.
    monkeypatch.setattr(type(backbone.tokenizer), "all_special_tokens", [])
    assert "<|added|>" not in backbone.tokenizer.all_special_tokens
    for token in (*shown, "<|added|>", backbone.end_of_turn):
        with pytest.raises(DataError, match=rf"control token {re.escape(repr(token))}"):
            backbone.tokenize_chat([{"role": "user", "content": [{"type": "text", "text": f"a {token} b"}]}], [])


@pytest.mark.parametrize("blank", ["", " \n", "\u200b"])
def test_a_blank_answer_is_refused(backbone, blank):
    chat = [*TEXT_CHAT, CHAT[2], {"role": "assistant", "content": [{"type": "text", "text": blank}]}]
    with pytest.raises(DataError, match=r"assistant turn is blank.*; remove the turn"):
        backbone.tokenize_chat(chat, [])


@pytest.mark.parametrize("size", [(2000, 3), (3, 2000)])
def test_a_frame_of_any_proportions_is_shown_or_refused_as_data(backbone, size):
    try:
        chat = backbone.tokenize_chat(OTHER_CHAT, [size])
    except DataError as error:
        assert f"a frame of {size[1]} x {size[0]} px cannot be shown to {backbone.family}" in str(error)
        assert "on_bad_sample=skip" in str(error)
    else:
        assert chat.num_visual_tokens == backbone.visual_tokens(size, 1)


def test_parts_hold_every_parameter_once(backbone):
    held = {id(p): name for name, part in backbone.parts().items() for p in part.parameters()}
    assert set(held) == {id(p) for p in backbone.model.parameters()}
    assert sum(len(list(part.parameters())) for part in backbone.parts().values()) >= len(held)
    assert set(held.values()) == {"vision", "projector", "language_model"}
    layers = backbone.config.get_text_config().num_hidden_layers
    assert len(backbone.blocks()) > layers
    assert all(isinstance(block, torch.nn.Module) for block in backbone.blocks())


def test_twenty_steps_learn_one_batch_by_heart(family, load_tiny, frames):
    backbone = load_tiny(family)
    ids, labels, prepared = encoded(backbone, CHAT, frames)
    places = (labels[1:] != -100).nonzero().squeeze(1)
    optimizer = torch.optim.AdamW(backbone.model.parameters(), lr=4e-3)
    losses = []
    for _ in range(20):
        logits = backbone.forward(ids[None], None, prepared, logits_to_keep=places).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, labels[1:][places])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 5
    assert losses[-1] < 0.05


def generate(backbone, frames):
    chat = backbone.tokenize_chat(CHAT[:1], [f.shape[:2] for f in frames], add_generation_prompt=True)
    ids = torch.from_numpy(chat.input_ids)[None]
    prepared = backbone.prepare_frames(frames)
    with torch.inference_mode():
        for _ in range(8):
            step = backbone.forward(ids, None, prepared, logits_to_keep=1).logits[:, -1].argmax(-1)
            ids = torch.cat([ids, step[:, None]], dim=1)
    return ids[0, len(chat.input_ids) :].tolist()


def test_a_saved_folder_gives_the_same_logits_and_replies(backbone, frames, tmp_path):
    backbone.save(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1, "all may be read by those who may read one"
    reloaded = load_backbone(str(tmp_path))
    assert reloaded.family == backbone.family
    assert reloaded.frame_size_px == backbone.frame_size_px
    ids, _, prepared = encoded(reloaded, CHAT, frames)
    with torch.inference_mode():
        ours = backbone.forward(ids[None], None, prepared).logits
        assert torch.equal(reloaded.forward(ids[None], None, prepared).logits, ours)
        assert generate(reloaded, frames) == generate(backbone, frames)
        model = AutoModelForImageTextToText.from_pretrained(tmp_path)
        torch.testing.assert_close(model(**processed(backbone, CHAT, frames)).logits, ours, atol=1e-5, rtol=1e-5)


def test_a_saved_folder_is_read_alike_by_transformers_own_processor(backbone, frames, tmp_path):
    if backbone.family not in WITHOUT_TORCHVISION and not is_torchvision_available():
        pytest.skip("transformers' own processor of the family needs torchvision")
    backbone.save(tmp_path)
    theirs = AutoProcessor.from_pretrained(tmp_path)
    ours, read = (processed(backbone, CHAT, frames, processor) for processor in (backbone.processor, theirs))
    assert ours["input_ids"].tolist() == read["input_ids"].tolist()
    # torchvision, where it is installed, resizes the second frame with other rounding.
    levels = (ours["pixel_values"] - read["pixel_values"]).abs() * min(theirs.image_processor.image_std) * 255
    assert levels.max() < 3
    assert levels.mean() < 0.02
    fitting = frames[:1] * 2
    ids, _, prepared = encoded(backbone, CHAT, fitting)
    with torch.inference_mode():
        logits = AutoModelForImageTextToText.from_pretrained(tmp_path)(
            **processed(backbone, CHAT, fitting, theirs)
        ).logits
        torch.testing.assert_close(logits, backbone.forward(ids[None], None, prepared).logits, atol=1e-5, rtol=1e-5)


def test_tiny_checkpoints_follow_from_the_seed(family, tmp_path):
    folders = [
        ensure_tiny(tmp_path / name, family, world_texts(), frame_size_px=64, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1] != weights[2]


def test_a_wider_tiny_sibling_reads_the_same_chat(family, tmp_path, load_tiny, frames):
    narrow = load_tiny(family)
    wide = load_backbone(str(ensure_tiny(tmp_path, family, world_texts(), frame_size_px=64, seed=0, width=2)))
    sizes = [sum(weight.numel() for weight in each.model.parameters()) for each in (narrow, wide)]
    assert 2 < sizes[1] / sizes[0] < 4.5
    chats = [encoded(each, CHAT, frames) for each in (narrow, wide)]
    assert torch.equal(chats[0][0], chats[1][0])
    ids, _, prepared = chats[1]
    assert torch.isfinite(wide.forward(ids[None], None, prepared).logits).all()


def test_text_alone_and_a_single_frame_are_read(backbone, frames):
    for chat, shown in ((TEXT_CHAT, []), (OTHER_CHAT, frames[1:])):
        ids, labels, prepared = encoded(backbone, chat, shown)
        loss = torch.nn.functional.cross_entropy(backbone.forward(ids[None], None, prepared).logits[0, :-1], labels[1:])
        assert torch.isfinite(loss)
