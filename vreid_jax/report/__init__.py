"""One HTML page of a run, or one that compares several; nothing in them needs a network."""

from vreid_jax.report.comparison import write_comparison
from vreid_jax.report.run_page import write_report

__all__ = ["write_comparison", "write_report"]
