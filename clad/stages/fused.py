"""Stage 4, the default score: what logits, features, texture, patches and colours say, joined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clad.data.images import ImageSet
from clad.errors import FitError
from clad.runtime import Runtime, log
from clad.stages.layers import FeatureModel, rows_of
from clad.stages.neighbours import kept, nearest
from clad.stages.patches import PatchFeatures
from clad.stages.transformations import UNCHANGED, UNSAID, Transformations

Method = Literal["fused", "logits", "energy", "turns", "features", "texture", "patches", "colours"]
PARTS = ("logits", "features", "texture", "patches")
COLOURED = (*PARTS, "colours")
MOST = 0.8  # of the weight for the classifier: turns are told before all of a class is learnt
OF_CLUSTERS = 0.5  # of that for logits that tell clusters apart: features are the better witness
LEAST = 0.5  # for features: they tell something even where the classifier knows no transformation
OF_TEXTURE = 0.4  # for texture, however much the classifier knows: it is of what that overlooks
NORMAL = 1e9  # degrees of freedom with which Student's distribution is the normal one
DOUBT = 10  # independent images that say as much as the guess that all parts are as good
PORTION = 16_384  # images scored at a time: what a score is made of takes some 10 KiB of each
TEXTURED = (1, 2)  # of the four maps: neither single edges nor whole things
WHITENED = (0, 1)  # those of a model of format 8 or older
Parts = dict[str, NDArray[np.float64]]


class Fused:
    """How unlike normal images an image is, in several respects, from one pass without gradients.

    ``logits``: minus the largest logit among the classes of the image's turn, averaged over the
    turns (Hendrycks et al. 2022, arXiv 1911.11132; Golan and El-Yaniv 2018); mirror images, which
    say no more, would take as long again. ``features``: distance of the unit-length penultimate
    features to the nearest of normal images turned alike, averaged over the turns (Sun et al. 2022,
    arXiv 2204.06507). ``texture``: the mean of two such distances, of the deviations over the
    pixels of the second and of the third map; the classifier is trained to overlook such things,
    and some anomalies are just that. ``patches``: the same distance of ``PatchFeatures``, which no
    classifier had a hand in. ``colours``, of images that have three:
    the log-odds that red and blue are exchanged, by the network of ``Colours``. To compare with:
    ``energy`` and ``turns``, of the logits too (``of_logits``).

    ``fused`` standardises these on normal images the classifier was not trained on and joins
    them by Fisher's method: -sum w log P(T > z). One that is high raises the score, and the
    others cannot take that back. T has Student's distribution with a degree of freedom less than
    there are independent images held out: of two tracks' frames the deviation may be too small by
    a factor of many. The weights come from the same images. With c the share of the
    entropy of their transformations that the classifier removes (``share_known``), logits and
    features count w = c^2 / (c^2 + (1 - c)^2), nearer to a half where few images say so and four
    fifths at most (``weight_of_classifier``), patches the rest and colours the share of it that
    their network knows of them; of several clusters logits count half, features never less than a
    half, and texture 0.4 whatever is known. No anomaly is involved.
    """

    def __init__(
        self,
        method: Method = "fused",
        *,
        transformations: Transformations = UNCHANGED,
        limit: int = 5000,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.transformations = transformations
        self.limit = limit
        self.seed = seed

    def fit(
        self,
        network: FeatureModel,
        images: ImageSet,
        held_out: NDArray[np.bool_],
        runtime: Runtime,
        known: float = UNSAID,
        colours: FeatureModel | None = None,
        of_colours: float = UNSAID,
    ) -> Fused:
        """Keep what at most ``limit`` of the images trained on are like.

        ``held_out``: bool (N,), the images that the network was not trained on. ``known``: the
        share of the entropy of their transformations that the network removes (``share_known``); by
        default all parts but texture weigh the same. ``colours``, ``of_colours``: where they are to
        be a part, the network that tells exchanged ones, and the share that it knows of these.

        Sets ``parts_``, the names of those joined, ``features_`` float32 (R, M, F), ``textures_``,
        two of float32 (R, M, E), ``whitening_`` None, ``dictionary_``, ``patches_`` float32
        (M, P), ``patch_whitening_`` float32 (P, P), ``places_`` and ``scales_`` float64 (parts,),
        the mean and standard deviation of each part over the images held out, their ``weights_``
        float64 (parts,), ``degrees_`` float64 (1,), of freedom, ``colours_``, the network or None,
        and ``kept_`` bool (N,), the images that were kept.
        Raises FitError for fewer than two images held out.
        """
        if held_out.sum() < 2:
            raise FitError(
                f"{held_out.sum()} images held out cannot weigh the scores of score.method "
                f"{self.method}; raise validation.fraction or give more images"
            )
        self.kept_ = ~held_out
        self.kept_[~held_out] = kept(int(self.kept_.sum()), self.limit, self.seed)
        trained = images.take(self.kept_)
        self.whitening_: NDArray[np.float32] | None = None
        _, _, self.features_, self.textures_ = self._respond(network, trained, runtime)
        self.dictionary_ = PatchFeatures.fit(trained, runtime)
        patches = rows_of(self.dictionary_, trained, runtime, "patches")
        self.patch_whitening_ = _whitening(patches)
        self.patches_ = _whitened(patches, self.patch_whitening_)
        self.colours_ = colours
        self.parts_: Sequence[str] = PARTS if colours is None else COLOURED
        unseen = images.take(held_out)
        parts = self._parts(network, unseen, runtime, None, self.parts_)[0]
        values = np.stack([parts[name] for name in self.parts_])
        self.places_ = values.mean(axis=1)
        self.scales_ = np.maximum(values.std(axis=1), 1e-12)
        apart = len(unseen) if unseen.groups is None else len(np.unique(unseen.groups))
        self.degrees_ = np.array([max(apart - 1.0, 1.0)])
        share = weight_of_classifier(known, apart)
        several = network.head.out_features > len(self.transformations)
        weights = {
            "logits": share * (OF_CLUSTERS if several else 1),
            "features": max(share, LEAST),
            "texture": OF_TEXTURE,
            "patches": 1 - share,
            "colours": (1 - share) * of_colours,
        }
        self.weights_ = np.array([weights[name] for name in self.parts_])
        log.info("score: logits and features weigh %.2f of 1", share)
        return self

    def score(
        self,
        network: FeatureModel,
        images: ImageSet,
        runtime: Runtime,
        own: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], Parts]:
        """Anomaly scores float64 (N,), higher = more anomalous; upright logits float32 (N, K * T);
        each part's own scores, by name, and what else the logits say.

        ``own``: bool (N,), the images whose own features are among those kept; theirs do not count.
        """
        wanted = self.parts_ if self.method == "fused" else (self.method,)
        logits, parts = [], []
        for start in range(0, len(images), PORTION):
            some = np.arange(start, min(start + PORTION, len(images)))
            mine = None if own is None else own[some]
            found, upright = self._parts(network, images.take(some), runtime, mine, wanted)
            logits.append(upright)
            parts.append(found)
        joined = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
        return self.join(joined), np.concatenate(logits), joined

    def join(
        self, parts: Mapping[str, NDArray[np.float64]], left_out: str | None = None
    ) -> NDArray[np.float64]:
        """The parts' scores (N,) as the one that ``method`` asks for, float64 (N,).

        ``left_out``: a part that a fused one is to do without.
        """
        if self.method != "fused":
            return parts[self.method]
        values = np.stack([parts[name] for name in self.parts_])
        z = (values - self.places_[:, None]) / self.scales_[:, None]
        surprise = -log_tail(torch.from_numpy(z), float(self.degrees_[0])).numpy()
        # no matrix product, whose rounding depends on where in the batch an image stands
        weights = self.weights_ * [name != left_out for name in self.parts_]
        joined: NDArray[np.float64] = (weights[:, None] * surprise).sum(axis=0)
        return joined

    def _parts(
        self,
        network: FeatureModel,
        images: ImageSet,
        runtime: Runtime,
        own: NDArray[np.bool_] | None,
        wanted: Sequence[str],
    ) -> tuple[Parts, NDArray[np.float32]]:
        """The scores (N,) of logits and those ``wanted`` beside; upright logits (N, K * T)."""
        upright, of_logits, features, textures = self._respond(network, images, runtime)
        own = np.zeros(len(upright), bool) if own is None else own

        def distances(
            new: Iterable[NDArray[np.float32]], old: NDArray[np.float32]
        ) -> NDArray[np.float64]:
            turns = zip(new, old, strict=True)
            return np.mean([nearest(*turn, own) for turn in turns], axis=0)

        parts = dict(of_logits)
        if "features" in wanted:
            parts["features"] = distances(features, self.features_)
        if "texture" in wanted:
            kinds = zip(textures, self.textures_, strict=True)
            parts["texture"] = np.mean([distances(*kind) for kind in kinds], axis=0)
        if "patches" in wanted:
            patches = rows_of(self.dictionary_, images, runtime, "patches")
            patches = _whitened(patches, self.patch_whitening_)
            parts["patches"] = nearest(patches, self.patches_, own)
        if "colours" in wanted:
            parts["colours"] = self._exchanged(images, runtime)
        return parts, upright

    def _exchanged(
        self, images: ImageSet, runtime: Runtime, batch_size: int = 512
    ) -> NDArray[np.float64]:
        """The log-odds (N,) that red and blue are exchanged."""
        assert self.colours_ is not None
        network = self.colours_.eval()

        def odds(x: Tensor) -> Tensor:
            with runtime.autocast(scoring=True):
                features = network.features(x)
            return exchanged(network.head(features))

        return rows_of(odds, images, runtime, "colours", batch_size).astype(np.float64)

    @torch.inference_mode()
    def _respond(
        self, network: FeatureModel, images: ImageSet, runtime: Runtime, batch_size: int = 512
    ) -> tuple[NDArray[np.float32], Parts, NDArray[np.float32], list[NDArray[np.float32]]]:
        """Upright logits (N, K * T), the scores of logits, averaged over the turns, unit features
        (R, N, F), textures (R, N, E) of each kind."""
        network.eval()
        whitening = None if self.whitening_ is None else torch.from_numpy(self.whitening_)
        upright, scores, features, textures = [], [], [], []
        n_batches = -(-len(images) // batch_size)
        bar = {"total": n_batches, "unit": "image", "unit_scale": batch_size}
        for batch in runtime.track(images.batches(batch_size), "features", **bar):
            x = runtime.floats(batch)
            said, responses, surfaces = [], [], []
            for turn in range(self.transformations.rotations):
                with runtime.autocast(scoring=True):
                    maps = network.maps(self.transformations.apply(x, turn))
                response = network.pool(maps[-1])
                logits = network.head(response)
                if turn == 0:
                    upright.append(logits.cpu().numpy())
                surfaces.append(texture_of(maps, whitening))
                said.append(of_logits(logits.double(), turn, len(self.transformations)))
                responses.append(F.normalize(response, dim=1))
            features.append(torch.stack(responses).cpu().numpy())
            kinds = zip(*surfaces, strict=True)
            textures.append([torch.stack(turns).cpu().numpy() for turns in kinds])
            means = {name: torch.stack([s[name] for s in said]).mean(dim=0) for name in said[0]}
            scores.append({name: mean.cpu().numpy() for name, mean in means.items()})
        return (
            np.concatenate(upright),
            {name: np.concatenate([s[name] for s in scores]) for name in scores[0]},
            np.concatenate(features, axis=1),
            [np.concatenate(kind, axis=1) for kind in zip(*textures, strict=True)],
        )


def _whitening(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (F, F) that makes the covariance of rows (N, F), shrunk, the identity."""
    from sklearn.covariance import ledoit_wolf

    covariance, _ = ledoit_wolf(rows.astype(np.float64))
    # in float64 and with a floor: a feature that never varies must not decide everything
    values, vectors = np.linalg.eigh(covariance)
    floor = max(values.max() * 1e-6, 1e-12)
    return (vectors / np.sqrt(np.maximum(values, floor))).astype(np.float32)


