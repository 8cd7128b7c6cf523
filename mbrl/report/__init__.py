"""Reports of runs: HTML, plots, model error."""

from mbrl.report.html import write_report
from mbrl.report.model_error import ModelError, k_step_error

__all__ = ["ModelError", "k_step_error", "write_report"]
