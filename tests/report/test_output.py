"""The report over synthetic run folders: what it holds, what it does with broken runs, and that it never varies."""

import csv
import re
import shutil
import subprocess
import sys

import pytest

from sparrow.cli import run as run_command
from sparrow.core.errors import RunError
from sparrow.report.output import build_report, end_of_sweep, print_table
from sparrow.report.sections import full_tables, paper_tables, short_tables
from sparrow.report.study import read_studies
from sparrow.runs.record import DataCounts, Failure, RunRecord
from tests.report.run_folders import CATEGORIES, add_run, cells, two_arms, write_predictions


def test_two_arms_are_compared(tmp_path):
    root = two_arms(tmp_path / "study")
    paths = build_report([root], tmp_path / "out")
    text = paths.markdown.read_text()

    scores = cells(text, "Scores")
    assert [row[:2] for row in scores] == [
        ["clips_long", "video_only"],
        ["clips_long", "video_and_pages"],
        ["clips_short", "video_only"],
        ["clips_short", "video_and_pages"],
    ], "arms stand in the order of their start"
    record = RunRecord.load(root / "a").scores["clips_short"]
    before, after = record["before"], record["after"]
    assert scores[2][2:8] == [
        f"{100 * before.accuracy:.1f}",
        f"{100 * after.accuracy:.1f}",
        f"[{100 * after.low:.1f}, {100 * after.high:.1f}]",
        f"{100 * (after.accuracy - before.accuracy):+.1f}",
        "25.0 (32.5)",
        f"{100 * record['blind'].accuracy:.1f}",
    ]
    assert scores[2][8:] == ["118", "57,600", "9,000", "2,000", "1m 17s", "-"]

    differences = cells(text, "Differences between arms")
    assert [row[:4] for row in differences] == [
        ["clips_long", "video_only", "video_and_pages", "higher"],
        ["clips_short", "video_only", "video_and_pages", "higher"],
    ]
    assert ["clips_short", "video_only", "blind", "higher"] in [
        row[:4] for row in cells(text, "What training and frames gave")
    ]
    assert [row[1] for row in cells(text, "By category, after training")][:4] == sorted(CATEGORIES)
    assert cells(text, "Data")[0][:7] == ["video_only", "clips", "unreadable: 2", "yes", "120", "118", "2"]
    assert "Published" not in text
    assert "Runs to look at" not in text
    assert paths.png.read_bytes().startswith(b"\x89PNG")


def test_an_interval_that_contains_zero_shows_no_difference(tmp_path):
    for i, mixture in enumerate(("video_only", "video_and_pages")):
        add_run(tmp_path / mixture, mixture, {"clips_short": {"after": 0.5}}, minute=i)
        write_predictions(tmp_path / mixture / "predictions" / "after" / "clips_short.jsonl", 0.5, seed=i)
    row = cells(build_report([tmp_path], tmp_path).markdown.read_text(), "Differences between arms")[0]
    assert row[3] == "no difference shown"
    low, high = (float(bound) for bound in row[6].strip("[]").split(","))
    assert low <= 0 <= high


def test_the_csv_has_a_row_a_run_benchmark_phase_and_category(tmp_path):
    paths = build_report([two_arms(tmp_path / "study")], tmp_path / "out")
    assert len(list(csv.DictReader(paths.csv.open()))) == 2 * (3 + 2)
    rows = list(csv.DictReader(paths.categories.open()))
    assert len(rows) == 2 * (3 + 2) * (1 + len(CATEGORIES))
    row = next(r for r in rows if r["phase"] == "after" and r["benchmark"] == "clips_long" and r["category"] == "all")
    after = RunRecord.load(tmp_path / "study" / "a").scores["clips_long"]["after"]
    assert (row["study"], row["folder"], row["factor.mixture"]) == ("quickstart", "study/a", "video_only")
    assert float(row["accuracy"]) == after.accuracy
    assert float(row["chance_bound"]) == after.chance_bound
    assert float(row["total_time_s"]) == 76.75


