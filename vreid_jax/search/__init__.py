"""Galleries of feature vectors: embed tracklets into a file, search it, decide who is the same person."""

from vreid_jax.search.embedding import embed_gallery
from vreid_jax.search.gallery import Gallery, open_gallery
from vreid_jax.search.ranked import Match, find
from vreid_jax.search.sources import open_source

__all__ = ["Gallery", "Match", "embed_gallery", "find", "open_gallery", "open_source"]
