"""Videos the way a family has for them, against its own processor's words and the transformers model's own call."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers.utils.import_utils import is_torchvision_available
from transformers.video_utils import VideoMetadata

from sparrow.core.errors import BackboneError
from sparrow.models.frame_buffer import Frames, NativeVideo
from sparrow.models.registry import FAMILIES, NATIVE_VIDEO
from tests.models.chats import CHAT, OTHER_CHAT, TEXT_CHAT, assert_same_loss_and_gradients, encoded

FPS = 1.5
PATCHED = ("qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="session")
def backbone(video_family, load_tiny):
    return load_tiny(video_family, native_video=True)


@pytest.fixture(scope="session")
def clip() -> list[np.ndarray]:
    """Five frames of a video: an odd number, and of a size that is not the model's own."""
    return list(np.random.default_rng(1).integers(0, 256, (5, 50, 90, 3), dtype=np.uint8))


def times(count: int) -> list[float]:
    return [i / FPS for i in range(count)]


def video_chat(count: int) -> list[dict]:
    question = {"type": "text", "text": "What happens?"}
    return [
        {"role": "user", "content": [{"type": "video", "times_s": times(count)}, question]},
        {"role": "assistant", "content": [{"type": "text", "text": "it moves left"}]},
    ]


def shown(backbone, frames):
    """Ids [n], labels [n] and frames of a video of these frames."""
    tokens = backbone.tokenize_chat(video_chat(len(frames)), [frame.shape[:2] for frame in frames])
    ids = torch.from_numpy(tokens.input_ids)
    prepared = backbone.prepare_frames(frames, [NativeVideo.at(0, times(len(frames)))])
    return ids, ids.where(torch.from_numpy(tokens.supervised), -100), prepared


def reference_patches(video, settings):
    """The family's `patchify` (transformers, video_processing_qwen2_vl.py) of a normalised video [1, n, 3, h, w]."""
    patch, merge, times = settings.patch_size, settings.merge_size, settings.temporal_patch_size
    if pad := -video.shape[1] % times:
        video = torch.cat([video, video[:, -1:].expand(-1, pad, -1, -1, -1)], dim=1)
    _, count, channels, height, width = video.shape
    grid = count // times, height // patch, width // patch
    patches = video.reshape(
        1, grid[0], times, channels, grid[1] // merge, merge, patch, grid[2] // merge, merge, patch
    ).permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9)
    return patches.reshape(-1, channels * times * patch * patch), torch.tensor([grid])


def reference(backbone, frames):
    """Model inputs of a video, from the family's processor as far as that does without torchvision."""
    settings, processor = backbone.processor.image_processor, backbone.processor
    resized = np.stack([backbone.prepare_video_frame(frame, len(frames)) for frame in frames]).astype(np.float32)
    video = (resized * settings.rescale_factor - np.array(settings.image_mean)) / np.array(settings.image_std)
    video = torch.from_numpy(video).float().permute(0, 3, 1, 2)[None]
    inputs = {"pixel_values_videos": video}
    if backbone.family in PATCHED:
        inputs["pixel_values_videos"], inputs["video_grid_thw"] = reference_patches(video, settings)
    metadata = VideoMetadata(total_num_frames=len(frames), fps=FPS, frames_indices=list(range(len(frames))))
    # Its processor in full, but for the pixels: they need torchvision.
    words = type(processor).replace_video_token(
        SimpleNamespace(**vars(processor), video_processor=settings, _calculate_timestamps=timestamps(processor)),
        inputs | {"video_metadata": [metadata]},
        0,
    )
    text = processor.tokenizer.apply_chat_template(
        [
            {**turn, "content": [{"type": p["type"], "text": p.get("text", "")} for p in turn["content"]]}
            for turn in video_chat(len(frames))
        ],
        tokenize=False,
    )
    (text,), _ = processor.get_text_with_replacements([text], [], [words])
    ids = processor.tokenizer([text], add_special_tokens=False, return_tensors="pt")["input_ids"]
    if backbone.family in PATCHED:
        inputs["mm_token_type_ids"] = 2 * (ids == processor.video_token_id).int()
    return {"input_ids": ids, **inputs}


def timestamps(processor):
    return lambda *args: type(processor)._calculate_timestamps(processor, *args)


def is_timed(backbone):
    """Whether times are in the positions."""
    return backbone.family == "qwen2_5_vl"


