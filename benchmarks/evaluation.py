"""Questions a second: Sparrow's evaluation against the loop that most harnesses are, in one run on the CPU.

The naive loop asks one question at a time: it reads the video, encodes its frames, and runs the model, for every
question anew and without a cache across questions. Both ask the same tiny model the same questions about the same
clips, and their answers are compared. They take turns, and the least time of each counts, since other work on the
machine only adds to it. Rows: clips of a few questions, clips of many questions, and long videos at many frames.

`python benchmarks/evaluation.py [--videos 12] [--rows clips,questions,long] [--repeats 3]`
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from string import ascii_uppercase

import av
import numpy as np
import torch

from sparrow.core.samples import Message, Sample, Text, Video
from sparrow.data.encode import EncodedSample, Presentation, Shown, encode, tokenize
from sparrow.evaluation.engine import answer
from sparrow.evaluation.predictions import Prediction
from sparrow.evaluation.prompts import Protocol
from sparrow.evaluation.questions import Question, prompt_text
from sparrow.evaluation.units import Units, group_into_units
from sparrow.media.settings import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.models.loading import ensure_tiny, load_backbone
from sparrow.world import world_texts

WIDTH, HEIGHT, FPS = 640, 360, 30
# Seconds of a video, questions about it, frames shown of it.
ROWS = {"clips": (10, 3, 24), "questions": (10, 12, 24), "long": (60, 3, 128)}
MAX_NEW_TOKENS = 8
ASKED = ("What moves?", "Where does the square go?", "What colour is the ground?", "What comes last?")
OPTIONS = ("a square", "a circle", "to the left", "nothing")


def write_clip(path: Path, seed: int, seconds: int) -> None:
    """A square over noise that drifts, H.264 with a key frame every two seconds."""
    random = np.random.default_rng(seed)
    ground = random.integers(0, 200, (HEIGHT // 8, WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.time_base, stream.gop_size = Fraction(1, FPS), 2 * FPS
        for i in range(FPS * seconds):
            frame = np.roll(ground, i, axis=1)
            frame[100:200, 2 * i % 500 : 2 * i % 500 + 100] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def naive(backbone: Backbone, questions: list[Question], root: Path, protocol: Protocol) -> dict[str, object]:
    """One question at a time: the reply, or the log-probability of each letter."""
    found: dict[str, object] = {}
    for question in questions:
        assert question.video is not None
        turn = Message("user", (Video(question.video), Text(prompt_text(question))))
        sample = Sample(question.id, "b", (turn,))
        encoded = encode(sample, root, backbone, protocol.presentation, add_generation_prompt=True)
        with torch.inference_mode():
            if protocol.scoring == "generate":
                found[question.id] = reply_to(backbone, encoded)
            else:
                found[question.id] = letters_after(backbone, sample, encoded, len(question.options))
    return found


def reply_to(backbone: Backbone, encoded: EncodedSample) -> str:
    """A greedy reply as transformers generates it."""
    ids = encoded.input_ids[None]
    replied = backbone.model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=MAX_NEW_TOKENS,
        do_sample=False,
        eos_token_id=backbone.tokenizer.eos_token_id,
        pad_token_id=backbone.tokenizer.pad_token_id,
        **backbone.pixel_inputs(encoded.frames, torch.float32),
    )
    return backbone.tokenizer.decode(replied[0, ids.shape[1] :], skip_special_tokens=True).strip()


def letters_after(backbone: Backbone, prompt: Sample, encoded: EncodedSample, count: int) -> list[float]:
    """Mean log-probability of each letter as the reply, a sequence a letter; the frames are read once."""
    sizes, how = ((HEIGHT, WIDTH),) * len(encoded.frames), Presentation()
    values = []
    for letter in ascii_uppercase[:count]:
        replied = Sample(prompt.id, "b", (*prompt.messages, Message("assistant", (Text(letter),))))
        chat = tokenize(replied, backbone, [Shown(sizes)], how)
        ids = torch.from_numpy(chat.input_ids)
        places = torch.from_numpy(np.flatnonzero(chat.supervised & (chat.input_ids != backbone.tokenizer.eos_token_id)))
        logits = backbone.forward(ids[None], None, encoded.frames, logits_to_keep=places - 1).logits[0].log_softmax(-1)
        values.append(float(logits.gather(1, ids[places, None]).mean()))
    return values


def ours(
    backbone: Backbone, questions: list[Question], root: Path, protocol: Protocol, num_workers: int
) -> list[Prediction]:
    units = Units(group_into_units(questions, root, protocol), backbone, root, protocol, "b")
    answers = answer(units, defaultdict(str), num_workers=num_workers)
    return [prediction for unit in answers for prediction in unit]


def timed(*ways: Callable[[], object], repeats: int) -> list[tuple[object, float]]:
    """The result of each way and its least seconds; the ways take turns."""
    results: list[object] = [None] * len(ways)
    least = [math.inf] * len(ways)
    for _ in range(repeats):
        for i, way in enumerate(ways):
            started = time.perf_counter()
            results[i] = way()
            least[i] = min(least[i], time.perf_counter() - started)
    return list(zip(results, least, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--rows", default=",".join(ROWS), help="which rows, as named above")
    parser.add_argument("--frame-size", type=int, default=64, help="side of a frame as the model sees it, in pixels")
    parser.add_argument("--workers", type=int, default=2, help="processes that read videos, as `num_workers`")
    parser.add_argument("--repeats", type=int, default=3, help="times that each way is timed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"questions a second about {given.videos} videos of {WIDTH} x {HEIGHT}, {given.workers} reading processes")
    header = f"{'row':<11}{'scoring':<19}{'naive':>7}{'ours':>8}{'ratio':>8}{'no workers':>12}"
    print(f"{header}  same answers")
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = ensure_tiny(Path(folder), "idefics3", world_texts(), frame_size_px=given.frame_size, seed=0)
        backbone = load_backbone(str(checkpoint))
        for row in given.rows.split(","):
            seconds, num_questions, num_frames = ROWS[row]
            root = Path(folder) / row
            root.mkdir()
            for i in range(given.videos):
                write_clip(root / f"{i}.mp4", i, seconds)
            questions = questions_about(given.videos, num_questions)
            for scoring in ("generate", "letter_likelihood"):
                protocol = Protocol(
                    scoring=scoring,  # type: ignore[arg-type]
                    show_options=True,
                    max_new_tokens=MAX_NEW_TOKENS,
                    presentation=Presentation(frames=FramePolicy(max_frames=num_frames)),
                )
                compare(backbone, questions, root, protocol, given, row)


def questions_about(num_videos: int, num_questions: int) -> list[Question]:
    return [
        Question(
            id=f"{i}/{j}",
            video=f"{i}.mp4",
            question=ASKED[j % len(ASKED)],
            options=OPTIONS,
            gold=0,
            category="c",
            instruction="Answer with the option's letter from the given choices directly.",
        )
        for i in range(num_videos)
        for j in range(num_questions)
    ]


def compare(
    backbone: Backbone,
    questions: list[Question],
    root: Path,
    protocol: Protocol,
    given: argparse.Namespace,
    row: str,
) -> None:
    ours(backbone, questions[:1], root, protocol, 0)  # warms the file cache and the kernels
    (expected, naive_s), (_, alone_s), (found, ours_s) = timed(
        partial(naive, backbone, questions, root, protocol),
        partial(ours, backbone, questions, root, protocol, 0),
        partial(ours, backbone, questions, root, protocol, given.workers),
        repeats=given.repeats,
    )
    assert isinstance(expected, dict) and isinstance(found, list)
    same = sum(agree(expected[p.question_id], p) for p in found)
    rates = [len(questions) / seconds for seconds in (naive_s, ours_s)]
    print(
        f"{row:<11}{protocol.scoring:<19}{rates[0]:>7.2f}{rates[1]:>8.2f}{naive_s / ours_s:>7.1f}x"
        f"{naive_s / alone_s:>11.1f}x  {same} of {len(questions)}",
        flush=True,
    )


def agree(expected: object, prediction: Prediction) -> bool:
    if prediction.likelihoods is None:
        return expected == prediction.reply
    return bool(np.allclose(expected, prediction.likelihoods, atol=1e-4))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