def test_two_reports_of_one_folder_are_equal(tmp_path):
    root = two_arms(tmp_path / "study")
    first, second = build_report([root], tmp_path / "1"), build_report([root], tmp_path / "2")
    assert [path.name for path in first.all] == [path.name for path in second.all]
    for one, other in zip(first.all, second.all, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name
    moved = tmp_path / "elsewhere" / "study"
    moved.parent.mkdir()
    root.rename(moved)
    third = build_report([moved], tmp_path / "3")
    assert third.csv.read_bytes() == first.csv.read_bytes()
    assert third.markdown.read_bytes() == first.markdown.read_bytes()


def test_a_failed_and_an_unreadable_run_stay_in_the_report(tmp_path, capsys):
    failure = Failure("RuntimeError", "something long\nout of memory")
    add_run(tmp_path / "a", "video_only", {"clips_short": {"before": 0.3, "after": 0.7}})
    add_run(tmp_path / "b", "video_and_pages", {}, minute=1, status="failed", error=failure)
    add_run(tmp_path / "c", "text", {}, minute=2, status="interrupted", heartbeat_at="2026-01-01T00:09:00+00:00")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "run.json").write_text('{"schema_version": 1, ')

    paths = build_report([tmp_path], tmp_path)
    text = paths.markdown.read_text()
    assert text.count("\n## ") == 1, "the unreadable run belongs to the study beside it"
    label = f"{tmp_path.name}/d"
    assert [row[:2] for row in cells(text, "Scores")] == [
        ["clips_short", "video_only"],
        ["-", "video_and_pages (failed)"],
        ["-", "text (interrupted)"],
        ["-", f"{label} (unreadable)"],
    ]
    unfinished = cells(text, "Runs to look at")
    assert unfinished[0][3] == "RuntimeError: out of memory"
    assert unfinished[1][3] == "last heartbeat 2026-01-01T00:09:00+00:00"
    assert unfinished[2][3].startswith("run.json: not valid JSON")
    statuses = {row["folder"]: row["status"] for row in csv.DictReader(paths.csv.open())}
    assert list(statuses.values()) == ["finished", "failed", "interrupted", "unreadable"]

    print_table(read_studies([tmp_path]))
    printed = capsys.readouterr().out
    assert "RuntimeError: out of memory" in printed
    assert re.search(r"video_and_pages\s.*\n?.*\(failed\)", printed)


def test_runs_that_cannot_be_compared_say_why(tmp_path):
    root = two_arms(tmp_path)
    (root / "a" / "predictions" / "after" / "clips_long.jsonl").unlink()
    write_predictions(root / "b" / "predictions" / "after" / "clips_short.jsonl", 0.5, 0, num_videos=38)
    rows = cells(build_report([root], tmp_path).markdown.read_text(), "Differences between arms")
    assert rows[0][3].startswith("not compared: video_only, predictions/after/clips_long.jsonl: cannot be read")
    assert rows[1][3].startswith("not compared: the questions differ: 4 only in the first, 0 only in the second")
    assert rows[0][4:] == ["-", "-", "-", "-", "-"]


def test_scores_that_are_not_numbers_are_marked(tmp_path):
    record = add_run(tmp_path / "a", "video_only", {"clips_short": {"before": 0.3, "after": 0.7}})
    after = record.scores["clips_short"]["after"]
    after.accuracy = after.low = after.high = float("nan")
    record.save(tmp_path / "a")
    row = cells(build_report([tmp_path], tmp_path).markdown.read_text(), "Scores")[0]
    assert row[3:6] == ["-", "-", "-"]
    del record.scores["clips_short"]["before"]
    record.save(tmp_path / "a")
    assert build_report([tmp_path], tmp_path).png.exists(), "a panel without bars is drawn all the same"


