"""The selected mixture as files of other trainers: pages and frames as pictures, videos by reference, in order."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from torch.utils.data import DataLoader

from sparrow.core.bars import Bar
from sparrow.core.errors import DataError, RunError
from sparrow.core.files import Roots, drafted, inside_root, write_json
from sparrow.core.hashing import content_hash
from sparrow.core.samples import Image, LongText, Part, Sample, Text, Video
from sparrow.data.encode import Presentation
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.rejecting import FAIL, BadSamples
from sparrow.data.supervised_loader import Mapped, started
from sparrow.data.trainer_records import EXPORTS, Form, media_paths
from sparrow.media.frame_folders import find_video, frame_files, is_frames
from sparrow.media.frames import planned_frames, probe_video
from sparrow.media.images import encode_png
from sparrow.media.pages import count_pages, render_text, style_fingerprint

SUMMARY_FILE = "export.json"
CHUNK = 16
_PLACEHOLDER = re.compile("<(image|video|audio)>")


@dataclass
class Export:
    """What was written; `left_out` has the ids of samples that the trainer cannot hold, by reason."""

    trainer: str
    manifest: str
    num_samples: int = 0
    num_images: int = 0
    num_videos: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def num_left_out(self) -> int:
        """Samples that the trainer cannot hold."""
        return sum(map(len, self.left_out.values()))


def export_mixture(
    plan: Plan,
    inputs: PlanInputs,
    trainer: str,
    folder: Path,
    *,
    bad_samples: BadSamples = FAIL,
    num_workers: int = 0,
) -> Export:
    """Write the used samples of a plan as its first epoch shows them: in its order, repeated ones repeatedly.

    The folder appears when it is whole, and replaces an earlier export. Videos and pictures are hard links, or copies
    where the file system has no such links; so the folder can be moved, and no path leads out of it.

    `trainer` is a key of `EXPORTS`; `num_workers` processes draw pages.

    Raises:
        DataError: If a sample cannot be written (`fail`), or too many cannot (`skip`).
        RunError: If the folder holds something that is no export.
    """
    if folder.exists() and not (folder / SUMMARY_FILE).is_file():
        raise RunError(f"{folder} is there and no export of Sparrow; move it away, or name another hydra.run.dir")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with drafted(folder) as draft:
        positions = list(dict.fromkeys(np.concatenate(plan.steps).tolist()))
        export = Export(trainer, plan.content_hash)
        write = partial(_write_sample, plan, inputs, EXPORTS[trainer], draft)
        loader = DataLoader(Mapped(write, positions), batch_size=CHUNK, num_workers=num_workers, collate_fn=list)
        with open(draft / EXPORTS[trainer].file, "w", encoding="utf-8", newline="\n") as file:
            _write_records(loader, EXPORTS[trainer], file, export, skip=bad_samples.policy == "skip")
        if export.num_left_out > bad_samples.max_fraction * len(positions):
            raise DataError(
                f"{trainer} cannot hold {export.num_left_out} of {len(positions)} samples, more than "
                f"max_bad_fraction={bad_samples.max_fraction}: {'; '.join(export.left_out)}",
                remedy="choose another trainer, or raise max_bad_fraction",
            )
        for name, document in EXPORTS[trainer].extra_files.items():
            write_json(draft / name, document)
        write_json(draft / SUMMARY_FILE, asdict(export))
        shutil.rmtree(folder, ignore_errors=True)
    return export


class _Written(NamedTuple):
    """A sample's record, or why there is none."""

    name: str
    record: str
    num_images: int
    num_videos: int
    problem: DataError | None


def _write_records(loader: DataLoader, form: Form, file: TextIO, export: Export, *, skip: bool) -> None:
    start, between, end = form.frame
    file.write(start)
    for written in chain.from_iterable(Bar(started(loader), total=len(loader), desc="export", unit="batch")):
        if written.problem is not None:
            if not skip:
                raise written.problem
            export.left_out.setdefault(written.problem.what, []).append(written.name)
            continue
        file.write((between if export.num_samples else "") + written.record)
        export.num_samples += 1
        export.num_images += written.num_images
        export.num_videos += written.num_videos
    file.write(end)


