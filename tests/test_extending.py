"""The guide for extensions: its converter and its benchmark format work from outside the package, as typed there."""

import json
import re
import shlex
from pathlib import Path

from tests.media.video_clips import write_clip

GUIDE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


def test_a_converter_and_a_benchmark_of_ones_own_are_named_by_their_dotted_paths(sparrow, tmp_path):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab/readers.py").write_text(re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1])
    for name, text in re.findall(r"`my_conf/(\S+\.yaml)`:\n\n```yaml\n(.*?)```", GUIDE, re.DOTALL):
        (tmp_path / "my_conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my_conf" / name).write_text(text)
    rows = [{"q": "How many?", "a": "Two."}, {"q": "Which?", "a": "That one."}]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam = {"video": "clip.mp4", "question": "What moves?", "options": ["a dot", "a line"], "answer": "a line"}
    (tmp_path / "exam.jsonl").write_text(json.dumps(exam) + "\n")
    write_clip(tmp_path / "clip.mp4")

    command = re.search(r"sparrow (prepare .*)", GUIDE)[1]
    done = sparrow(*shlex.split(command), "hydra.run.dir=run", prepare=lambda: _add_to_path(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "2 samples in 1 optimizer step" in done.stdout
    assert "none among 2 samples and exam" in done.stdout


def _add_to_path(folder):
    import sys

    sys.path.insert(0, str(folder))


def test_a_dotted_path_that_leads_nowhere_is_refused_with_the_module_that_is_missing(sparrow):
    done = sparrow("prepare", "+source=[alpaca]", "source.alpaca.converter=my_lab.missing.QUIZ", "mixture=world/video")
    assert done.returncode == 1
    assert (
        "the converter 'my_lab.missing.QUIZ' cannot be imported (ModuleNotFoundError: No module named 'my_lab')"
        in done.stderr
    )
