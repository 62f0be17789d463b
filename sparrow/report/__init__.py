"""The report over folders of runs, rebuilt from what is on disk."""

from sparrow.report.output import ReportPaths, build_report, end_of_sweep, print_table, write_report
from sparrow.report.study import read_studies

__all__ = ["ReportPaths", "build_report", "end_of_sweep", "print_table", "read_studies", "write_report"]
