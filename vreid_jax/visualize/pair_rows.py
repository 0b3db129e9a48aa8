"""Rows of a contact sheet for pairs of clips."""

import numpy as np

from vreid_jax.visualize.contact_sheet import Row


def pair_rows(
    query: np.ndarray, gallery: np.ndarray, alpha: np.ndarray, cosines: np.ndarray, shown: int = 2
) -> list[Row]:
    """Return rows of a contact sheet: the `shown` most important pairs of clips, then the `shown` least important.

    Args:
      query: uint8 `[M, T, H, W, 3]`, the clips of the query tracklet, on the left of a row.
      gallery: uint8 `[N, T, H, W, 3]`, on the right of a row, after an empty frame.
      alpha: `[M, N]` importances; labels give their share of the sum.
      cosines: `[M, N]` cosine similarities of the clips' features.
      shown: how many pairs to show of each.
    """
    order = np.argsort(-alpha, axis=None)
    share = alpha / alpha.sum()
    gap = np.full_like(query[0, :1], 255)
    chosen = [("most", pair) for pair in order[:shown]] + [
        ("least", pair) for pair in order[max(shown, len(order) - shown) :]
    ]
    rows = []
    for what, pair in chosen:
        q, g = np.unravel_index(pair, alpha.shape)
        label = f"{what}: clips {q + 1} and {g + 1}, weight {100 * share[q, g]:.1f} %, cosine {cosines[q, g]:.2f}"
        rows.append((label, [*query[q], *gap, *gallery[g]]))
    return rows
