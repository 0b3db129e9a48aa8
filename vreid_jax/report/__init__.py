"""One HTML page of a run or of a gallery, or one that compares several runs; nothing in them needs a network."""

from vreid_jax.report.comparison import write_comparison
from vreid_jax.report.gallery_page import write_gallery_report
from vreid_jax.report.run_page import write_report

__all__ = ["write_comparison", "write_gallery_report", "write_report"]
