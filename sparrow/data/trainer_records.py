"""Records of other trainers: samples whose media are files, in each trainer's own schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.core.samples import Image, LongText, Part, Sample, Text, Video

DATASET_NAME = "sparrow"  # in dataset_info.json


@dataclass(frozen=True)
class Form:
    """The files of one trainer.

    Args:
        file: Name of the file of records.
        record: A sample, whose paths are relative to the export, in the trainer's schema. Raises `DataError` for a
            sample that the trainer cannot hold.
        converter: The converter of Sparrow that reads the records back.
        learns_all: Whether the trainer learns every answer, so that it holds no sample with one that is not learnt.
        frame: What stands before, between and after the records.
        extra_files: Further JSON documents by name.
    """

    file: str
    record: Callable[[Sample], dict[str, Any]]
    converter: str
    learns_all: bool = True
    frame: tuple[str, str, str] = ("", "\n", "\n")
    extra_files: Mapping[str, Any] = field(default_factory=dict)


def messages_record(sample: Sample) -> dict[str, Any]:
    """`messages` with placeholders and the columns `images` and `videos`, both always there, as Arrow wants it."""
    return {
        "id": sample.id,
        "messages": [
            {"role": message.role, "content": "".join(_in_words(part, "<image>", "<video>") for part in message.parts)}
            | ({} if message.supervised else {"loss": False})
            for message in sample.messages
        ],
        "images": media_paths(sample, Image),
        "videos": media_paths(sample, Video),
    }


def llava_record(sample: Sample) -> dict[str, Any]:
    """`conversations` about an `image`, a list of them, or a `video`, whose placeholder too is `<image>` there."""
    images, videos = media_paths(sample, Image), media_paths(sample, Video)
    if images and videos:
        raise DataError("it shows pictures and a video, LLaVA takes the one or the other")
    if len(videos) > 1:
        raise DataError("it shows several videos, LLaVA takes one")
    if sample.messages[0].role == "system":
        raise DataError("it has a system turn, LLaVA takes none")
    media: dict[str, Any] = {"video": videos[0]} if videos else {}
    if images:
        media = {"image": images[0] if len(images) == 1 else images}
    speakers = {"user": "human", "assistant": "gpt"}
    return {
        "id": sample.id,
        **media,
        "conversations": [
            {
                "from": speakers[message.role],
                "value": "\n".join(_in_words(part, "<image>", "<image>") for part in message.parts),
            }
            for message in sample.messages
        ],
    }


EXPORTS: dict[str, Form] = {
    "llamafactory": Form(
        "data.jsonl",
        messages_record,
        "messages",
        # https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md
        extra_files={"dataset_info.json": json.loads(Path(__file__).with_name("dataset_info.json").read_text("utf-8"))},
    ),
    "ms_swift": Form("data.jsonl", messages_record, "messages", learns_all=False),
    "llava": Form("data.json", llava_record, "llava", frame=("[\n", ",\n", "\n]\n")),
}


def media_paths(sample: Sample, kind: type[Image] | type[Video]) -> list[str]:
    """Paths of the sample's pictures or of its videos, in order."""
    return [part.path for part in sample.parts() if isinstance(part, kind)]


def _in_words(part: Part, image: str, video: str) -> str:
    return part.text if isinstance(part, (Text, LongText)) else image if isinstance(part, Image) else video
