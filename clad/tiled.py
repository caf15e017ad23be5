"""A model of tiles that scores whole images: a map of scores, and from it one score an image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clad.artifact import Bundle, load_weights
from clad.config import Config
from clad.data.groups import digests
from clad.data.images import ImageSet
from clad.data.large import LargeImages
from clad.data.rows import ArrayRows, Rows
from clad.data.synthetic import synthesise
from clad.data.tiles import blending, sample_tiles, starts, tile_maxima
from clad.data.windows import blocks, tile
from clad.errors import ModelError
from clad.model import Measured, Model
from clad.runtime import Runtime, memory_advice
from clad.scoremap import Keep, ScoreMap
from clad.stages.local import CROP, REACH, STEP, Local, LocalNetwork
from clad.stages.transformations import Transformations
from clad.training import Checkpoints

RARE, APART = 12, 8  # spots of an image fitted on that look most like defects; cells between them
TILES = 16  # of an image, whose latents stand for it
CELL = 4  # pixels a cell of the map where each tile has one score


@dataclass(frozen=True, eq=False)
class TiledModel:
    """Four stages trained on tiles, and how a whole image is scored by them.

    ``stages``: of a tile; the images that it has seen are whole ones. ``local``: what finds small
    defects, or None where a tile's score is stage 4's. ``usual``: float64 (2, R, R), mean and
    spread of the highest score of normal images in each of R x R regions; scores are counted from
    there.
    """

    stages: Model
    local: Local | None
    usual: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        stages: Model,
        images: LargeImages,
        runtime: Runtime,
        checkpoints: Checkpoints | None = None,
    ) -> TiledModel:
        """Give stages trained on tiles what they need to score ``images`` as a whole."""
        stages = replace(stages, seen=digests(images))
        n, local = stages.config.tiles.regions, None
        usual = np.stack([np.zeros((n, n)), np.ones((n, n))])
        if stages.config.tiles.score == "local":
            side = min(CROP, int(images.sizes.min()))
            seed = runtime.seed_for("local", "crops")
            crops = sample_tiles(images, side, stages.config.local.crops, seed)
            local = make_local(stages.config).fit(crops, runtime, checkpoints)
            rare = cls(stages, local, usual)._rare_crops(images, side, runtime)
            local.refine(crops, rare, runtime, checkpoints)
        self = cls(stages, local, usual)
        if n == 1:
            return self
        highest = [
            _region_maxima(self._values(rows, runtime), n)
            for rows in _each(images, runtime, "regions")
        ]
        spread = np.maximum(np.std(highest, axis=0), 1e-12)
        return replace(self, usual=np.stack([np.mean(highest, axis=0), spread]))

    def _rare_crops(self, images: LargeImages, side: int, runtime: Runtime) -> ImageSet:
        """Crops (M, C, side, side) of normal images around the spots that score highest.

        What is normal but rare is seldom among crops drawn at random, and would raise alarms.
        """
        found = []
        for i, rows in enumerate(_each(images, runtime, "rare spots")):
            values, rng = self._values(rows, runtime), runtime.rng("local", "rare", i)
            for _ in range(RARE):
                row, column = np.unravel_index(int(values.argmax()), values.shape)
                near = [slice(max(at - APART, 0), at + APART + 1) for at in (row, column)]
                values[near[0], near[1]] = -np.inf
                top, left = (
                    int(np.clip(at * STEP - rng.integers(side), 0, length - side))
                    for at, length in zip((row, column), rows.shape[1:], strict=True)
                )
                found.append(tile(rows, top, left, side))
        return ImageSet.of(np.stack(found))

    # -- answering ------------------------------------------------------------------------------

    def measure(
        self,
        images: LargeImages,
        runtime: Runtime,
        *,
        fitted: bool = False,
        keep: Keep | None = None,
    ) -> Measured:
        """Score whole images; cluster and confidence are those of an image's least normal tile.

        ``keep(position, map)`` is handed each image's map. ``fitted`` makes no difference: no
        score looks up images that were kept.
        """
        scores, worst = [], []
        with memory_advice("scoring: out of memory; lower --tile or save images as tiled TIFF"):
            for i, rows in enumerate(_each(images, runtime, "score")):
                found, of_tiles, tops, lefts = self._map(rows, runtime)
                scores.append(self._pooled(of_tiles))
                row, column = np.unravel_index(int(of_tiles.argmax()), of_tiles.shape)
                worst.append(tile(rows, tops[row], lefts[column], self.side))
                if keep is not None:
                    keep(i, found)
            tiles = ImageSet.of(np.stack(worst))
            said = self.stages.measure(tiles, replace(runtime, progress=False))
        return Measured(np.array(scores), said.cluster, said.confidence)

    def synthetic(
        self, images: LargeImages, scores: NDArray[np.float64], n: int, runtime: Runtime
    ) -> NDArray[np.float64]:
        """Scores float64 (n,) of images like these, of ``scores`` (N,), with an anomaly in a tile.

        Each is made in a tile, which is scored as an image of its own; of its image the rest stays.
        """
        seed = runtime.seed_for("synthetic")
        made = synthesise(sample_tiles(images, self.side, n, seed), n, seed)
        quiet = replace(runtime, progress=False)
        highest = np.array(
            [self._values(ArrayRows(each), quiet).max() for each in made.read()], np.float64
        )
        centre, spread = self.usual.mean(axis=(1, 2))
        base, top = np.resize(scores, n), self.config.tiles.top
        joined = np.maximum((highest - centre) / spread, base)
        return ((top - 1) * base + joined) / top

    def latents(self, images: LargeImages, runtime: Runtime) -> NDArray[np.float32]:
        """Latents float32 (N, D) of images: means over those of some of their tiles."""
        n = TILES * len(images)
        tiles = sample_tiles(images, self.side, n, runtime.seed_for("latents"))
        found = self.stages.latents(tiles, runtime)
        assert tiles.groups is not None
        return np.stack([found[tiles.groups == i].mean(axis=0) for i in range(len(images))])

    def has_seen(self, images: LargeImages) -> NDArray[np.bool_]:
        """bool (N,): which images it was fitted on, by every pixel."""
        return self.stages.has_seen(images)

    def _map(
        self, rows: Rows, runtime: Runtime
    ) -> tuple[ScoreMap, NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
        """An image's map; the scores (tops, lefts) of its tiles, and where those lie."""
        _, height, width = rows.shape
        overlap = self.config.tiles.overlap
        tops, lefts = (starts(length, self.side, overlap) for length in (height, width))
        values = self._against_usual(self._values(rows, runtime))
        if self.local is not None:
            cells = -(-self.side // STEP)
            h, w = values.shape
            # of a tile that begins within a cell the last cell counts, so that no cell is left out
            down, across = (
                np.minimum(-(-first // STEP), n - cells) for first, n in ((tops, h), (lefts, w))
            )
            return (
                ScoreMap(values, STEP, (height, width)),
                tile_maxima(values, down, across, cells),
                tops,
                lefts,
            )
        down, across = (
            blending(first, self.side, length)[_middles(length)]
            for first, length in ((tops, height), (lefts, width))
        )
        blended = down @ values @ across.T
        return ScoreMap(blended, CELL, (height, width)), values, tops, lefts

    def _values(self, rows: Rows, runtime: Runtime) -> NDArray[np.float32]:
        """Scores as they come: of each cell (h, w), or of each tile (tops, lefts)."""
        if self.local is None:
            return self._of_tiles(rows, runtime)
        found = np.empty([-(-length // STEP) for length in rows.shape[1:]], np.float32)
        for block in blocks(rows, STEP, REACH):
            found[block.place] = self.local.score(block.pixels, runtime)[block.inside]
        return found

    def _of_tiles(self, rows: Rows, runtime: Runtime) -> NDArray[np.float32]:
        """Stage 4's score of each tile, a row of tiles at a time."""
        stages, quiet = self.stages, replace(runtime, progress=False)
        _, height, width = rows.shape
        overlap, found = self.config.tiles.overlap, []
        for top in starts(height, self.side, overlap):
            band = rows.read(int(top), int(top) + self.side)
            lefts = starts(width, self.side, overlap)
            tiles = ImageSet.of(np.stack([band[:, :, x : x + self.side] for x in lefts]))
            found.append(stages.measure(tiles, quiet).score)
        return np.stack(found).astype(np.float32)

    def _against_usual(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values (h, w) of cells or tiles, counted from what is usual in their region."""
        centre, spread = self.usual
        if centre.shape == (1, 1):
            return values
        rows, columns = (np.arange(n) * len(centre) // n for n in values.shape)
        place = np.ix_(rows, columns)
        return ((values - centre[place]) / spread[place]).astype(np.float32)

    def _pooled(self, of_tiles: NDArray[np.float32]) -> float:
        """An image's score: the mean of its highest tiles'."""
        highest = np.sort(of_tiles, axis=None)[-self.config.tiles.top :]
        return float(highest.astype(np.float64).mean())

    # -- what a model tells of itself -----------------------------------------------------------

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.stages.config

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, T, T) of a tile."""
        return self.stages.shape

    @property
    def side(self) -> int:
        """Pixels a side of a tile."""
        return self.stages.shape[1]

    @property
    def transformations(self) -> Transformations:
        """What stage 3 tells beside the cluster."""
        return self.stages.transformations

    @property
    def centers(self) -> NDArray[np.float32]:
        """float32 (K, D), of the tiles' clusters."""
        return self.stages.centers

    # -- on disk --------------------------------------------------------------------------------

    def bundle(self) -> Bundle:
        """As arrays and JSON."""
        bundle = self.stages.bundle()
        arrays: dict[str, dict[str, NDArray[Any]]] = {"regions": {"usual": self.usual}}
        if self.local is not None:
            weights = self.local.network_.state_dict()
            arrays["local"] = {
                name: value.detach().cpu().numpy() for name, value in weights.items()
            }
            arrays["regions"]["grids"] = np.array([self.local.grids], np.int64)
        return Bundle({**bundle.arrays, **arrays}, bundle.document)

    @classmethod
    def of(cls, bundle: Bundle, source: str | Path, runtime: Runtime) -> TiledModel:
        """The model in a bundle; see ``Model.of``."""
        stages = Model.of(bundle, source, runtime)
        config, local = stages.config, None
        if config.tiles.score == "local":
            local = make_local(config)
            try:
                with torch.device("meta"):  # takes no memory: the numbers may be anything yet
                    local.network_ = LocalNetwork(stages.shape[0], config.local.width)
            except (ValueError, RuntimeError) as error:
                raise ModelError(f"{source}: describes no possible model ({error})") from None
            load_weights(local.network_, bundle.arrays.get("local", {}), f"{source}: local")
            runtime.place(local.network_).eval()
            local.grids = 1  # up to format 3
            if "grids" in bundle.arrays.get("regions", {}):
                local.grids = int(bundle.array("regions", "grids", "int64", (1,), source)[0])
        shape = (2, config.tiles.regions, config.tiles.regions)
        return cls(stages, local, bundle.array("regions", "usual", "float64", shape, source))


def _region_maxima(values: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """The largest value (n, n) in each of n x n regions of (h, w) values."""
    place = [np.arange(length) * n // length for length in values.shape]
    found = np.full((n, n), -np.inf)
    np.maximum.at(found, np.ix_(*place), values)
    return found


def _middles(length: int) -> NDArray[np.int64]:
    """The middle pixel of each cell of a side, the last cell perhaps cut off."""
    return np.minimum(np.arange(0, length, CELL) + CELL // 2, length - 1)


def make_local(config: Config) -> Local:
    """The local score as configured, not yet fitted."""
    return Local(**{key: value for key, value in config.local if key != "crops"})


def _each(images: LargeImages, runtime: Runtime, label: str) -> Iterator[Rows]:
    """The images' rows, one image open at a time."""
    for i in runtime.track(range(len(images)), label, unit="image"):
        with images.open(i) as rows:
            yield rows
