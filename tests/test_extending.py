"""The guide for extensions: its package works from outside Sparrow, as typed there; what is wrong with one is said."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from sparrow.analysis.answers import Predictions
from sparrow.analysis.scores import METRICS as SCORE_METRICS
from sparrow.analysis.scores import score
from sparrow.core.errors import ConfigError, DataError
from sparrow.data.settings import CONVERTERS, SELECTIONS
from sparrow.evaluation.formats import read_benchmark
from sparrow.evaluation.settings import FORMATS
from sparrow.instructions.settings import EMBEDDERS, METRICS
from sparrow.models.registry import FAMILIES
from tests.media.video_clips import write_clip

GUIDE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
REGISTRIES = (CONVERTERS, FORMATS, SCORE_METRICS, FAMILIES, EMBEDDERS, SELECTIONS, METRICS)


@pytest.fixture
def lab(tmp_path):
    """The files of the guide, and the data that it reads."""
    for name, text in re.findall(r"`(my_\S+\.(?:py|jinja|yaml))`[^`]*```\w+\n(.*?)```", GUIDE, re.DOTALL):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    rows = [{"q": "How many?", "a": "Two."}, {"q": "Which?", "a": "That one."}]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    exam = {"video": "clip.mp4", "question": "What moves?", "options": ["a dot", "a line"], "answer": "a line"}
    hard = exam | {"options": ["a dot", "a line", "a ring", "a cross"]}
    (tmp_path / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (exam, hard)))
    write_clip(tmp_path / "clip.mp4")
    return tmp_path


@pytest.mark.slow
def test_a_package_of_ones_own_adds_a_converter_a_benchmark_a_metric_and_a_backbone(sparrow, lab):
    command = re.search(r"sparrow (train .*)", GUIDE)[1]
    prepare = lambda: sys.path.insert(0, str(lab))  # noqa: E731
    done = sparrow(*shlex.split(command), "hydra.run.dir=run", prepare=prepare)
    assert done.returncode == 0, done.stderr
    record = json.loads((lab / "run/run.json").read_text())
    assert (record["status"], record["num_steps_done"]) == ("finished", 2)
    assert record["config"]["backbone"]["family"] == "my_lab.llava.Llava"
    assert json.loads((lab / "run/model/config.json").read_text())["model_type"] == "llava"
    found = record["scores"]["exam"]["after"]
    assert found["metric"] == "my_lab.readers.by_difficulty"
    lines = [json.loads(line) for line in (lab / "run/predictions/after/exam.jsonl").read_text().splitlines()]
    assert [line["rule"] for line in lines] == ["letter_likelihood"] * 2
    right = {len(line["options"]): line["correct"] for line in lines}
    assert found["own"]["accuracy"] == pytest.approx((2 * right[2] + 4 * right[4]) / 6)

    again = sparrow(
        "evaluate",
        "--config-dir",
        "my_conf",
        "checkpoint=run",
        "benchmark=[exam]",
        "num_workers=0",
        "hydra.run.dir=again",
        prepare=prepare,
    )
    assert again.returncode == 0, again.stderr
    asked = json.loads((lab / "again/run.json").read_text())["scores"]["exam"]["after"]
    assert asked["own"] == found["own"]


BROKEN = {
    "raising.py": "x = 1 / 0\nQUIZ = None\n",
    "leaving.py": "import sys\nsys.exit('no')\n",
    "torn.py": "def read(:\n",
    "other.py": "def nothing():\n    pass\n\nclass Bare:\n    pass\n\nNUMBER = 3\n",
    "half.py": "from sparrow.models.square_frames import SquareFrames\n\nclass Half(SquareFrames):\n    pass\n",
}


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A package whose modules are wrong in a way each."""
    (tmp_path / "my_broken").mkdir()
    for name, text in BROKEN.items():
        (tmp_path / "my_broken" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_broken"]:
        del sys.modules[name]


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no_such_lab.readers.QUIZ", "No module named 'no_such_lab'"),
        ("my_broken.other.NUMBR", "my_broken.other has no 'NUMBR', but 'NUMBER'"),
        ("my_broken.raising.QUIZ", "ZeroDivisionError: division by zero in raising.py, line 1"),
        ("my_broken.leaving.QUIZ", "SystemExit: no in leaving.py, line 2"),
        ("my_broken.torn.QUIZ", "SyntaxError: .*torn.py, line 1"),
        ("my_broken.", "has no ''"),
        (".QUIZ", "cannot be imported"),
        ("my_broken.other.nothing", "is a function, expected"),
        ("my_broken.other.Bare", "is a class, expected"),
        ("my_broken.other.NUMBER", "is an int, expected"),
        ("os.path", "is a module, expected"),
    ],
)
def test_a_path_that_leads_to_no_entry_is_refused_with_the_reason(broken, registry, path, why):
    with pytest.raises(ConfigError, match=why) as caught:
        registry.check(path)
    assert f"the {registry.kind} '{path}'" in str(caught.value)
    assert "docs/extending.md" in str(caught.value) or f"choose one of {next(iter(registry))}" in str(caught.value)


