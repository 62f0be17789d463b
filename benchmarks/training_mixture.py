"""The mixture that benchmarks/training.py trains on: made-up videos and long texts of the paper's lengths, planned.

Two of three samples are videos of 24 frames, the third a text of 1 to 100 pages (arXiv 2411.19951), lengths as in
benchmarks/packing.py. Frames lie as PNG files in a folder a video. The pages of every text are drawn beforehand too, as
RGB PNG files, for those who cannot draw them while they train.
"""

from __future__ import annotations

import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from packing import MAX_PAGES, MEDIAN_PAGES, VIDEO_FRAMES
from PIL import Image

from sparrow.core.samples import LongText, Message, Part, Sample, Text, Video
from sparrow.data.converters.conversion import SourceStats
from sparrow.data.encode import PresentAs, Presentation
from sparrow.data.mixture import Selection
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.plan_builder import build_plan
from sparrow.data.settings import Batching
from sparrow.data.sources import SourceData
from sparrow.media.pages import TextStyle, render_text
from sparrow.media.settings import FramePolicy
from sparrow.models.backbone import Backbone
from sparrow.world import world_texts

PAPER_PAGE_PX, PAPER_FONT_PX, PAPER_MARGIN_PX, WORDS_A_PAGE = 448, 20, 20, 115
SMALLEST_FONT_PX, SMALL_PAGE_PX, SMALL_WORDS_A_PAGE = 10, 64, 5  # as in conf/scale/tiny.yaml
MAX_SEQ_LEN_TOKENS = 10_740
VOCABULARY = 30_000
PRESENT_AS: dict[str, PresentAs] = {"video": "video", "pages": "pages"}
ANSWER_SENTENCES = {"video": 8, "pages": 3}


@dataclass(frozen=True)
class InMemory(SourceData):
    """A source whose samples are held in memory."""

    samples: tuple[Sample, ...] = field(default=())

    @cached_property
    def digests(self) -> np.ndarray:
        """A number a sample: they are made up, and only have to differ."""
        return np.arange(len(self.samples), dtype=np.uint64)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


@dataclass(frozen=True)
class Mixture(PlanInputs):
    """A plan with what its samples are made of; `folder` holds one folder of PNG files a sample, by its id.

    `backbone` counted the tokens; it has no model.
    """

    plan: Plan
    folder: Path

    def sample(self, position: int) -> tuple[Sample, Presentation, Path]:
        """A sample by its position in the ledger, how it is shown, and the folder of its frames or pages."""
        row = self.plan.ledger.iloc[position]
        sample = self.sources[row["source"]][row["row"]]
        return sample, self.presentations[row["component"]], self.folder / sample.id


def make_mixture(
    folder: Path, backbone: Backbone, num_samples: int, batch_size_samples: int, divisor: int, num_processes: int
) -> Mixture:
    """Write the media and plan packed steps.

    Args:
        folder: Where the PNG files are written.
        backbone: Its model is not needed.
        num_samples: Samples altogether.
        batch_size_samples: Samples of an optimizer step.
        divisor: Frames, pages and the longest row are divided by it.
        num_processes: Processes that write.
    """
    generator = np.random.default_rng(0)
    side = backbone.frame_size_px
    scale = side / PAPER_PAGE_PX
    words_a_page = min(WORDS_A_PAGE, SMALL_WORDS_A_PAGE * side**2 // SMALL_PAGE_PX**2)
    style = TextStyle(
        page_width_px=side,
        page_height_px=side,
        font_size_px=max(SMALLEST_FONT_PX, round(PAPER_FONT_PX * scale)),
        margin_px=max(1, round(PAPER_MARGIN_PX * scale)),
        words_per_page=words_a_page,
    )
    letters = list("eeeeettttaaaooiinnsshhrrddlluucmwfgypbvk")
    words = ["".join(generator.choice(letters, generator.integers(1, 12))) for _ in range(VOCABULARY)]
    frequencies = 1 / np.arange(1, VOCABULARY + 1)
    samples: dict[str, list[Sample]] = {"video": [], "pages": []}
    for number in range(num_samples):
        kind = "pages" if number % 3 == 2 else "video"
        name = f"{kind}-{number}"
        shown: Part = Video(name)
        if kind == "pages":
            pages = math.ceil(generator.lognormal(np.log(MEDIAN_PAGES), 0.7))
            count = -(-min(pages, MAX_PAGES) // divisor) * words_a_page
            shown = LongText(" ".join(generator.choice(words, count, p=frequencies / frequencies.sum())))
        answer = " ".join(generator.choice(world_texts(), ANSWER_SENTENCES[kind]))
        question = Message("user", (shown, Text("What happens here?")))
        samples[kind].append(Sample(name, kind, (question, Message("assistant", (Text(answer),)))))

    frames = VIDEO_FRAMES // divisor
    with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
        work = [pool.submit(write_video, folder / s.id, frames, side, n) for n, s in enumerate(samples["video"])]
        work += [pool.submit(write_pages, folder / s.id, s.parts()[0].text, style) for s in samples["pages"]]
        for each in work:
            each.result()

    sources, presentations = {}, {}
    for kind, own in samples.items():
        stats = SourceStats(len(own), len(own), len(own), {}, (), 0, kind, {})
        sources[kind] = InMemory(kind, [s.id for s in own], (folder,), stats, folder, tuple(own))
        presentations[kind] = Presentation(FramePolicy(max_frames=frames), style, PRESENT_AS[kind])
    plan = build_plan(
        [Selection(kind, kind, list(range(len(own)))) for kind, own in samples.items()],
        PlanInputs(sources, presentations, backbone),
        Batching(
            "packed",
            global_batch_size_samples=batch_size_samples,
            micro_batch_size_samples=1,
            max_seq_len_tokens=MAX_SEQ_LEN_TOKENS // divisor,
            num_workers=0,
            sample_timeout_s=0,
        ),
        data_seed=0,
    )
    return Mixture(sources, presentations, backbone, plan, folder)


def write_video(folder: Path, num_frames: int, side_px: int, seed: int) -> None:
    """A view that moves over a blurred picture, with a little noise, as PNG files."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
    scene = np.asarray(coarse.resize((2 * side_px, 2 * side_px), Image.Resampling.BICUBIC)).astype(np.int16)
    folder.mkdir(parents=True)
    for number in range(num_frames):
        left = side_px * number // num_frames
        view = scene[left : left + side_px, left : left + side_px]
        noisy = (view + generator.integers(-2, 3, view.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:04}.png")


def write_pages(folder: Path, text: str, style: TextStyle) -> None:
    """The pages of a text as RGB PNG files."""
    folder.mkdir(parents=True)
    for number, page in enumerate(render_text(text, style)):
        Image.fromarray(page).convert("RGB").save(folder / f"{number:04}.png")