def original_positions(backbone, ids, frames):
    """Positions [3, n] as in Qwen's own code for Qwen2.5-VL (transformers 4.49, `get_rope_index`).

    transformers 5 goes on behind the longer side of a video, vLLM as the original does.
    """
    settings, per_second = backbone.processor.image_processor, backbone.config.vision_config.tokens_per_second
    side = settings.patch_size * settings.merge_size
    pieces, place, begin = [], 0, 0
    for (height, width), video in frames.units():
        while ids[place] not in (backbone.image_token_id, backbone.video_token_id):
            pieces.append(torch.full((3, 1), begin))
            place, begin = place + 1, begin + 1
        count = 1 if video is None else -(-video.num_frames // settings.temporal_patch_size)
        seconds = 0.0 if video is None else settings.temporal_patch_size * video.interval_s
        for time in range(count):
            for row in range(height // side):
                for column in range(width // side):
                    pieces.append(begin + torch.tensor([[int(time * seconds * per_second)], [row], [column]]))
                    place += 1
        begin = int(torch.cat(pieces, dim=1).max()) + 1
    return torch.cat([*pieces, (begin + torch.arange(len(ids) - place)).expand(3, -1)], dim=1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tokens_and_pixels_are_those_of_the_familys_processor(backbone, clip, count):
    expected = reference(backbone, clip[:count])
    ids, _, prepared = shown(backbone, clip[:count])
    assert ids.tolist() == expected["input_ids"][0].tolist()
    if backbone.family not in PATCHED:
        return
    ours = backbone.pixel_inputs(prepared, torch.float32) | backbone.token_inputs(ids[None])
    assert set(ours) == set(expected) - {"input_ids"}, "times are in the positions, whole numbers in every precision"
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0, check_dtype=False)


def test_loss_and_gradients_are_those_of_the_transformers_model(backbone, clip):
    ids, labels, prepared = shown(backbone, clip)
    given = {"position_ids": original_positions(backbone, ids, prepared)[:, None]} if is_timed(backbone) else {}
    assert_same_loss_and_gradients(backbone, {**reference(backbone, clip), **given}, ids, labels, prepared)


@pytest.mark.skipif(not is_torchvision_available(), reason="the families' video processors need torchvision")
def test_the_familys_processor_gives_the_same(backbone, frames):
    import transformers

    kind = getattr(transformers, backbone.video_processor_type)
    settings = backbone.processor.image_processor
    options = {"do_sample_frames": False, "do_resize": False}
    if backbone.family in PATCHED:
        options |= {name: getattr(settings, name) for name in ("patch_size", "temporal_patch_size", "merge_size")}
    video = [frames[0]] * 3
    theirs = kind(image_mean=settings.image_mean, image_std=settings.image_std, **options)(
        [np.stack(video)], return_tensors="pt"
    )
    expected = reference(backbone, video)
    for name in set(theirs) & set(expected):
        torch.testing.assert_close(expected[name], theirs[name], atol=1e-5, rtol=0, check_dtype=False)


def test_a_still_video_has_the_patches_of_its_image(video_family, backbone, clip):
    if video_family not in PATCHED:
        pytest.skip("a frame of its videos is pooled, one of its images is not")
    _, _, still = shown(backbone, clip[:1] * 2)
    _, _, image = encoded(backbone, OTHER_CHAT, clip[:1])
    patches = backbone.pixel_inputs(still, torch.float32)["pixel_values_videos"]
    assert torch.equal(patches, backbone.pixel_inputs(image, torch.float32)["pixel_values"])


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (17, 23)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_visual_tokens_are_counted_before_anything_is_decoded(backbone, size, count):
    chat = backbone.tokenize_chat(video_chat(count), [size] * count)
    assert chat.num_visual_tokens == backbone.visual_tokens(size, count)
    assert chat.num_visual_tokens == int((chat.input_ids == backbone.video_token_id).sum())


@pytest.fixture(scope="session")
def samples(backbone, clip, frames):
    """A video, images and a text, and a chat of a video after images, each as ids, labels and frames."""
    mixed = [{"role": "user", "content": [*CHAT[0]["content"], *video_chat(5)[0]["content"]]}, video_chat(5)[1]]
    tokens = backbone.tokenize_chat(mixed, [frame.shape[:2] for frame in (*frames, *clip)])
    prepared = backbone.prepare_frames([*frames, *clip], [NativeVideo.at(2, times(5))])
    ids = torch.from_numpy(tokens.input_ids)
    return [
        shown(backbone, clip),
        encoded(backbone, CHAT, frames),
        encoded(backbone, TEXT_CHAT, []),
        (ids, ids, prepared),
        shown(backbone, clip[:2]),
    ]


def test_videos_images_and_texts_share_a_batch(backbone, samples):
    rows = [ids for ids, _, _ in samples]
    padded = torch.nn.utils.rnn.pad_sequence(rows, True, backbone.tokenizer.pad_token_id)
    mask = (torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]).long()
    with torch.inference_mode():
        together = backbone.forward(padded, mask, Frames.joined([frames for _, _, frames in samples])).logits
        for logits, (ids, _, prepared) in zip(together, samples, strict=True):
            alone = backbone.forward(ids[None], None, prepared).logits[0]
            torch.testing.assert_close(logits[: len(ids)], alone, atol=1e-5, rtol=0)


def test_packed_samples_do_not_see_each_other(backbone, samples):
    with torch.inference_mode():
        packed = backbone.forward(
            torch.cat([ids for ids, _, _ in samples])[None],
            None,
            Frames.joined([frames for _, _, frames in samples]),
            position_ids=backbone.packed_position_ids([(ids, frames) for ids, _, frames in samples]),
        ).logits[0]
        alone = [backbone.forward(ids[None], None, frames).logits[0] for ids, _, frames in samples]
    torch.testing.assert_close(packed, torch.cat(alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("interval_s", [1 / FPS, 26.1])
def test_positions_are_those_of_the_original(backbone, samples, interval_s):
    core = backbone.model.model
    for ids, _, frames in samples:
        frames = replace(frames, videos=tuple(replace(video, interval_s=interval_s) for video in frames.videos))
        if is_timed(backbone):
            expected = original_positions(backbone, ids, frames)
            assert torch.equal(backbone.position_ids(ids, frames)[1:], expected)
            continue
        if not hasattr(core, "get_rope_index"):
            assert backbone.position_ids(ids, frames).tolist() == list(range(len(ids)))
            continue
        inputs = backbone.pixel_inputs(frames, torch.float32) if len(frames) else {}
        names = ("image_grid_thw", "video_grid_thw")
        grids = {name: inputs[name] for name in names if name in inputs}
        expected, _ = core.get_rope_index(ids[None], **backbone.token_inputs(ids[None]), **grids)
        assert torch.equal(backbone.position_ids(ids, frames)[1:], expected[:, 0])


def test_what_follows_a_cached_prefix_is_what_follows_it_uncached(backbone, clip):
    ids, _, prepared = shown(backbone, clip)
    # Minutes between frames: in Qwen2.5-VL the time of the video is beyond the place of the words after it.
    slow = Frames(prepared.pixels, prepared.sizes, (NativeVideo(0, 5, 300.0),))
    split = len(ids) - 9
    with torch.inference_mode():
        whole = backbone.forward(ids[None], None, slow).logits[0, split:]
        cache = backbone.forward(ids[None, :split], None, slow, use_cache=True).past_key_values
        cache = copy.deepcopy(cache)
        cache.reorder_cache(torch.zeros(2, dtype=torch.int64))
        mask = torch.ones((2, len(ids)), dtype=torch.int64)
        places = torch.arange(split, len(ids)).expand(2, -1)
        suffix = ids[split:].expand(2, -1)
        logits = backbone.forward(suffix, mask, None, position_ids=places, past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(logits, whole.expand(2, -1, -1), atol=1e-5, rtol=0)


def test_a_family_without_it_is_refused_by_name(family, tiny_checkpoint):
    from sparrow.models.loading import load_backbone

    if family in NATIVE_VIDEO:
        assert load_backbone(str(tiny_checkpoint(family)), with_model=False, native_video=True).native_video
        return
    with pytest.raises(
        BackboneError, match=rf"native_video=true is offered for .*'{family}' reads .* frames\.timestamps"
    ):
        load_backbone(str(tiny_checkpoint(family)), with_model=False, native_video=True)


def test_settings_that_contradict_native_video_are_named(settings):
    from sparrow.core.errors import ConfigError

    with pytest.raises(ConfigError, match=r"backbone\.native_video: .*'idefics3' reads"):
        settings("backbone.family=idefics3", "backbone.native_video=true")
    with pytest.raises(ConfigError, match=r"frames\.timestamps: a native video has its family's own way"):
        settings("backbone.family=qwen3_vl", "backbone.native_video=true", "frames.timestamps=true")
    assert set(NATIVE_VIDEO) < set(FAMILIES)
