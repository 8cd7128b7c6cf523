"""Reports of runs: HTML, plots, model error, statistics over seeds."""

from mbrl.report.html import write_report
from mbrl.report.model_error import ModelError, k_step_error
from mbrl.report.run_report import report_run
from mbrl.report.statistics import interval, iqm

__all__ = ["ModelError", "interval", "iqm", "k_step_error", "report_run", "write_report"]
