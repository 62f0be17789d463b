"""Rows of our own in the exact forms in which the benchmarks of `tables/` are published, written where a reader looks."""

import base64
import io
import json
from pathlib import Path

import pyarrow
from PIL import Image
from pyarrow import parquet

COLOURS = ("red", "green", "blue", "white", "black", "grey", "pink", "brown")
LETTERED = [f"{letter}. {colour}" for letter, colour in zip("ABCDEFGH", COLOURS, strict=True)]
VIDEOS = [f"clip{n}" for n in range(4)]


def picture(number: int) -> bytes:
    stored = io.BytesIO()
    Image.new("RGB", (32, 32), (60 * number % 255, 90, 120)).save(stored, "PNG")
    return stored.getvalue()


def _parquet(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _lines(path: Path, rows: list[dict]) -> None:
    _text(path, "".join(json.dumps(row) + "\n" for row in rows))


def _nextqa(root: Path) -> None:
    head = "video,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    rows = [f"{v},369,640,480,what moves,{n % 5},{n},{kind},red,green,blue,white,black"
            for n, (v, kind) in enumerate((v, kind) for v in VIDEOS for kind in ("CH", "TP", "DO"))]  # fmt: skip
    _text(root / "nextqa/val.csv", "\n".join([head, *rows]) + "\n")


def _egoschema(root: Path) -> None:
    options = {f"option {n}": f"C cooks {colour} soup" for n, colour in enumerate(COLOURS[:5])}
    rows = [{"q_uid": v, "google_drive_id": "x", "question": "What does C do?", **options} for v in VIDEOS]
    _text(root / "questions.json", json.dumps(rows))
    _text(root / "subset_answers.json", json.dumps({"clip0": 3, "clip1": 4}))


def _perception_test(root: Path) -> None:
    question = {"question": "What moves?", "options": list(COLOURS[:3]), "answer_id": 1, "tag": ["motion"]}
    found = {
        v: {
            "metadata": {"split": "valid", "video_id": v, "frame_rate": 30.0},
            "mc_question": [
                {**question, "id": n, "area": area, "reasoning": "Descriptive"}
                for n, area in enumerate(("Physics", "Memory", "Memory"))
            ],
        }
        for v in VIDEOS
    }
    _text(root / "mc_question_valid.json", json.dumps(found))


def _tvbench(root: Path) -> None:
    tasks = (
        "action_count",
        "object_count",
        "action_sequence",
        "object_shuffle",
        "scene_transition",
        "action_localization",
    )
    tasks += ("action_antonym", "unexpected_action", "egocentric_sequence", "moving_direction")
    for task in tasks:
        row = {"video": "clip0.mp4", "question": "What moves?", "candidates": ["red", "blue"], "answer": "blue"}
        bounds = {"start": 1.0, "end": 3.5} if task in ("action_sequence", "action_localization") else {}
        _text(root / f"json/{task}.json", json.dumps([row | bounds, row | bounds | {"video": "clip1.mp4"}]))


def _tomato(root: Path) -> None:
    for task in ("count", "direction", "rotation", "shape&trend", "velocity&frequency", "visual_cues"):
        row = {"question": "How many?", "options": ["2", "1", "3"], "answer": 2, "video_source_url": "", "note": ""}
        row |= {"motion_type": task, "variation": {"zoom": 1}, "demonstration_type": "human"}
        _text(root / f"data/{task}.json", json.dumps({"0": row | {"key": "0209-03"}, "7": row | {"key": "0209-04"}}))


def _motionbench(root: Path) -> None:
    question = "What is the motion?\nA. Wave\nB. Jump\nC. Bow\nD. Sit"
    rows = [
        {"key": f"{v}.mp4", "video_path": f"{v}.mp4", "question_type": kind, "video_type": "web",
         "qa": [{"uid": f"q{n}", "question": question, "answer": answer}]}
        for n, (v, kind, answer) in enumerate(
            (v, kind, answer)
            for v in VIDEOS
            for kind, answer in (("Action Order", "B"), ("Camera Motion", "C"), ("Motion Recognition", "NA"))
        )
    ]  # fmt: skip
    _lines(root / "video_info.meta.jsonl", rows)


def _lvbench(root: Path) -> None:
    question = "What year appears in the opening caption?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633"
    kinds = (["key information retrieval"], ["event understanding", "reasoning"], ["summarization"])
    rows = [
        {"key": v, "type": "cartoon", "video_info": {"duration_minutes": 30},
         "qa": [{"uid": str(10 * n + m), "question": question, "answer": "D", "question_type": kind, "time_reference": "00:15-00:19"}
                for m, kind in enumerate(kinds)]}
        for n, v in enumerate(VIDEOS)
    ]  # fmt: skip
    _lines(root / "video_info.meta.jsonl", rows)