def test_a_family_that_is_not_whole_is_refused_with_what_it_lacks(broken):
    with pytest.raises(
        ConfigError, match=r"'my_broken\.half\.Half' lacks end_of_turn, facts, square_token_ids, tiny; docs"
    ):
        FAMILIES.check("my_broken.half.Half")


@pytest.mark.parametrize(
    "keys",  # what needs an import is looked at once all else is right
    [
        ("source.quiz.converter", "benchmark.exam.format", "backbone.family"),
        ("benchmark.exam.metric", "embedder.name"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_its_setting_and_file_before_data_is_read(sparrow, lab, keys):
    (lab / "quiz.jsonl").unlink()
    settings = {
        "source.quiz.converter": "my_lab.readers.read_quiz",
        "benchmark.exam.format": "my_lab.readers.QUIZ",
        "benchmark.exam.metric": "my_lab.readers",
        "backbone.family": "my_lab.llava.Lava",
        "embedder.name": "tfidff",
    }
    done = sparrow(
        *("prepare", "--config-dir", "my_conf", "experiment=mine"),
        *(f"{key}={value}" for key, value in settings.items() if key in keys),
        prepare=lambda: sys.path.insert(0, str(lab)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for key, what in {
        "source.quiz.converter": "is a function, expected an object of sparrow.data.converters.converter.Converter",
        "benchmark.exam.format": "is a Converter, expected an object of sparrow.evaluation.formats.protocols.Format",
        "benchmark.exam.metric": "is a module, expected a function with the parameters answers",
        "backbone.family": "my_lab.llava has no 'Lava', but 'Llava'",
        "embedder.name": "'tfidff' is not one of tfidf, encoder; did you mean 'tfidf'? your own is named by its dotted",
    }.items():
        lines = [line for line in done.stderr.splitlines() if line.strip().startswith(f"{key}: ")]
        assert len(lines) == (key in keys)
        assert all(what in line and line.endswith("(on the command line)") for line in lines)


def test_an_error_of_ones_own_code_names_the_entry_the_file_and_the_line(sparrow, lab, monkeypatch):
    monkeypatch.syspath_prepend(lab)
    (lab / "exam.jsonl").write_text('{"video": null}\n')
    with pytest.raises(
        DataError,
        match=r"benchmark 'exam', .*exam.jsonl: the benchmark format 'my_lab.readers.EXAM' failed \(KeyError: 'question' in readers.py, line \d+\)",
    ):
        read_benchmark("my_lab.readers.EXAM", lab / "exam.jsonl", benchmark="exam")

    readers = (lab / "my_lab/readers.py").read_text()
    (lab / "my_lab/readers.py").write_text(readers.replace('record.text("a")', 'record.data["b"]'))
    command = "prepare --config-dir my_conf experiment=mine scale=tiny use_world=false sample_divisor=1 benchmark=[]"
    done = sparrow(*command.split(), prepare=lambda: sys.path.insert(0, str(lab)))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        "source 'quiz', quiz.jsonl, line 1: the converter 'my_lab.readers.QUIZ' failed (KeyError: 'b' in readers.py"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("return 1 / 0", r"failed \(ZeroDivisionError: division by zero in odd.py, line 2\)"),
        ("return [1.0]", r"expected \[2\] numbers"),
        ("return [-1.0, 3.0]", "none below 0"),
        ("return [0.0, 0.0]", "not all 0"),
        ("return None", "odd.weigh' failed"),
    ],
)
def test_a_metric_of_ones_own_that_fails_names_itself_and_the_file(tmp_path, monkeypatch, code, why):
    (tmp_path / "odd.py").write_text(f"def weigh(answers):\n    {code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    row = {"video": "v", "category": "c", "gold": 0, "options": ["a", "b"], "choice": 0, "correct": True}
    answers = Predictions.from_rows([row | {"question_id": name} for name in "pq"])
    with pytest.raises(DataError, match=why) as caught:
        score(answers, metric="odd.weigh", file="predictions/after/exam.jsonl")
    assert "predictions/after/exam.jsonl, 2 answers: the metric 'odd.weigh'" in str(caught.value)
