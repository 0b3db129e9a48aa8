"""Embed an archive of many videos on one machine or many: vreid archive embed."""

from vreid_jax.cli import archive_embed

EXAMPLE = "vreid archive embed cameras.csv --out=archive"

COMMANDS = {"embed": archive_embed}
