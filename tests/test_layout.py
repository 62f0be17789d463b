"""The layout of the package: a module is found by its name, and a name by what it means."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import sparrow

MODULES = [path for path in Path(sparrow.__file__).parent.rglob("*.py") if path.name != "__init__.py"]
MAY_RECUR = {"settings"}
SUFFIX = re.compile(r"(?<=..)(ations?|ions?|ings?|ers?|ors?|ed|es?|s|d)$")
ROOT = Path(__file__).parents[1]


def test_no_file_name_occurs_twice():
    counts = Counter(path.stem for path in MODULES if path.stem not in MAY_RECUR)
    assert [name for name, count in counts.items() if count > 1] == []


def test_no_two_modules_differ_by_a_suffix_only():
    names = sorted({path.stem for path in MODULES})
    assert [pair for pair in combinations(names, 2) if SUFFIX.sub("", pair[0]) == SUFFIX.sub("", pair[1])] == []


def test_architecture_names_files_that_exist():
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`([a-z_]+/(?:[a-z_]+/)*[a-z0-9_]+\.py)`", text)
    assert named
    assert [name for name in named if not (ROOT / "sparrow" / name).is_file() and not (ROOT / name).is_file()] == []
