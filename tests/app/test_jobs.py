"""What a job returns to a sweeper."""

import pytest

from sparrow.core.errors import ConfigError
from sparrow.runs.settings import Study
from tests.report.run_folders import add_exact_run


@pytest.fixture
def record(tmp_path):
    """20 of 40 questions right, and of one of two categories all."""
    record = add_exact_run(tmp_path, {}, {"clips": {"before": 4, "after": 20}}, study=Study("s", metric="clips"))
    record.scores["clips"]["after"].by_category["colour"].accuracy = 0.75
    return record


@pytest.mark.parametrize(
    ("asked", "metric", "value"),
    [
        ("clips", "accuracy", 0.5),
        ("clips", "by_category.colour.accuracy", 0.75),
        ("clips.before", "accuracy", 0.1),
        (None, "accuracy", None),
    ],
)
def test_the_value_of_a_run_is_the_benchmarks_own_score(record, asked, metric, value):
    record.study.metric = asked
    record.scores["clips"]["after"].metric = metric
    assert record.metric() == value


def test_a_score_that_was_not_measured_or_is_no_number_is_an_error(record):
    record.scores["clips"]["after"].metric = "by_category.count.accuracy"
    with pytest.raises(ConfigError, match=r"'clips' has no by_category\.count\.accuracy.*set benchmark\.clips\.metric"):
        record.metric()
    record.study.metric = "clips.blind"
    with pytest.raises(ConfigError, match=r"'clips\.blind' was not measured; measured: clips"):
        record.metric()