def _write_sample(plan: Plan, inputs: PlanInputs, form: Form, folder: Path, position: int) -> _Written:
    """Write the media of the sample at a ledger position; its record."""
    component, source, row, showing = plan.ledger.loc[position, ["component", "source", "row", "showing"]]
    data = inputs.sources[source]
    name = f"{component}/{data.ids[row]}" + (f"#{showing + 1}" if showing else "")
    try:
        if form.learns_all and not all(message.supervised for message in data[row].messages):
            raise DataError("an answer is not to be learnt, this trainer learns all of them")
        sample = with_files(data[row], name, data.media_roots, inputs.presentations[component], folder)
        record = json.dumps(form.record(sample), ensure_ascii=False)
    except DataError as error:
        # Returned: the loader would wrap what its workers raise into their tracebacks.
        remedy = error.remedy or "choose another trainer, or leave such samples out with on_bad_sample=skip"
        problem = DataError(error.what, where=error.where, remedy=remedy)
        return _Written(name, "", 0, 0, problem.within(f"sample {data.ids[row]!r}", source))
    return _Written(name, record, len(media_paths(sample, Image)), len(media_paths(sample, Video)), None)


def with_files(sample: Sample, name: str, media_root: Roots, how: Presentation, folder: Path) -> Sample:
    """The sample as another trainer meets it, with all that it shows written to a folder.

    Long texts become pictures of pages or a part of the question, folders of frames the pictures that are shown of
    them. Paths of the result are relative to the folder.

    Raises:
        DataError: If a text holds a placeholder, or a video file is shown in part.
    """
    messages = []
    for message in sample.messages:
        parts: list[Part] = []
        for part in (new for old in message.parts for new in _parts(old, sample.source, media_root, how, folder)):
            last = parts[-1] if parts else None
            if isinstance(part, Text) and isinstance(last, Text):
                parts[-1] = Text(last.text + part.text)
            else:
                parts.append(part)
        messages.append(replace(message, parts=tuple(parts)))
    return Sample(name, sample.source, tuple(messages))


def _parts(part: Part, source: str, media_root: Roots, how: Presentation, folder: Path) -> Iterator[Part]:
    match part:
        case LongText() if how.present_as == "pages":
            yield from (Image(path) for path in _draw(part.text, how, folder))
        case Text() | LongText():
            if found := _PLACEHOLDER.search(part.text):
                raise DataError(f"a text holds {found[0]!r}, which the trainer takes for a placeholder")
            if part.text.strip():
                yield Text(part.text + ("\n" if isinstance(part, LongText) else ""))
        case Image():
            yield Image(_link(inside_root(media_root, part.path), source, media_root, folder))
        case Video() if is_frames(frames := find_video(media_root, part.path)):
            info, files = probe_video(frames, fps=part.fps), frame_files(frames)
            for index in planned_frames(info, how.frames, part.start_s, part.end_s):
                yield Image(_link(files[index], source, media_root, folder))
        case Video():
            if part.start_s is not None or part.end_s is not None:
                raise DataError("a video is shown in part, trainers show all of it; cut it first")
            yield Video(_link(inside_root(media_root, part.path), source, media_root, folder))


def _draw(text: str, how: Presentation, folder: Path) -> list[str]:
    """Paths of the pages of a text; several questions about one text share them."""
    digest = content_hash([text, style_fingerprint(how.style)])
    pages = Path("pages") / digest[:2] / digest
    try:
        (folder / pages).mkdir(parents=True)
    except FileExistsError:
        count = count_pages(text, how.style)
    else:
        drawn = render_text(text, how.style)
        count = len(drawn)
        for number, page in enumerate(drawn):
            (folder / _page(pages, number)).write_bytes(encode_png(page))
    return [str(_page(pages, number)) for number in range(count)]


def _page(pages: Path, number: int) -> Path:
    return pages / f"{number:05d}.png"


def _link(origin: Path, source: str, roots: Roots, folder: Path) -> str:
    """Put a media file into the export, once; several workers may be at it."""
    origin, root = origin.resolve(), (roots if isinstance(roots, Path) else roots[0]).resolve()
    inside = origin.is_relative_to(root)
    target = (
        Path("media")
        / source
        / (origin.relative_to(root) if inside else f"{content_hash(str(origin.parent))}/{origin.name}")
    )
    (folder / target).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(origin, folder / target)
    except FileExistsError:
        pass
    except FileNotFoundError:
        raise DataError(f"the file {str(origin)!r} is no longer there", remedy="put it back") from None
    except OSError:  # on another file system
        if not (folder / target).exists():
            part = folder / f"{target}.{os.getpid()}"
            shutil.copyfile(origin, part)
            part.replace(folder / target)
    return str(target)
