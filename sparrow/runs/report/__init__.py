"""The report over folders of runs, rebuilt from what is on disk."""

from sparrow.runs.report.results import read_studies
from sparrow.runs.report.writing import ReportPaths, build_report, end_of_sweep, print_table, write_report

__all__ = ["ReportPaths", "build_report", "end_of_sweep", "print_table", "read_studies", "write_report"]
