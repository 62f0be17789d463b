"""The report over folders of runs, rebuilt from what is on disk."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.report.output import ReportPaths, build_report, end_of_sweep, print_table, write_report
    from sparrow.report.study import read_studies

__all__ = ["ReportPaths", "build_report", "end_of_sweep", "print_table", "read_studies", "write_report"]

__getattr__ = exports(
    __name__,
    {
        "ReportPaths": "output",
        "build_report": "output",
        "end_of_sweep": "output",
        "print_table": "output",
        "read_studies": "study",
        "write_report": "output",
    },
)
