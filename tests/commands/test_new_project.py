"""`sparrow init`: what is found in folders of data, what is written, and that commands find a project by themselves."""

import json
import re

import pytest

from tests.media.video_clips import write_clip

TURNS = [{"from": "human", "value": "<video>\nWhat is there?"}, {"from": "gpt", "value": "A dog."}]
QUESTION = {"question_id": 0, "video": "a.mp4", "prompt": "What?\nA. x\nB. y", "GT": "A", "category": "c"}
FILES = {
    "clips.json": json.dumps([{"id": f"c{i}", "video": "a.mp4", "conversations": TURNS} for i in range(3)]),
    "texts/stories.jsonl": '{"context": "a long text", "question": "Who?", "answer": "She."}\n',
    "texts/short.json": '[{"instruction": "Say yes.", "input": "", "output": "Yes."}]',
    "exam.jsonl": json.dumps(QUESTION),
    "lost.json": json.dumps([{"video": "gone.mp4", "conversations": TURNS}]),
    "odd.csv": "a,b\n1,2\n",
}


@pytest.fixture
def data(tmp_path):
    for name, text in FILES.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_text(text)
    (tmp_path / "data/media").mkdir()
    write_clip(tmp_path / "data/media/a.mp4", 8)
    return tmp_path / "data"


def test_a_project_has_what_lies_in_the_folders_and_commands_in_it_need_no_flag(sparrow, tmp_path, data):
    done = sparrow("init", "my_study", str(data))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[: len(FILES)] == [
        "clips.json: 3 samples, read by 'llava', source=clips, 1 of 1 media files in media/",
        "exam.jsonl: 1 question, benchmark=exam, 1 of 1 media files in media/",
        "lost.json: not used: none of its 1 media files is here, such as gone.mp4",
        "odd.csv: not used: no converter reads its records (fields: a, b)",
        "texts/short.json: 1 sample, read by 'alpaca', source=short",
        "texts/stories.jsonl: 1 sample, read by 'context_qa', source=stories",
    ]
    project = tmp_path / "my_study"
    (project / "below").mkdir()
    commands = re.findall(r"^sparrow (\w+ .*?) +#", (project / "README.md").read_text(), re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["preview", "prepare", "train", "report"]
    run = ["prepare", "experiment=my_study", "scale=tiny", "batching.num_workers=0"]
    done = sparrow(*run, folder=project / "below")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == f"project {project}: settings of its conf/, runs in its outputs/"
    (manifest,) = (project / "outputs/prepare/my_study").rglob("manifest.json")
    components = json.loads(manifest.read_text())["components"]
    assert {name: part["used"] for name, part in components.items()} == {"clips": 3, "short": 1, "stories": 1}
    assert "sample_divisor" not in done.stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["my study", "data"], "'my study': take a name of letters, digits and _"),
        (["quickstart", "data"], "'quickstart': take a name"),
        (["mine", "nowhere"], "nowhere: there is no such folder"),
        (["mine", "data/media"], "data/media: nothing here can be trained on"),
        (["data", "data"], "data is not empty"),
    ],
)
def test_a_project_that_cannot_be_made_is_one_message_and_leaves_nothing(sparrow, tmp_path, data, given, said):
    done = sparrow("init", *given)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.startswith("ConfigError: ") and said in done.stderr
    assert not (tmp_path / "mine/sparrow.yaml").exists()


def test_a_project_without_data_draws_from_the_generated_world(sparrow, tmp_path):
    assert sparrow("init", "mine").returncode == 0
    shown = ("--package", "mixture.components", "--cfg", "job")
    done = sparrow("prepare", "experiment=mine", "scale=tiny", *shown, folder=tmp_path / "mine")
    assert "world_clips" in done.stdout, done.stderr