def test_counts_that_do_not_reconcile_are_marked(tmp_path):
    add_run(tmp_path / "a", "video_only", {}, data={"clips": DataCounts(120, 100, 2, {"unreadable": 2})})
    paths = build_report([tmp_path], tmp_path)
    assert cells(paths.markdown.read_text(), "Data")[0][3] == "NO"
    assert paths.png is None


def test_the_terminal_table_keeps_to_its_width(tmp_path, capsys):
    rates = {"a_benchmark_with_a_name": {"before": 0.3, "after": 0.6}}
    for i in range(6):
        add_run(tmp_path / str(i), f"an_arm_with_a_rather_long_name_and_number_{i}", rates, minute=i)
    print_table(read_studies([tmp_path]))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert any("10 more comparisons are in the written report" in line for line in lines)


def test_load_runs_gives_a_tidy_table(tmp_path):
    import sparrow.runs

    two_arms(tmp_path)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.json").write_text("")
    table = sparrow.runs.load_runs(tmp_path)
    after = table.query("phase == 'after' and category == 'all' and benchmark == 'clips_long'")
    assert after["factor.mixture"].tolist() == ["video_only", "video_and_pages"]
    assert table["status"].value_counts()["unreadable"] == 1
    assert sparrow.runs.load_runs([tmp_path, tmp_path / "a"]).equals(table), "a run is read once"


@pytest.mark.parametrize(("folder", "message"), [("absent", "is not a folder"), (".", "no run.json in or below")])
def test_a_folder_without_runs_is_one_clear_message(tmp_path, capsys, folder, message):
    with pytest.raises(RunError, match=message):
        build_report([tmp_path / folder], tmp_path / "out")
    assert run_command("report", [str(tmp_path / folder)]) == 1
    assert capsys.readouterr().err.startswith("RunError: ")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_prints_and_leaves_torch_alone(tmp_path):
    two_arms(tmp_path)
    code = f"import sys; from sparrow.cli import run; print(run('report', [{str(tmp_path)!r}]), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert "video_and_pages" in done.stdout
    assert {path.suffix for path in tmp_path.glob("report.*")} == {".csv", ".md", ".tex", ".html", ".png", ".pdf"}


def test_a_place_that_cannot_be_written_is_one_clear_message(tmp_path, capsys):
    two_arms(tmp_path)
    (tmp_path / "file").write_text("")
    assert run_command("report", [str(tmp_path), "--out", str(tmp_path / "file" / "out")]) == 1
    assert "Not a directory; a file stands where a folder is needed: choose another" in capsys.readouterr().err


def test_a_sweep_ends_with_its_report(tmp_path, capsys):
    end_of_sweep(tmp_path)
    assert capsys.readouterr().err.startswith("no report: no run.json")
    two_arms(tmp_path)
    end_of_sweep(tmp_path)
    printed = capsys.readouterr().out
    assert str(tmp_path / "report.png") in printed
    assert f"tensorboard --logdir {tmp_path}" in printed


def test_several_folders_need_a_place_for_the_report(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_command("report", [str(tmp_path), str(tmp_path)])
    assert "--out" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_latex_tables_compile_and_fit_the_page(tmp_path):
    add_run(tmp_path / "c", "a_mixture_with_a_name_that_takes_a_line_of_its_own", {"clips_short": {"after": 0.5}})
    paths = build_report([two_arms(tmp_path)], tmp_path / "out")
    document = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,graphicx}"
    document += r"\begin{document}\input{report}\end{document}"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-jobname=out", document]
    done = subprocess.run(command, cwd=paths.latex.parent, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert (tmp_path / "out/out.pdf").stat().st_size > 1000


def test_every_row_has_a_cell_for_each_column(tmp_path):
    (study,) = read_studies([two_arms(tmp_path)])
    tables = [*full_tables(study), *paper_tables(study), *short_tables(study)]
    assert {"Scores", "By category, after training", "Data"} <= {table.title for table in tables}
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
        assert "{" not in table.heading + table.note
