"""The page of a report: texts escaped, first frames shown, links that lead somewhere, and a look in a real browser."""

import base64
import io
import re
import shutil
import struct
import subprocess
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from sparrow.report.first_frames import MAX_FRAMES, first_frames
from sparrow.report.output import build_report
from sparrow.runs.settings import Study
from tests.report.run_folders import add_exact_run

EVIL = "<script>console.error('x')</script>"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROBE = """
<script>
addEventListener("error", event => document.body.dataset.errors = event.message, true);
addEventListener("load", () => {
  const all = [...document.images];
  document.body.dataset.images = all.length;
  document.body.dataset.empty = all.filter(i => !(i.naturalWidth > 1 && i.getBoundingClientRect().width > 8)).length;
  document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth;
});
</script>
"""


def log_frames(folder, frames):
    """A TensorBoard file of frames, as training's logger writes it: a TFRecord of events."""
    from tensorboard.compat.proto.event_pb2 import Event

    folder.mkdir(parents=True)
    with open(folder / "events.out.tfevents.1", "wb") as file:
        for number, frame in enumerate(frames):
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "PNG")
            event = Event()
            value = event.summary.value.add(tag=f"data/first_frames/{number:02d}")
            value.image.encoded_image_string = buffer.getvalue()
            payload = event.SerializeToString()
            file.write(struct.pack("<QI", len(payload), 0) + payload + struct.pack("<I", 0))


@pytest.fixture
def study(tmp_path):
    root = tmp_path / "study"
    random = np.random.default_rng(0)
    declared = Study(name=f"study {EVIL}", question=f"Is {EVIL} shown?", factors=["mixture"])
    for mixture in ("video", f"pages {EVIL}"):
        for seed in (0, 1):
            folder = root / f"{mixture[:5]},seed={seed} #1"
            add_exact_run(
                folder, {"mixture": mixture}, {"clips": {"before": 10, "after": 20}}, seed=seed, study=declared
            )
    log_frames(root / "video,seed=0 #1" / "tensorboard", random.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8))
    return root


def test_texts_are_escaped_and_nothing_is_loaded_from_outside(study):
    page = build_report([study], study).html.read_text()
    assert "<script" not in page
    assert "<h1>Report: " in page
    assert page.count("&lt;script&gt;") >= 3
    assert all(uri.startswith("data:") for uri in re.findall(r'src="([^"]*)"', page))
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_links_lead_to_the_tensorboard_folders_from_wherever_the_page_is(study, tmp_path):
    for out in (study, tmp_path / "elsewhere" / "deep"):
        page = build_report([study], out).html
        (link,) = re.findall(r'<a href="([^"#]*)"', page.read_text())
        assert list((page.parent / unquote(link)).glob("events.*"))


def test_some_of_the_logged_frames_are_shown(study):
    folder = study / "video,seed=0 #1"
    assert len(first_frames(folder)) == MAX_FRAMES
    page = build_report([study], study).html.read_text()
    assert page.count('alt="Frame ') == MAX_FRAMES
    assert first_frames(study / "pages,seed=0 #1") == []


def test_what_training_logs_is_found_and_spread_over_the_step(tmp_path):
    from pytorch_lightning.loggers import TensorBoardLogger

    from sparrow.models.frame_buffer import Frames
    from sparrow.training.callbacks import LogFrames

    greys = [np.full((16, 16, 3), grey, dtype=np.uint8) for grey in range(48)]
    micro_batches = [SimpleNamespace(frames=Frames.of(part)) for part in (greys[:24], greys[24:])]
    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    trainer = SimpleNamespace(global_step=0, is_global_zero=True, loggers=[logger])
    LogFrames().on_train_batch_start(trainer, None, SimpleNamespace(micro_batches=micro_batches), 0)
    logger.finalize("success")
    pictures = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in first_frames(tmp_path)]
    assert [picture.getpixel((0, 0))[0] for picture in pictures] == [0, 6, 12, 18, 24, 30, 36, 42]


def test_large_frames_are_made_small(tmp_path):
    log_frames(tmp_path / "tensorboard", np.zeros((2, 448, 448, 3), dtype=np.uint8))
    frames = first_frames(tmp_path)
    assert all(uri.startswith("data:image/jpeg") and len(uri) < 5_000 for uri in frames) and len(frames) == 2


@pytest.mark.parametrize(("kept", "shown"), [(0, 0), (5, 0), (100, 0), (-3, MAX_FRAMES)])
def test_a_half_written_file_of_frames_gives_what_is_whole(study, kept, shown):
    path = study / "video,seed=0 #1" / "tensorboard" / "events.out.tfevents.1"
    path.write_bytes(path.read_bytes()[:kept])
    assert len(first_frames(path.parent.parent)) == shown
    path.write_bytes(b"\xff" * 4096)
    assert first_frames(path.parent.parent) == []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
def test_a_browser_shows_the_page_without_errors(study, tmp_path):
    page = build_report([study], study).html
    probed = tmp_path / "probed.html"
    # The page forbids scripts: the probe goes in with a policy that allows its own.
    text = page.read_text().replace(
        "style-src 'unsafe-inline'", "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    probed.write_text(text.replace("</head>", f"{PROBE}</head>"))
    dom, log = look(probed, tmp_path)
    assert 'data-images="10"' in dom, "two pictures and eight frames"
    assert 'data-empty="0"' in dom
    assert 'data-wide="false"' in dom, "the page itself does not scroll sideways"
    assert "data-errors" not in dom
    assert "CONSOLE" not in log
    _, log = look(page, tmp_path)
    assert "CONSOLE" not in log, log


def look(page, tmp_path):
    """The page's elements once loaded, and the browser's log with what went to the console."""
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--enable-logging=stderr", "--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=640,900"),
        *("--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr
