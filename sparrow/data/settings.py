"""Settings of data: sources, mixtures, and how samples are grouped into steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from sparrow.core.entries import Registry
from sparrow.core.settings import REQUIRED, AtLeast0, AtLeast1, Share, one_of, setting, settings
from sparrow.world.settings import SourceTable

MIXTURE_TOTALS = ("num_samples", "num_tokens", "num_frames", "num_supervised_tokens")
ExportName = Literal["llamafactory", "llava", "ms_swift"]
CONVERTERS: Registry[Any] = Registry(
    "converter",
    {
        "alpaca": "sparrow.data.converters.short_text.ALPACA",
        "booksum": "sparrow.data.converters.long_text.BOOKSUM",
        "context_qa": "sparrow.data.converters.long_text.CONTEXT_QA",
        "llava": "sparrow.data.converters.video.LLAVA",
        "long_nq": "sparrow.data.converters.long_text.LONG_NQ",
        "longalpaca": "sparrow.data.converters.long_text.LONGALPACA",
        "longqlora": "sparrow.data.converters.long_text.LONGQLORA",
        "messages": "sparrow.data.converters.messages.MESSAGES",
        "minicpmv": "sparrow.data.converters.video.MINICPMV",
        "qmsum": "sparrow.data.converters.long_text.QMSUM",
        "sharegemini": "sparrow.data.converters.video.LLAVA",
        "videochatgpt": "sparrow.data.converters.video.VIDEOCHATGPT",
    },
    "sparrow.data.converters.converter.Converter",
)
SELECTIONS: Registry[Any] = Registry(
    "selection",
    {
        "kcenter": "sparrow.instructions.selection.k_center",
        "cluster_balanced": "sparrow.instructions.selection.cluster_balanced",
        "dedup": "sparrow.instructions.selection.dedup",
    },
    ("vectors", "first", "duplicate_similarity"),
)


@settings
class Source:
    """Records of one publisher: which files, and the converter that makes samples of them."""

    converter: Annotated[str, one_of(CONVERTERS)] = setting("a name, or the dotted path of your own", default=REQUIRED)
    files: list[str] = setting("relative to `root`, or `hf:NAME` of `datasets`", default_factory=list)
    root: str = setting("folder of the files", default=REQUIRED, recorded=True)
    media_root: str = setting("folder of the media, relative to `root`", default="")
    config_name: str | None = setting("configuration of a `datasets` data set", default=None)
    split: str | None = setting("split of a `datasets` data set", default=None)
    revision: str | None = setting("revision of a `datasets` data set", default=None)
    min_context_words: AtLeast1 | None = setting(
        "leave out records with shorter long texts", default=None, unit="words"
    )
    unknown_fields: Literal["count", "refuse"] = setting(
        "what becomes of records with fields that the converter does not know", default="count", added=True
    )
    media_roots: list[str] = setting(
        "further folders where absolute media paths and links may lead", default_factory=list, recorded=True
    )
    world: SourceTable | None = setting("table of the generated world that has this source's schema", default=None)
    use_world: bool = setting("read that table in place of `files`", default=False)


@settings
class Component:
    """One part of a mixture: `num_samples` of a source, a `fraction` of the mixture's total, or its `remainder`.

    The limits leave samples out of the draw, and the next ones take their places.
    """

    source: str = setting("name of a chosen source", default=REQUIRED)
    num_samples: AtLeast1 | None = setting(
        "exact size", default=None, unit="samples", remedy="drop the component instead of giving it none"
    )
    fraction: Share | None = setting("share of the mixture's total", default=None)
    remainder: bool = setting("take what the others leave of the total", default=False)
    repeat: AtLeast1 = setting("times that each drawn sample is shown in an epoch; sizes count all of them", default=1)
    max_pages: AtLeast1 | None = setting("leave out texts with more pages", default=None, unit="pages")
    max_instruction_words: AtLeast1 | None = setting("leave out longer instructions", default=None, unit="words")
    max_context_words: AtLeast1 | None = setting("leave out longer texts", default=None, unit="words")
    max_tokens: AtLeast1 | None = setting("leave out samples estimated longer", default=None, unit="tokens", added=True)
    tokens_per_page: AtLeast1 = setting("estimate of one page for `max_tokens`", default=96, unit="tokens", added=True)
    selection: Annotated[str, one_of(SELECTIONS, "hash")] = setting(
        "order in which samples are drawn: `hash` at random, the others by their instructions", default="hash"
    )
    present_as: Literal["video", "pages", "text"] = setting(
        "`video`: videos and pictures as they are; `pages`, `text`: long texts as page images or as text",
        default="video",
    )
    frames: dict[str, Any] = setting("what differs from `frames`", default_factory=dict, added=True)
    text_to_image: dict[str, Any] = setting("what differs from `text_to_image`", default_factory=dict, added=True)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """That there is one size."""
        sizes = (self.num_samples is not None, self.fraction is not None, self.remainder)
        if self.source != REQUIRED and sum(sizes) != 1:
            yield "", "needs exactly one of num_samples, fraction and remainder=true"


@settings
class Mixture:
    """Components by name, and the one total of their fractions."""

    num_samples: AtLeast1 | None = setting("total of the fractions", default=None, unit="samples")
    num_tokens: AtLeast1 | None = setting("total of the fractions", default=None, unit="tokens")
    num_frames: AtLeast1 | None = setting("total of the fractions", default=None, unit="frames")
    num_supervised_tokens: AtLeast1 | None = setting("total of the fractions", default=None, unit="supervised tokens")
    components: dict[str, Component] = setting("by name", default_factory=dict)

    @property
    def totals(self) -> list[str]:
        """Names of the totals that are given; at most one."""
        return [name for name in MIXTURE_TOTALS if getattr(self, name) is not None]

    @property
    def sources(self) -> list[str]:
        """The source of each component."""
        return [component.source for component in self.components.values()]

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Settings that contradict each other."""
        totals = self.totals
        if len(totals) > 1:
            yield "", f"has several totals: {', '.join(totals)}; keep one and set the others to null"
        if sum(component.remainder for component in self.components.values()) > 1:
            yield "components", "only one component can take the remainder"
        for name, component in self.components.items():
            if (component.fraction is not None or component.remainder) and not totals:
                yield "num_samples", f"a total is needed for component '{name}'; or num_tokens, num_frames, ..."
            if component.fraction is None and totals and self.num_samples is None:
                yield f"components.{name}", f"needs a fraction where the mixture's total is {totals[0]}"
        is_whole = self.num_samples or all(c.fraction is not None for c in self.components.values())
        if len(totals) == 1 and self.components and is_whole:
            yield from self._sum_conflicts(totals[0])

    def _sum_conflicts(self, total: str) -> Iterator[tuple[str, str]]:
        """That the components are as much as the total; fractions are typed with few digits."""
        components, size = self.components.values(), self.num_samples or 1
        parts = sum((c.num_samples or 0) + (c.fraction or 0.0) * size for c in components)
        if abs(parts - size) <= 1e-6 * size or (parts < size and any(c.remainder for c in components)):
            return
        if self.num_samples is None:
            fix = "change them so that they add up to 1"
            yield "", f"the fractions of its components add up to {parts:.6g} of mixture.{total}; {fix}"
        else:
            fix = "change a fraction, a num_samples or the total"
            yield "", f"the components add up to {parts:.6g} samples, mixture.num_samples is {size}; {fix}"


@settings
class Batching:
    """How samples are grouped into optimizer steps and micro-batches."""

    name: Literal["packed", "padded", "length_grouped", "packed_epoch"] = setting(
        "docs/training.md compares them", default="packed"
    )
    global_batch_size_samples: AtLeast1 = setting("of an optimizer step", default=64, unit="samples")
    micro_batch_size_samples: AtLeast1 = setting("rows of a padded micro-batch", default=2, unit="samples")
    max_seq_len_tokens: AtLeast1 = setting("longest row; a longer sample is rejected", default=10740, unit="tokens")
    num_epochs: AtLeast1 = setting("passes over the mixture", default=1)
    nested_order: bool = setting("a smaller mixture is the beginning of a larger one", default=False, added=True)
    num_workers: AtLeast0 = setting("loading processes per training process", default=2, recorded=True)
    sample_timeout_s: AtLeast0 = setting("most for loading a sample", default=600, unit="s", recorded=True)
    cache_frames: bool = setting("keep decoded frames on disk", default=False, recorded=True)