def _whitened(rows: NDArray[np.float32], whitening: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows float32 (..., F) times ``whitening``, multiplied in float64: in float32 the rounding of
    some BLAS depends on where in the batch a row stands.
    """
    whitened: NDArray[np.float32] = (rows @ whitening.astype(np.float64)).astype(np.float32)
    return whitened


def weight_of_classifier(known: float, n: int) -> float:
    """What logits and features weigh, of 1, where the classifier removes the share ``known`` of the
    entropy of the transformations of ``n`` independent images that it was not trained on.
    """
    # as odds, squared: which of the two witnesses is the better one is soon clear
    weight = known**2 / (known**2 + (1 - known) ** 2)
    return min((n * weight + DOUBT / 2) / (n + DOUBT), MOST)


def log_tail(z: Tensor, degrees: float) -> Tensor:
    """log P(T > z) float64, of Student's T with that many degrees of freedom, for z of any shape.

    By the normal tail of a z drawn nearer to 0 (Wallace 1959, Bounds on normal approximations to
    Student's and the chi-square distributions): of one degree it is 2% off at z = 3 and 11% at 50,
    of ten 0.1 and 2%. The tail itself underflows where its logarithm is still of use.
    """
    u = (z.square() / degrees).clamp(min=1e-30)  # of 0 there would be no gradient
    nearer = z * (u.log1p() / u).sqrt() * (8 * degrees + 1) / (8 * degrees + 3)
    return torch.special.log_ndtr(-nearer)


def of_logits(logits: Tensor, turn: int, n: int) -> dict[str, Tensor]:
    """Anomaly scores (N,) that the logits (N, K * n) of images turned by ``turn``, one of ``n``
    transformations, give.

    ``logits``: minus the largest of that turn's (Hendrycks et al. 2022). ``energy``: minus the log
    of the sum of their exponentials (Liu et al. 2020, arXiv 2010.03759). ``turns``: minus the log
    of the probability given to the turn, whatever the cluster (Golan and El-Yaniv 2018).
    """
    own = logits[:, turn::n]
    energy = -own.logsumexp(dim=1)
    return {"logits": -own.amax(dim=1), "energy": energy, "turns": logits.logsumexp(dim=1) + energy}


def exchanged(logits: Tensor) -> Tensor:
    """The log-odds (N,) of the second of two classes, by their logits (N, 2)."""
    return logits[:, 1] - logits[:, 0]


def texture_of(maps: Sequence[Tensor], whitening: Tensor | None = None) -> list[Tensor]:
    """What maps (N, F, h, w) say of surfaces: float32 (N, E), a tensor for each distance.

    Deviations over the pixels of the second and of the third, of unit length. With ``whitening``
    (E, E), as it was up to format 8: means and deviations of the first two, in units of their
    covariance (Mahalanobis).
    """
    if whitening is None:
        return [F.normalize(_moments(maps[i])[1], dim=1) for i in TEXTURED]
    moments = torch.cat([each for i in WHITENED for each in _moments(maps[i])], dim=1)
    # in float64, as ``_whitened``
    return [(moments.double() @ whitening.to(moments.device).double()).float()]


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the pixels: (N, F, h, w) -> (N, F) each."""
    pixels = maps.float().permute(0, 2, 3, 1).flatten(1, 2)
    mean = pixels.mean(dim=1)
    # nine times as fast as torch.std_mean, which reads maps with the channels last one by one
    variance = (pixels - mean[:, None]).square_().mean(dim=1)
    return mean, variance.clamp_(min=1e-12).sqrt_()  # of 0 there would be no gradient
