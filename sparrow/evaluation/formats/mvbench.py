"""MVBench: twenty tasks from eleven sources (arXiv 2311.17005; prompts and folders from video_chat2/mvbench.ipynb)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparrow.core.errors import DataError
from sparrow.evaluation.annotations import require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording, gold_by_text, read_tasks, seconds
from sparrow.evaluation.questions import Question

# Sources share basenames, so that the folder belongs to a video's name.
VIDEO_FOLDERS = {
    "action_sequence": "star/Charades_v1_480",
    "action_prediction": "star/Charades_v1_480",
    "action_antonym": "ssv2_video",
    "fine_grained_action": "Moments_in_Time_Raw/videos",
    "unexpected_action": "FunQA_test/test",
    "object_existence": "clevrer/video_validation",
    "object_interaction": "star/Charades_v1_480",
    "object_shuffle": "perception/videos",
    "moving_direction": "clevrer/video_validation",
    "action_localization": "sta/sta_video",
    "scene_transition": "scene_qa/video",
    "action_count": "perception/videos",
    "moving_count": "clevrer/video_validation",
    "moving_attribute": "clevrer/video_validation",
    "state_change": "perception/videos",
    "fine_grained_pose": "nturgbd",
    "character_order": "perception/videos",
    "egocentric_navigation": "vlnqa",
    "episodic_reasoning": "tvqa/frames_fps3_hq",
    "counterfactual_inference": "clevrer/video_validation",
}
BOUNDED = {"action_sequence", "action_prediction", "object_interaction", "action_localization", "episodic_reasoning"}
FRAME_FOLDER_FPS = {"episodic_reasoning": 3.0}
WORDINGS = {
    "official": Wording(
        preamble="Question: ",
        lead="Options:",
        label="({}) ",
        instruction="Only give the best option.",
        system="Carefully watch the video and pay attention to the cause and sequence of events, the detail and "
        "movement of objects, and the action and pose of persons. Based on your observations, select the best option "
        "that accurately addresses the question.",
        reply_start="Best option:(",
    ),
    "released": Wording(instruction=DIRECTLY),
}


def read(location: Path, reading: Reading) -> list[Question]:
    """Questions of `json/{task}.json`, named `task/position`; their videos lie in one folder a source.

    Bounded questions ask about `start` to `end` under both protocols, though the released code shows the whole video.
    """
    return read_tasks(location, {task: f"{task}.json" for task in VIDEO_FOLDERS}, reading, _question)


def _question(task: str, number: int, record: Any, protocol: str) -> Question:
    bounds = ("start", "end") if task in BOUNDED else ()
    require(record, "video", "question", "candidates", "answer", *bounds)
    options, gold = gold_by_text(record)
    if gold is None:
        raise DataError(f"'answer' {record['answer']!r} is not among the candidates {options}")
    return WORDINGS[protocol].ask(
        id=f"{task}/{number}",
        video=f"{VIDEO_FOLDERS[task]}/{record['video']}",
        question=str(record["question"]),
        options=options,
        gold=gold,
        category=task,
        start_s=seconds(record, "start") if bounds else None,
        end_s=seconds(record, "end") if bounds else None,
        fps=FRAME_FOLDER_FPS.get(task),
    )


MVBENCH = Format(
    read=read,
    num_questions=dict.fromkeys(VIDEO_FOLDERS, 200),
    protocols={"official": {"max_frames": 16, "metric": "macro_accuracy", "max_new_tokens": 100}},
)