def _mmvu(root: Path) -> None:
    rows = []
    for n in range(12):
        is_open = n % 4 == 3
        rows.append(
            {
                "id": f"validation_{n}",
                "video": f"https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/Art/{n % 4}.mp4",
                "youtube_url": "",
                "question_type": "open-ended" if is_open else "multiple-choice",
                "metadata": {"subject": "Art", "textbook": "", "knowledge": []},
                "question": "Which technique is shown?",
                "choices": dict.fromkeys("ABCDE", "") if is_open else dict(zip("ABCDE", COLOURS, strict=False)),
                "answer": "Dolly Zoom" if is_open else "E",
            }
        )
    _text(root / "data/validation.json", json.dumps(rows))


def _cg_bench(root: Path) -> None:
    rows = [
        {"qid": n, "video_uid": VIDEOS[n % 4], "question": "Which colour?", "answer": "white", "choices": list(COLOURS[: 5 + n % 4]),
         "right_answer": "D", "clue_intervals": [[8, 11]], "domain": "Art & Culture", "sub_category": "Entity Perception",
         "duration": 2741}
        for n in range(12)
    ]  # fmt: skip
    _text(root / "cgbench_mini.json", json.dumps(rows))


def _video_eval_pro(root: Path) -> None:
    rows = [
        {"video": f"{VIDEOS[n % 4]}.mp4", "question": "Which colour?", "options": LETTERED[:4], "answer": "B", "answer_text": "green",
         "meta": "", "source": "LVBench", "qa_subtype": "Entity", "qa_type": "Local Perception"}
        for n in range(12)
    ]  # fmt: skip
    _parquet(root / "data/test-00000-of-00001.parquet", rows)


def _video_mme_v2(root: Path) -> None:
    kinds = (("relevance", "[1, 2, 3, 4]"), ("logic", "[1, 2, 3, 4]"), ("logic", "[1, [2, 3], 4]"))
    rows = [
        {"video_id": f"00{n}", "question_id": f"00{n}-{place}", "question": "Which colour?", "options": "\n".join(LETTERED),
         "answer": "H", "group_type": kind, "group_structure": structure, "level": "2" if place == 4 else None,
         "second_head": "Temporal", "third_head": "Order", "url": ""}
        for n, (kind, structure) in enumerate(kinds)
        for place in (1, 2, 3, 4)
    ]  # fmt: skip
    _parquet(root / "test.parquet", rows)


def _vsi_bench(root: Path) -> None:
    kinds = ("object_rel_direction_easy", "object_rel_direction_hard", "object_counting", "room_size_estimation")
    rows = [
        {"id": n, "dataset": "arkitscenes", "scene_name": VIDEOS[n % 3], "question_type": kind, "question": "Where or how many?",
         "ground_truth": "B" if "direction" in kind else "3.5", "options": LETTERED[:2] if "direction" in kind else None}
        for n, kind in enumerate(kinds * 3)
    ]  # fmt: skip
    _parquet(root / "test-00000-of-00001.parquet", rows)


def _mmstar(root: Path) -> None:
    question = (
        "Which option describes the colour?\nOptions: A: It is red., B: It is a mix, or so: both., C: blue, D: none"
    )
    rows = [
        {"index": n, "question": question, "image": picture(n), "answer": "C", "category": "math", "l2_category": "geometry",
         "meta_info": {"source": "MMMU"}}
        for n in range(12)
    ]  # fmt: skip
    _parquet(root / "mmstar.parquet", rows)


def _mmbench(root: Path) -> None:
    head = "index\tquestion\thint\tA\tB\tC\tD\tanswer\tcategory\timage\tsource\tl2-category\tcomment\tsplit"
    stored = base64.b64encode(picture(1)).decode()
    rows = [
        f"{n}\tWhich colour?\t{'' if n else 'It is bright.'}\tred\tgreen\t{'blue' if n % 2 else ''}\t\tB\trecognition\t"
        f"{0 if n else stored}\tscienceqa\tperception\t\tdev"
        for n in range(5)
    ]
    _text(root / "MMBench_DEV_EN.tsv", "\n".join([head, *rows]) + "\n")


def _ai2d(root: Path) -> None:
    rows = [
        {
            "question": "Which is it?",
            "options": list(COLOURS[:4]),
            "answer": "2",
            "image": {"bytes": picture(n // 2), "path": f"{n}.png"},
        }
        for n in range(6)
    ]
    for shard in (0, 1):
        _parquet(root / f"data/test-0000{shard}-of-00002.parquet", rows)


WRITERS = {
    name.removeprefix("_"): writer
    for name, writer in list(globals().items())
    if name.startswith("_") and name not in ("_parquet", "_text", "_lines") and callable(writer)
}
