"""Pictures: what stands in them is read back from the figure, the file from its pixels."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from clad.errors import CladError, DataError
from clad.report import canvas, plots

RNG = np.random.default_rng(0)
N = 60
IMAGES = RNG.integers(0, 256, (N, 1, 8, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (N, 3, 12, 8), dtype=np.uint8)
SCORES = RNG.normal(size=N)
TRUTH = np.arange(N) % 3 == 0
CLUSTERS = np.repeat([0, 1, 4], 20)
DISTANCES = RNG.random(N)
POINTS = RNG.normal(size=(N, 2))


def axis():
    return Figure().subplots()


def parts(images=IMAGES, anomalous=TRUTH):
    return {
        "calibration_scores": SCORES[:20],
        "test_scores": SCORES,
        "threshold": 0.5,
        "anomalous": anomalous,
        "embedding": POINTS,
        "embedding_clusters": CLUSTERS,
        "images": images,
        "clusters": CLUSTERS,
        "distances": DISTANCES,
        "test_images": images,
        "title": "a run",
    }


@pytest.mark.parametrize(
    ("draw", "inches"),
    [
        (lambda p: plots.score_histogram(p, SCORES[:20], SCORES, 0.5), (7.5, 4.2)),
        (lambda p: plots.score_histogram(p, SCORES[:20], SCORES, 0.5, TRUTH), (7.5, 4.2)),
        (lambda p: plots.score_histogram(p, [1, 1], [], 1), (7.5, 4.2)),
        (lambda p: plots.roc(p, SCORES, TRUTH, 0.5), (5, 4.8)),
        (lambda p: plots.latent_map(p, POINTS, CLUSTERS), (6.5, 6)),
        (lambda p: plots.cluster_gallery(p, IMAGES, CLUSTERS, DISTANCES), (7.8, 2.36)),
        (lambda p: plots.cluster_gallery(p, COLOUR, CLUSTERS, DISTANCES, 3), (3.46, 2.36)),
        (lambda p: plots.most_anomalous(p, IMAGES, SCORES), (8.5, 4.65)),
        (lambda p: plots.most_anomalous(p, COLOUR, SCORES, TRUTH, n=7), (5.95, 1.5)),
        (lambda p: plots.most_anomalous(p, IMAGES[:0], []), (5, 0.45)),
        (lambda p: plots.overview(p, **parts()), (15, 9.2)),
        (lambda p: plots.overview(p, **parts(COLOUR, None)), (15, 9.2)),
    ],
)
def test_each_picture_is_one_png_of_its_size_with_ink_on_it(tmp_path, draw, inches):
    path = tmp_path / "picture.png"
    draw(path)
    assert [f.name for f in tmp_path.iterdir()] == ["picture.png"]
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx([canvas.DPI * i for i in inches], abs=1)
        pixels = np.asarray(image.convert("L"))
    assert 0.003 < (pixels < 250).mean() < 0.9


def test_histogram_bars_hold_each_group_whole_and_the_legend_its_share_above():
    ax = axis()
    far = np.r_[SCORES, 1e6]  # gathered in the last bar, without squeezing the others
    plots.draw_histogram(ax, SCORES[:20], far, 0.5, np.r_[TRUTH, True])
    assert ax.get_xlim()[1] < 100
    normal, anomalies = ax.containers  # the calibration images are an outline
    for bars in (normal, anomalies):
        assert sum(bar.get_height() for bar in bars) == pytest.approx(100)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    above = 100 * (SCORES[~TRUTH] > 0.5).mean()
    assert f"normal test images: {above:.1f}% above" in said
    assert any(name.startswith("threshold 0.50") for name in said)


def test_roc_marks_the_point_of_the_threshold():
    ax = axis()
    plots.draw_roc(ax, [1, 2, 3, 4, 5, 6], [False, False, True, False, True, True], 3.5)
    _, curve, point = ax.lines
    assert point.get_xydata().tolist() == [[pytest.approx(1 / 3), pytest.approx(2 / 3)]]
    assert curve.get_label() == "AUROC 0.889"
    assert "33.3% false alarms,\n66.7% detected" in point.get_label()


def test_map_numbers_each_cluster_at_its_median():
    ax = axis()
    plots.draw_map(ax, POINTS, CLUSTERS, "title")
    numbers = {text.get_text(): text.xy for text in ax.texts}
    assert sorted(numbers) == ["0", "1", "4"]
    assert numbers["4"] == pytest.approx(np.median(POINTS[40:], axis=0))
    (dots,) = ax.collections
    assert len(dots.get_offsets()) == N


def test_gallery_has_a_row_a_cluster_nearest_first():
    ax = axis()
    plots.draw_gallery(ax, IMAGES, CLUSTERS, DISTANCES, per_cluster=5)
    assert len(ax.images) == 15
    nearest = 20 + np.argsort(DISTANCES[20:40])[:5]
    for shown, i in zip(ax.images[5:10], nearest, strict=True):
        assert (shown.get_array() == IMAGES[i, 0]).all()
    assert [t.get_text() for t in ax.texts][2] == "cluster 4\n20 images"


def test_gallery_of_many_clusters_says_what_it_leaves_out():
    ax = axis()
    plots.draw_gallery(ax, IMAGES, np.repeat([0, 1, 4], [10, 30, 20]), DISTANCES, 4, 2)
    assert "the 2 largest of 3" in ax.get_title()
    assert [t.get_text().split("\n")[0] for t in ax.texts] == ["cluster 1", "cluster 4"]


def test_most_anomalous_falls_and_is_framed_by_the_truth():
    ax = axis()
    plots.draw_most_anomalous(ax, COLOUR, SCORES, TRUTH, n=12)
    top = np.argsort(-SCORES)[:12]
    for shown, i in zip(ax.images, top, strict=True):
        assert (shown.get_array() == COLOUR[i].transpose(1, 2, 0)).all()
    frames = [to_hex(patch.get_edgecolor()).upper() for patch in ax.patches]
    assert frames == [canvas.ANOMALY if TRUTH[i] else canvas.NORMAL for i in top]
    assert [float(text.get_text()) for text in ax.texts] == pytest.approx(SCORES[top], abs=5e-3)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == [f"{TRUTH[top].sum()} anomalies", f"{(~TRUTH[top]).sum()} normal images"]


def test_no_frame_without_the_truth():
    ax = axis()
    plots.draw_most_anomalous(ax, IMAGES, SCORES, n=3)
    assert len(ax.images) == 3
    assert not ax.patches
    assert ax.get_legend() is None


def test_images_keep_their_proportions():
    ax = axis()
    canvas.place_image(ax, COLOUR[0], 2, 1, size=0.9)  # 12 high, 8 wide
    assert ax.images[0].get_extent() == pytest.approx([2, 2.6, 1.9, 1])


@pytest.mark.parametrize(
    ("value", "among", "said"),
    [(14.41, [5, 30], "14.4"), (0.1003121, [0.1001, 0.1005], "0.100312"), (2, [2, 2], "2.000")],
)
def test_scores_are_written_with_the_decimals_that_tell_them_apart(value, among, said):
    assert canvas.short(value, np.array(among, float)) == said


def test_an_error_leaves_the_old_picture_alone(tmp_path):
    path = tmp_path / "roc.png"
    path.write_bytes(b"old")
    with pytest.raises(DataError, match="0 anomalous"):
        plots.roc(path, SCORES, np.zeros(N, bool), 0.5)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(CladError, match="missing"):
        plots.roc(tmp_path / "missing" / "roc.png", SCORES, TRUTH, 0.5)


def test_embed_is_seeded_and_keeps_neighbours():
    latents = np.r_[RNG.normal(size=(40, 6)), RNG.normal(20, 1, size=(40, 6))]
    points = plots.embed(latents, seed=3)
    assert points.shape == (80, 2)
    assert points.dtype == np.float64
    assert (points == plots.embed(latents, seed=3)).all()
    first, second = points[:40], points[40:]
    gap = np.linalg.norm(first.mean(0) - second.mean(0))
    assert gap > np.linalg.norm(first - first.mean(0), axis=1).max()


@pytest.mark.parametrize(
    "latents",
    [np.zeros((0, 3)), np.ones((1, 3)), np.eye(2), np.eye(5), np.ones((20, 3)), np.eye(9)[:, :1]],
)
def test_embed_takes_few_flat_or_identical_latents(latents, capfd):
    points = plots.embed(latents, seed=0)
    assert points.shape == (len(latents), 2)
    assert np.isfinite(points).all()
    assert capfd.readouterr() == ("", "")


def test_embed_refuses_what_it_cannot_place():
    with pytest.raises(DataError, match=r"latents\[1\] holds NaN"):
        plots.embed([[0, 1], [np.nan, 1]], seed=0)
    with pytest.raises(DataError, match=r"latents should be \(N, D\), got \(3,\)"):
        plots.embed([1, 2, 3], seed=0)


def test_importing_is_cheap_and_drawing_needs_no_pyplot(tmp_path):
    code = f"""
import sys
import clad.metrics, clad.threshold
from clad.report import plots
heavy = {{"matplotlib", "scipy", "sklearn", "openTSNE", "torch"}} & set(sys.modules)
assert not heavy, heavy
plots.roc({str(tmp_path / "roc.png")!r}, [1, 2, 3], [0, 1, 1], 1.5)
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
