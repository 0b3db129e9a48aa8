"""HTML pages of a run, of a gallery, of identities, or of several runs compared; each is a single file that works offline."""

from vreid_jax.report.comparison import write_comparison
from vreid_jax.report.gallery_page import write_gallery_report
from vreid_jax.report.identities_page import write_identities_page
from vreid_jax.report.run_page import write_report

__all__ = ["write_comparison", "write_gallery_report", "write_identities_page", "write_report"]
