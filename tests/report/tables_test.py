import numpy as np

from vreid_jax.report import tables


def test_cells_without_queries_are_empty():
    text = tables.matrix(np.array([[np.nan, 0.5]]), np.array([[0, 4]]), [1], [1, 2], "rank-1")
    assert "<td></td>" in text
    assert 'title="4 queries">50</td>' in text


def test_a_table_without_a_head_holds_facts_and_its_texts_are_escaped():
    text = tables.table(["", ""], [["<name>", "a & b"]], '"caption"')
    assert '<table class="facts">' in text
    assert '<tr><th scope="row">&lt;name&gt;</th><td>a &amp; b</td></tr>' in text
    assert '<p class="caption">&#34;caption&#34;</p>' in text
    assert "facts" not in tables.table(["a", "b"], [])
