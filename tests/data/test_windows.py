"""Blocks cover an image once, each with what surrounds it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clad.data import windows
from clad.data.rows import ArrayRows
from clad.data.windows import blocks, tile


@given(
    height=st.integers(6, 150),
    width=st.integers(6, 150),
    edge=st.sampled_from([0, 8, 40]),
    side=st.sampled_from([16, 64, 1024]),
)
def test_every_cell_is_in_one_block(height, width, edge, side):
    pixels = np.arange(height * width, dtype=np.uint8).reshape(1, height, width)
    found = np.zeros((-(-height // 4), -(-width // 4)), int)
    before, windows.SIDE = windows.SIDE, side
    try:
        for block in blocks(ArrayRows(pixels), 4, edge):
            found[block.place] += 1
            cells = pixels[0, ::4, ::4]
            np.testing.assert_array_equal(
                block.pixels[0, ::4, ::4][block.inside], cells[block.place]
            )
            assert block.pixels.shape[1] <= min(side + 2 * edge, height)
    finally:
        windows.SIDE = before
    assert (found == 1).all()


def test_what_surrounds_a_block(monkeypatch):
    monkeypatch.setattr(windows, "SIDE", 16)
    pixels = np.arange(40 * 40).reshape(1, 40, 40).astype(np.uint8)
    middle = list(blocks(ArrayRows(pixels), 4, 8))[4]
    np.testing.assert_array_equal(middle.pixels, pixels[:, 8:40, 8:40])
    assert middle.inside == (slice(2, 6), slice(2, 6))
    assert middle.place == (slice(4, 8), slice(4, 8))


def test_a_tile_lies_within():
    pixels = np.arange(100, dtype=np.uint8).reshape(1, 10, 10)
    np.testing.assert_array_equal(tile(ArrayRows(pixels), 2, 3, 4), pixels[:, 2:6, 3:7])
