"""MLVU dev: seven multiple-choice tasks and two open ones about long videos (arXiv 2406.04264).

Prompts are those of the official evaluation templates for multiple-choice and open tasks.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sparrow.evaluation.annotations import require
from sparrow.evaluation.formats.protocols import DIRECTLY, Format, Reading, Wording, gold_by_text, read_tasks
from sparrow.evaluation.questions import Question

# Tasks with the number of their questions.
MULTIPLE_CHOICE = {
    "plotQA": 539,
    "needle": 355,
    "ego": 352,
    "count": 206,
    "order": 259,
    "anomaly_reco": 200,
    "topic_reasoning": 264,
}
OPEN_ENDED = ("sub_scene", "summary")
FILES = {task: f"{number}_{task}" for number, task in enumerate((*MULTIPLE_CHOICE, *OPEN_ENDED), 1)}
WORDINGS = {
    "official": Wording(
        preamble="Question: ",
        lead="Options:",
        label="({}) ",
        instruction="Only give the best option.",
        system="Carefully watch this video and pay attention to every detail. Based on your observations, select the "
        "best option that accurately addresses the question.",
        reply_start="Best Option: (",
    ),
    "released": Wording(preamble="Question: ", instruction=DIRECTLY),
}
OPEN_ENDED_WORDING = Wording(
    system="Carefully watch this video and pay attention to every detail. Based on your observations, answer the given "
    "questions."
)


def read(location: Path, reading: Reading) -> list[Question]:
    """Questions of `json/{number}_{task}.json`, named `task/position`; videos lie in `{number}_{task}/`.

    An answer that is not among the candidates (two of the published questions) leaves `gold` None: the question is
    asked and always wrong. Where candidates repeat (sixteen), the last that reads as the answer is `gold`.
    """
    return read_tasks(location, {task: f"{stem}.json" for task, stem in FILES.items()}, reading, _question)


def _question(task: str, number: int, record: Any, protocol: str) -> Question:
    require(record, "video", "question", "answer")
    if task in OPEN_ENDED:
        wording, options, gold = OPEN_ENDED_WORDING, list[str](), None
    else:
        wording, (options, gold) = WORDINGS[protocol], gold_by_text(require(record, "candidates"))
    return wording.ask(
        id=f"{task}/{number}",
        video=f"{FILES[task]}/{record['video']}",
        question=str(record["question"]),
        options=options,
        gold=gold,
        category=task,
    )


# The released jsonl calls the task by the official `question_type`.
RELEASED_NAMES = {"findNeedle": "needle"}
MLVU = Format(
    read=read,
    from_released=lambda q: replace(q, category=RELEASED_NAMES.get(q.category, q.category)),
    num_questions=MULTIPLE_CHOICE,
    protocols={
        "official": {"metric": "macro_accuracy", "max_new_tokens": 100},
        "released": {"tasks": tuple(MULTIPLE_CHOICE)},
    },
)
