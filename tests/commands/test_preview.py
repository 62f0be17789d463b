"""The preview page: it shows the samples as they are encoded for training, marks what is learnt, and escapes all else."""

import base64
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sparrow.commands.preview import MAX_FRAMES, choose, frame_uri, write_preview
from sparrow.data.batching import StepDataset
from sparrow.data.settings import Component, Mixture, Source
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.settings import ExperimentConfig

COLOURS = {"red": (220, 40, 40), "green": (40, 170, 70), "blue": (40, 70, 220), "white": (240, 240, 240)}
END = "<end_of_utterance>"
HOSTILE_ID = "<i>still</i> & co"
HOSTILE_QUESTION = "Is <script>alert('x')</script> & \"this\" green?"
HOSTILE_ANSWER = "green </mark></div><img src=x onerror=alert(1)>"
NUM_LONG_PAGES = 30
WORDS_PER_PAGE = 5
TALE = " ".join(f"Line {number}." for number in range(600))
VOID = {"meta", "img", "link", "br"}


@dataclass
class Article:
    """What a reader finds in the page about one sample."""

    id: str = ""
    chat: str = ""
    learnt: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)
    words: str = ""


class Page(HTMLParser):
    """The page taken apart: articles, cells of the table of rejected samples, addresses, names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.articles: list[Article] = []
        self.rejected: list[str] = []
        self.addresses: list[str] = []
        self.elements: Counter[str] = Counter()
        self.text = ""
        self._term = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.elements[tag] += 1
        self.addresses += [values[name] or "" for name in ("src", "href") if name in values]
        if tag == "article":
            self.articles.append(Article())
        if tag == "img" and self._inside("article"):
            self.articles[-1].images.append(values["src"] or "")
        if tag == "mark" and self._inside("article"):
            self.articles[-1].learnt.append("")
        if tag not in VOID:
            self.open.append((tag, values))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text += data
        if any(values.get("id") == "rejected" for _, values in self.open) and self._inside("td"):
            self.rejected.append(data)
        if not self._inside("article"):
            return
        article = self.articles[-1]
        article.words += data
        if self._inside("h3"):
            article.id += data.strip()
        if any(values.get("class") == "chat" for _, values in self.open):
            article.chat += data
        if self._inside("mark"):
            article.learnt[-1] += data
        if self._inside("dt"):
            self._term = data
        if self._inside("dd"):
            article.counts[self._term] = data

    def _inside(self, tag: str) -> bool:
        return any(name == tag for name, _ in self.open)


def talk(id: str, image: str, *turns: tuple[str, str]) -> dict[str, object]:
    """A LLaVA record about one picture."""
    conversations: list[dict[str, str]] = []
    for number, (question, answer) in enumerate(turns):
        conversations.append({"from": "human", "value": question if number else f"<image>\n{question}"})
        conversations.append({"from": "gpt", "value": answer})
    return {"id": id, "image": image, "conversations": conversations}


@pytest.fixture(scope="module")
def config(settings, tmp_path_factory) -> ExperimentConfig:
    """Five pictures, one of them broken, one in a hostile record; three texts as pages, one as text, two are long."""
    root = tmp_path_factory.mktemp("data")
    for name, colour in COLOURS.items():
        pixels = np.full((48, 96, 3), 30, dtype=np.uint8)
        pixels[8:24, 20:60] = colour
        Image.fromarray(pixels).save(root / f"{name}.png")
    (root / "broken.png").write_bytes(b"no picture")
    stills = [
        talk("two-turns", "red.png", ("What colour is it?", "red"), ("And its shape?", "a rectangle")),
        talk(HOSTILE_ID, "green.png", (HOSTILE_QUESTION, HOSTILE_ANSWER)),
        talk("third", "blue.png", ("Which colour does it have?", "blué 蓝")),
        talk("fourth", "white.png", ("What is this?", "white")),
        talk("cannot-open", "broken.png", ("What colour is it?", "unseen")),
    ]
    (root / "stills.json").write_text(json.dumps(stills))
    contexts = {
        "short": "a red circle moves left.",
        "other": "a blue square moves up \ue123\ue124.",
        "long": " ".join(["circle"] * WORDS_PER_PAGE * NUM_LONG_PAGES),
    }
    lines = [
        json.dumps({"id": id, "context": context, "question": "What moves?", "answer": f"see {id}"})
        for id, context in contexts.items()
    ]
    (root / "texts.jsonl").write_text("\n".join(lines) + "\n")
    tale = {"id": "tale", "context": TALE, "question": "The end?", "answer": "yes"}
    (root / "tale.jsonl").write_text(json.dumps(tale) + "\n")
    config = settings("batching.global_batch_size_samples=3", "on_bad_sample=skip", "max_bad_fraction=0.5")
    config.text_to_image = replace(config.text_to_image, font_size_px=6)
    config.source = {
        "pictures": Source(converter="llava", files=["stills.json"], root=str(root)),
        "texts": Source(converter="context_qa", files=["texts.jsonl"], root=str(root)),
        "tales": Source(converter="context_qa", files=["tale.jsonl"], root=str(root)),
    }
    config.mixture = Mixture(
        components={
            "stills": Component(source="pictures", num_samples=5),
            "pages": Component(source="texts", num_samples=3, present_as="pages"),
            "tales": Component(source="tales", num_samples=1, present_as="text"),
        }
    )
    config.study.name = "a <b>study</b>"
    return config


@pytest.fixture(scope="module")
def prepared(config: ExperimentConfig) -> Prepared:
    return prepare(config)


@pytest.fixture(scope="module")
def page(prepared: Prepared, config: ExperimentConfig, tmp_path_factory) -> Page:
    path = tmp_path_factory.mktemp("page") / "preview.html"
    assert write_preview(prepared, path, 24, config) == path
    return Page(path.read_text())


def article(page: Page, id: str) -> Article:
    return next(article for article in page.articles if article.id == id)


def test_every_usable_sample_is_shown_and_no_other(page: Page) -> None:
    stills = {"two-turns", HOSTILE_ID, "third", "fourth"}
    assert {a.id for a in page.articles} == stills | {"short", "other", "long", "tale"}


@pytest.mark.parametrize(
    ("id", "answers"),
    [
        ("two-turns", ["red", "a rectangle"]),
        (HOSTILE_ID, [HOSTILE_ANSWER]),
        ("third", ["blué 蓝"]),
        ("short", ["see short"]),
        ("long", ["see long"]),
        ("tale", ["yes"]),
    ],
)
def test_exactly_the_assistants_words_and_their_end_are_marked(page: Page, id: str, answers: list[str]) -> None:
    assert article(page, id).learnt == [f" {answer}{END}" for answer in answers]


def test_chat_reads_as_the_model_reads_it_with_frames_collapsed(page: Page) -> None:
    assert article(page, "two-turns").chat == (
        f"<|begin_of_text|>User:[frame 1: 7 tokens]What colour is it?{END}\n"
        f"Assistant: red{END}\n"
        f"User: And its shape?{END}\n"
        f"Assistant: a rectangle{END}\n"
    )


def test_counts_are_those_of_the_plan(page: Page, prepared: Prepared) -> None:
    used = prepared.plan.ledger[prepared.plan.ledger["status"] == "used"]
    for row in used.itertuples():
        counts = article(page, row.sample_id).counts
        assert counts["Pages" if row.component == "pages" else "Frames"] == str(row.num_frames)
        assert counts["Visual tokens"] == f"{row.visual_tokens:,}"
        assert counts["Text tokens"] == f"{row.text_tokens:,}"
        assert counts["Supervised tokens"] == str(row.supervised_tokens)
        assert counts["Length"].startswith(f"{row.visual_tokens + row.text_tokens:,} of at most 10,740 tokens")


def test_frames_are_the_pixels_that_training_encodes(page: Page, prepared: Prepared) -> None:
    dataset = StepDataset(prepared.plan, prepared)
    for position in np.concatenate(prepared.plan.steps).tolist():
        expected = [frame.numpy() for frame in dataset.encode(position).frames[:MAX_FRAMES]]
        images = article(page, prepared.plan.ledger["sample_id"].iat[position]).images
        assert len(images) == len(expected)
        for uri, frame in zip(images, expected, strict=True):
            content = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
            shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
            np.testing.assert_array_equal(shown, frame.transpose(1, 2, 0))


def test_frames_past_the_limit_are_counted_not_shown(page: Page) -> None:
    long = article(page, "long")
    assert len(long.images) == MAX_FRAMES
    more = NUM_LONG_PAGES - MAX_FRAMES
    assert f"and {more} more pages" in long.words
    assert f"[page {MAX_FRAMES}: 7 tokens]" in long.chat
    assert f"[pages {MAX_FRAMES + 1}–{NUM_LONG_PAGES}: {7 * more} tokens]What moves?" in long.chat


def test_a_long_text_is_folded_and_whole(page: Page) -> None:
    tale = article(page, "tale")
    assert page.elements["details"] == 1
    unfolded, num_folds = re.subn(r"and [\d,]+ more characters", "", tale.chat)
    assert num_folds == 1
    assert unfolded == f"<|begin_of_text|>User: {TALE}\nThe end?{END}\nAssistant: yes{END}\n"
    assert not tale.images


def test_nothing_of_a_sample_becomes_markup(page: Page) -> None:
    hostile = article(page, HOSTILE_ID)
    assert HOSTILE_QUESTION in hostile.chat
    assert page.elements["script"] == 1
    assert page.elements["i"] == page.elements["b"] == 0
    assert page.elements["mark"] == sum(len(a.learnt) for a in page.articles) + 1, "those of samples and the legend's"


def test_page_needs_nothing_from_outside(page: Page) -> None:
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in page.addresses)


def test_header_tells_study_and_manifest(page: Page, prepared: Prepared) -> None:
    assert "a <b>study</b>" in page.text
    assert prepared.plan.content_hash in page.text


def test_header_tells_how_pages_are_drawn(page: Page) -> None:
    assert f"64 × 64 pixels, letters of 6 pixels, at most {WORDS_PER_PAGE} words" in page.text


def test_header_tells_what_prepare_warns_of(prepared: Prepared, config: ExperimentConfig, tmp_path: Path) -> None:
    noted = replace(prepared, notes=["pages are <b>large</b>"])
    page = Page(write_preview(noted, tmp_path / "preview.html", 1, config).read_text())
    assert "pages are <b>large</b>" in page.text
    assert "pages: 2 characters are in no font and drawn as boxes" in page.text
    assert "stills: 1 rejected: " in page.text


def test_what_a_components_rules_left_out_is_counted(config: ExperimentConfig, tmp_path: Path) -> None:
    limited = Component(source="texts", num_samples=2, max_pages=10, present_as="pages")
    prepared = prepare(replace(config, mixture=Mixture(components={"pages": limited})))
    page = Page(write_preview(prepared, tmp_path / "preview.html", 2).read_text())
    assert "pages: 1 samples left out: more than 10 pages" in page.text


def test_rejected_samples_stand_in_the_table_with_their_reason(page: Page, prepared: Prepared) -> None:
    ledger = prepared.plan.ledger
    (detail,) = ledger.loc[ledger["status"] == "rejected", "detail"]
    assert page.rejected == ["stills", "pictures", "cannot-open", detail]


def test_equal_input_gives_equal_bytes(prepared: Prepared, config: ExperimentConfig, tmp_path: Path) -> None:
    first, second = (write_preview(prepared, tmp_path / name, 4, config).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_page_can_do_without_settings(prepared: Prepared, tmp_path: Path) -> None:
    assert len(Page(write_preview(prepared, tmp_path / "preview.html", 2).read_text()).articles) == 2


def test_components_share_equally_and_in_the_plans_order(prepared: Prepared) -> None:
    ledger, order = prepared.plan.ledger, np.concatenate(prepared.plan.steps).tolist()
    chosen = choose(prepared.plan, 5)
    assert {name: len(samples) for name, samples in chosen.items()} == {"stills": 2, "pages": 2, "tales": 1}
    for name, samples in chosen.items():
        first = [position for position in order if ledger["component"].iat[position] == name][: len(samples)]
        assert samples == [(position, 1 + order.index(position) // 3) for position in first]


def test_a_small_component_leaves_its_share_to_the_others(prepared: Prepared) -> None:
    chosen = choose(prepared.plan, 8)
    assert {name: len(samples) for name, samples in chosen.items()} == {"stills": 4, "pages": 3, "tales": 1}


def test_large_frames_are_stored_as_jpeg_unless_lossless() -> None:
    frame = torch.arange(3 * 32 * 32, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(3, 32, 32)
    assert frame_uri(frame, lossless=True).startswith("data:image/png;base64,")
    assert frame_uri(frame, lossless=False).startswith("data:image/jpeg;base64,")
