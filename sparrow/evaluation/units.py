"""Units of work: the questions about one clip, in order of cost, read by workers while the model is busy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from torch.utils.data import Dataset

from sparrow.analysis.answers import NOT_ASKED
from sparrow.core.errors import DataError
from sparrow.core.files import Roots, inside_root
from sparrow.data.encode import prepare
from sparrow.evaluation.prompts import Protocol, Row, chat_of, clip_of, rows_of
from sparrow.evaluation.questions import Question
from sparrow.media.frames import Clip
from sparrow.models.backbone import Backbone
from sparrow.models.frame_buffer import Frames

QUESTIONS_A_BLIND_UNIT = 8
BYTES_A_REPLY = 20_000  # video that takes about as long to read as a reply to score: it only orders the units


@dataclass(frozen=True)
class Unit:
    """Questions about the same prepared frames, as rows; for each why it cannot be asked, None where it can."""

    questions: list[Question]
    rows: list[list[Row]]
    frames: Frames
    frame_indices: tuple[int, ...]
    failures: list[str | None]


def group_into_units(questions: Sequence[Question], media_root: Roots, protocol: Protocol) -> list[list[Question]]:
    """Questions that share their frames, and all that stands before them, together; the costliest units first.

    The list depends on nothing but the arguments and the sizes of the videos, so that all ranks have the same.
    """
    if protocol.blind:
        ordered = sorted(questions, key=lambda q: q.id)
        size = QUESTIONS_A_BLIND_UNIT
        return [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]

    def key(question: Question) -> tuple[str, str]:
        before = question.subtitles if protocol.subtitles == "interleaved" else ()
        rest = (question.start_s, question.end_s, question.fps, question.system, before)
        return (question.video, repr(rest)) if question.video is not None else ("", question.id)

    def cost(unit: list[Question]) -> int:
        video = unit[0].video
        path = inside_root(media_root, video) if video is not None else None
        num_bytes = path.stat().st_size if path is not None and path.is_file() else 0
        return num_bytes + BYTES_A_REPLY * sum(max(1, len(question.options)) for question in unit)

    ordered = sorted(questions, key=lambda q: (key(q), q.id))
    units = [list(group) for _, group in groupby(ordered, key=key)]
    return sorted(units, key=lambda unit: (-cost(unit), unit[0].id))


class Units(Dataset):
    """Reads, tokenizes and hands over unit after unit; what cannot be asked is told, not raised."""

    def __init__(
        self, groups: list[list[Question]], backbone: Backbone, media_root: Roots, protocol: Protocol, benchmark: str
    ) -> None:
        self.groups, self.backbone, self.media_root = groups, backbone, media_root
        self.protocol, self.benchmark = protocol, benchmark

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Unit:
        questions = self.groups[number]
        try:
            clip = clip_of(questions[0], self.media_root, self.protocol)
        except DataError as error:
            return Unit(questions, [[] for _ in questions], Frames.of(()), (), [_failure(error)] * len(questions))
        rows: list[list[Row]] = []
        failures: list[str | None] = []
        for question in questions:
            try:
                rows.append(self._rows(question, clip))
                failures.append(None)
            except DataError as error:
                rows.append([])
                failures.append(_failure(error))
        _, shown = chat_of(questions[0], clip, self.protocol, self.benchmark)
        return Unit(questions, rows, prepare(list(clip.frames), shown, self.backbone), clip.indices, failures)

    def _rows(self, question: Question, clip: Clip) -> list[Row]:
        rows = rows_of(question, clip, self.backbone, self.protocol, self.benchmark)
        longest, most = max(len(row.ids) for row in rows), self.backbone.context_length_tokens
        if longest > most:
            raise DataError(
                f"it takes {longest} tokens, {self.backbone.family} was made for {most}",
                remedy="lower frames.max_frames or backbone.frame_size_px",
            )
        return rows


def _failure(error: DataError) -> str:
    """Why a question cannot be asked, with the place behind the reason."""
    what = "; ".join(part for part in (error.what, error.remedy) if part)
    return f"{NOT_ASKED}{what}" + (f" [{error.where}]" if error.where else "")
