"""Planning a mixture: frames and tokens counted from headers and layout, against decoding and processing every sample.

`python benchmarks/planning.py` plans generated clips and long texts with the tiny backbone at the paper's page size,
one process, and compares with what a trainer without a plan does to learn the lengths: decode, draw and run the
family's processor. The second plan is read from the cache.

`python benchmarks/planning.py --records 1000000` plans that many questions, five to a video, by two processes that
measure: three starts, each a process of its own, of which the first reads the records and measures, the second finds
both in the cache, and the third has one file replaced. The media are simulated: the files are there but empty, and
opening one gives a made-up header. With `--simulate-tokens` the chats are not tokenised either, which takes most of a
first start and does not depend on how measurements are stored. With `--calls` the system calls that name a file are
counted, those of imports among them (by strace, which has to be installed; the seconds then hold its work too).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from sparrow.app.entry import set_up
from sparrow.app.schema import checked
from sparrow.data import encode, video_headers
from sparrow.data.encode import load_frames
from sparrow.media.frames import VideoInfo
from sparrow.models.backbone import TokenizedChat
from sparrow.planning.run_inputs import Prepared, prepare
from sparrow.settings import ExperimentConfig

QUESTIONS_A_VIDEO = 5


def settings(folder: Path, *overrides: str) -> ExperimentConfig:
    set_up()
    common = ["scale=tiny", "sample_divisor=1", f"paths.cache_root={folder}", *overrides]
    with initialize_config_module("sparrow.conf", version_base="1.3"):
        composed = compose("train", overrides=common)
    OmegaConf.set_struct(composed, False)
    return checked(composed, ExperimentConfig)


def of_generated_world(num_samples: int) -> list[str]:
    return [
        "mixture=world/sparrow",
        f"mixture.num_samples={num_samples}",
        f"world.num_clips={num_samples}",
        f"world.num_event_texts={num_samples}",
        "backbone.frame_size_px=448",
        "text_to_image.page_width_px=448",
        "text_to_image.page_height_px=448",
        "text_to_image.font_size_px=20",
        "text_to_image.margin_px=20",
        "text_to_image.words_per_page=5",
        "batching.num_workers=0",
    ]


def of_simulated_media(folder: Path, num_records: int) -> list[str]:
    return [
        "mixture=world/video",
        f"mixture.num_samples={num_records}",
        "batching=packed",
        "batching.global_batch_size_samples=128",
        "batching.num_workers=2",
        "source.world_clips.use_world=false",
        "source.world_clips.files=[records.json]",
        f"source.world_clips.root={folder}",
        "source.world_clips.media_root=media",
    ]


def write_records(folder: Path, num_records: int) -> None:
    """Records about empty files, in folders of a thousand."""
    with open(folder / "records.json", "w") as file:
        for number in range(num_records):
            video = f"{number // QUESTIONS_A_VIDEO // 1000:05}/{number // QUESTIONS_A_VIDEO:08}.mp4"
            if number % QUESTIONS_A_VIDEO == 0:
                path = folder / "media" / video
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
            turns = [
                {"from": "human", "value": f"<video>\nWhat does the person in scene {number} do after that, and why?"},
                {"from": "gpt", "value": f"The person opens door {number % 977} of the red house and waits outside."},
            ]
            record = {"id": f"record-{number}", "video": video, "conversations": turns}
            file.write(("[" if number == 0 else ",\n") + json.dumps(record))
        file.write("]\n")


def simulated(path: Path, *_: object) -> VideoInfo:
    """A clip of 10 to 59 s at 30 frames a second."""
    seconds = 10 + int(path.stem) % 50
    return VideoInfo(num_frames=30 * seconds, fps=30.0, duration_s=float(seconds), width_px=640, height_px=360)


def start(folder: Path, num_records: int, *, simulate_tokens: bool) -> None:
    """One start of a run, up to its plan; prints what it took."""
    config = settings(folder / "cache", *of_simulated_media(folder, num_records))
    begun, begun_cpu_s = time.perf_counter(), time.process_time()
    chat = TokenizedChat(np.zeros(100, np.int64), np.ones(100, bool), 10)
    tokenised = mock.patch.object(encode, "tokenize", lambda *_: chat) if simulate_tokens else nullcontext()
    with mock.patch.object(video_headers, "look_at_header", simulated), tokenised:
        prepared = prepare(config)
    taken = [time.perf_counter() - begun, time.process_time() - begun_cpu_s]
    assert prepared.plan.num_samples == num_records
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    taken.append(usages[1].ru_utime + usages[1].ru_stime)
    print(json.dumps([*taken, *(usage.ru_maxrss / 1e3 for usage in usages), prepared.plan.content_hash]))


def compare_starts(num_records: int, *, count_calls: bool, simulate_tokens: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_records(folder, num_records)
        prepare(settings(folder / "cache", "mixture=world/sparrow", "mixture.num_samples=2"))  # the tiny checkpoint
        print(f"{num_records:,} records of {-(-num_records // QUESTIONS_A_VIDEO):,} simulated videos")
        columns = ("seconds", "CPU s", "of workers", "peak MB", "of a worker", "calls by file")
        print(f"{'start':14}{''.join(f'{name:>14}' for name in columns)}   plan")
        for label in ("first", "second", "one replaced"):
            if label == "one replaced":
                os.utime(folder / "media" / "00000" / "00000000.mp4")
            command = [sys.executable, __file__, "--records", str(num_records), "--start", name]
            command += ["--simulate-tokens"] * simulate_tokens
            if count_calls:
                command = ["strace", "-f", "-c", "-qq", "--seccomp-bpf", "-e", "trace=%file", *command]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            *figures, plan = json.loads(done.stdout.splitlines()[-1])
            total = re.findall(r"^100\.00 +\S+ +\S* +(\d+)(?: +\d+)? total$", done.stderr, re.MULTILINE)
            calls = f"{int(total[-1]):,}" if total else "not counted"
            print(f"{label:14}{''.join(f'{figure:14,.1f}' for figure in figures)}{calls:>14}   {plan}", flush=True)


def decode_and_process(prepared: Prepared) -> int:
    """Tokens of all samples by the family's own processor."""
    backbone, num_tokens = prepared.backbone, 0
    for row in prepared.plan.ledger.itertuples():
        source, how = prepared.sources[row.source], prepared.presentations[row.component]
        sample = source[row.row]
        frames = [Image.fromarray(frame).convert("RGB") for frame in load_frames(sample, source.media_roots, how)]
        messages = [
            {
                "role": message.role,
                "content": [{"type": "image"}] * (len(frames) if i == 0 else 0)
                + [{"type": "text", "text": part.text} for part in message.parts if type(part).__name__ == "Text"],
            }
            for i, message in enumerate(sample.messages)
        ]
        prompt = backbone.processor.apply_chat_template(messages, tokenize=False)
        inputs = backbone.processor(text=prompt, images=frames, return_tensors="pt", add_special_tokens=False)
        num_tokens += int(inputs["input_ids"].shape[1])
    return num_tokens


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-samples", type=int, default=600)
    parser.add_argument("--records", type=int, help="plan so many, with simulated media")
    parser.add_argument("--calls", action="store_true", help="count system calls that name a file")
    parser.add_argument("--simulate-tokens", action="store_true", help="do not tokenise")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.start:
        start(options.start, options.records, simulate_tokens=options.simulate_tokens)
    elif options.records:
        compare_starts(options.records, count_calls=options.calls, simulate_tokens=options.simulate_tokens)
    else:
        compare_with_processor(options.num_samples)


def compare_with_processor(num_samples: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), *of_generated_world(num_samples))
        prepare(config)  # writes the world and the tiny checkpoint
        shutil.rmtree(Path(folder) / "measurements")
        first, prepared = seconds(lambda: prepare(config))
        again, _ = seconds(lambda: prepare(config))
        assert isinstance(prepared, Prepared)
        naive, num_tokens = seconds(lambda: decode_and_process(prepared))
    assert num_tokens == int(prepared.plan.lengths.sum()), "the plan counts what the processor gives"
    print(f"{num_samples} samples, {int(prepared.plan.ledger['num_frames'].sum())} frames of 448 px")
    for name, value in (("decode and process", naive), ("plan, first", first), ("plan, again", again)):
        print(f"{name:20s}{value:8.2f} s {num_samples / value:10.0f} samples/s {naive / value:8.1f}x")


if __name__ == "__main__":
    main()
