"""Text to pages: the released algorithm against Sparrow's, on the fly and stored, in one run on one core.

`python benchmarks/rendering.py TEXTS.jsonl` takes the `context`, `prompt` or `text` of each record;
without a file, English of a natural vocabulary is made up.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sparrow.media.fonts import SHIPPED_FONT
from sparrow.media.images import encode_png
from sparrow.media.pages import TextStyle, count_pages, render_text, typeface_of

WORDS_PER_PAGE = 115
SIDE_PX = 448
FONT_SIZE_PX = 20
MARGIN_PX = 20


def released_pages(text: str) -> list[Image.Image]:
    """The released renderer, written anew: one fresh RGB picture and one fresh font a page.

    115 words a picture; each word is measured with the space after it and put on the line while it fits; the lines,
    each as high as its own box, are centred and drawn one by one with Pillow's default engine. Words are cut by
    `str.split`, which is faster than the NLTK tokenizer that the release calls.
    """
    words = text.split()
    return [_released_page(words[start : start + WORDS_PER_PAGE]) for start in range(0, len(words), WORDS_PER_PAGE)]


def _released_page(words: list[str]) -> Image.Image:
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.truetype(str(SHIPPED_FONT), FONT_SIZE_PX)
    lines: list[list[str]] = [[]]
    used = 0
    for word in words:
        width = font.getbbox(word + " ")[2]
        if used + width > SIDE_PX - 2 * MARGIN_PX and lines[-1]:
            lines.append([])
            used = 0
        lines[-1].append(word)
        used += width
    texts = [" ".join(line) for line in lines]
    y = (SIDE_PX - sum(font.getbbox(line)[3] for line in texts)) / 2
    for line in texts:
        draw.text((MARGIN_PX, y), line, font=font, fill="black")
        y += font.getbbox(line)[3]
    return image


def released_stored(text: str) -> int:
    """Bytes of the pages as the release stores them: RGB PNG with Pillow's defaults."""
    size = 0
    for image in released_pages(text):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        size += buffer.tell()
    return size


def ours_stored(text: str) -> int:
    """Bytes of the pages as Sparrow exports them."""
    return sum(len(encode_png(page)) for page in render_text(text, TextStyle()))


def read_texts(path: Path) -> list[str]:
    """The texts of a JSON or JSONL file, each once."""
    content = path.read_text(encoding="utf-8")
    records = json.loads(content) if path.suffix == ".json" else [json.loads(line) for line in content.splitlines()]
    keys = ("context", "prompt", "text", "instruction")
    return list(dict.fromkeys(next(record[key] for key in keys if key in record) for record in records))


def made_up_texts(count: int, num_words: int) -> list[str]:
    """Texts whose words come from a vocabulary of 30,000 with the frequencies of Zipf's law."""
    rng = random.Random(0)
    letters = "eeeeeettttaaaooiinnsshhrrddlucmwfgypbvk"
    vocabulary = ["".join(rng.choices(letters, k=min(max(1, round(rng.gauss(4.2, 2))), 12))) for _ in range(30_000)]
    weights = [1 / (rank + 3) for rank in range(len(vocabulary))]
    return [" ".join(rng.choices(vocabulary, weights, k=num_words)) for _ in range(count)]


def seconds(work: Callable[[str], object], texts: list[str]) -> float:
    """Seconds of processor time that some work takes over all texts."""
    start = time.process_time()
    for text in texts:
        work(text)
    return time.process_time() - start


def forget() -> None:
    """Empty the caches of glyphs and words, as in a process that has drawn nothing."""
    typeface_of.cache_clear()


def main() -> None:
    """Print pages a second of each way, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="?", type=Path, help="JSON or JSONL file of records")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    texts = read_texts(arguments.texts) if arguments.texts else made_up_texts(12, 4_000)
    style = TextStyle()
    some, others = texts[: len(texts) // 2], texts[len(texts) // 2 :]
    num_pages = sum(count_pages(text, style) for text in others)
    assert num_pages == sum(len(released_pages(text)) for text in others)

    def draw(text: str) -> list[np.ndarray]:
        return render_text(text, style)

    rates: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        taken = {"released, on the fly": seconds(released_pages, others)}
        forget()
        taken["ours, on the fly, first texts of the process"] = seconds(draw, others)
        forget()
        seconds(draw, some)
        taken["ours, on the fly, after other texts"] = seconds(draw, others)
        taken["ours, layout alone (count_pages)"] = seconds(lambda text: count_pages(text, style), others)
        taken["released, stored"] = seconds(released_stored, others)
        forget()
        taken["ours, stored, first texts of the process"] = seconds(ours_stored, others)
        for name, time_s in taken.items():
            rates.setdefault(name, []).append(num_pages / time_s)
    print(f"{num_pages} pages, median of {arguments.repeats}")
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    for name, rate in medians.items():
        baseline = "released, stored" if "stored" in name else "released, on the fly"
        print(f"{name:48s} {rate:8.0f} pages/s {rate / medians[baseline]:6.1f}x")
    bytes_released = sum(released_stored(text) for text in others) / num_pages
    bytes_ours = sum(ours_stored(text) for text in others) / num_pages
    print(f"{'bytes a stored page':48s} {bytes_released:8.0f} released, {bytes_ours:.0f} ours")


if __name__ == "__main__":
    main()
