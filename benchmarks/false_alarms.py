"""What every threshold rule does to five score distributions, and how fast p-values are.

    python benchmarks/false_alarms.py

500 repetitions, each with 200 calibration and 1,000 new normal scores. Writes
results/false_alarms.csv; exit status 1 where a promise is broken: split conformal outside [4.73,
5.22]% on average, the plain quantile inside it (the check could not tell then), PAC over alpha more
often than it may, Benjamini-Hochberg with too many false discoveries, Mondrian out of the band in a
cluster.
"""

import sys
import time

import click
import numpy as np
from records import ROOT, write_rows
from scipy.stats import binom

from clad.threshold import RULES, BenjaminiHochberg, Mondrian, make

N, M, REPETITIONS, ALPHA, DELTA = 200, 1000, 500, 0.05, 0.05
BAND = (0.0473, 0.0522)
DRAWS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "student t3": lambda rng, n: rng.standard_t(3, size=n),
    "beta(2, 5)": lambda rng, n: rng.beta(2, 5, size=n),
    "two modes": lambda rng, n: rng.normal(size=n) + 6 * (rng.random(n) < 0.1),
}


def rates(method, draw, seed):
    """Share of M new normal scores flagged, in each repetition."""
    rng = np.random.default_rng(seed)
    rule = make(method, alpha=ALPHA, delta=DELTA)
    found = []
    for _ in range(REPETITIONS):
        scores, new = draw(rng, N), draw(rng, M)
        rule.fit(scores, np.zeros(N, int), synthetic=draw(rng, N) + scores.std())
        found.append(rule.predict(new, np.zeros(M, int)).mean())
    return np.array(found)


def clusterwise(seed):
    """Mondrian's mean rate in each of four clusters of different place and width."""
    rng = np.random.default_rng(seed)
    means, widths = np.array([0.0, 3.0, -2.0, 10.0]), np.array([1.0, 0.2, 3.0, 1.0])

    def draw(n):
        clusters = np.repeat(np.arange(4), n)
        return rng.standard_exponential(4 * n) * widths[clusters] + means[clusters], clusters

    rule = Mondrian(alpha=ALPHA)
    found = [
        rule.fit(*draw(N - 1)).predict(*draw(M)).reshape(4, M).mean(axis=1)
        for _ in range(REPETITIONS)
    ]
    return np.mean(found, axis=0)


def false_discoveries(seed):
    """Benjamini-Hochberg's mean share of false alarms among the flags, 100 of 1,000 anomalous."""
    rng = np.random.default_rng(seed)
    rule, found = BenjaminiHochberg(alpha=ALPHA), []
    for _ in range(REPETITIONS):
        rule.fit(rng.normal(size=N))
        flagged = rule.predict(np.r_[rng.normal(size=900), rng.normal(4, 1, size=100)]) == 1
        found.append(flagged[:900].sum() / max(1, flagged.sum()))
    return np.mean(found), np.std(found) / np.sqrt(REPETITIONS)


def seconds_of_p_values():
    """A million scores against 10,000 calibration scores."""
    rng = np.random.default_rng(0)
    rule = make("conformal").fit(rng.normal(size=10_000))
    scores = rng.normal(size=1_000_000)
    start = time.perf_counter()
    rule.p_values(scores)
    return time.perf_counter() - start


@click.command()
@click.option("--seed", default=0, show_default=True)
def main(seed: int) -> None:
    """Print the table and the verdicts."""
    rows, means, exceeded = [], {}, {}
    for method in RULES:
        if method == "manual":
            continue
        each = {name: rates(method, draw, seed) for name, draw in DRAWS.items()}
        means[method] = float(np.mean([r.mean() for r in each.values()]))
        exceeded[method] = max(int((r > ALPHA).sum()) for r in each.values())
        row = {"rule": method, **{name: f"{r.mean():.4f}" for name, r in each.items()}}
        rows.append({**row, "grand mean": f"{means[method]:.4f}"})
        click.echo("  ".join(f"{k} {v}" for k, v in rows[-1].items()))
    write_rows(ROOT / "results" / "false_alarms.csv", rows)

    clusters, (discoveries, error) = clusterwise(seed), false_discoveries(seed)
    verdicts = {
        f"conformal {means['conformal']:.4f} in {BAND}": BAND[0] <= means["conformal"] <= BAND[1],
        f"quantile {means['quantile']:.4f} outside": not BAND[0] <= means["quantile"] <= BAND[1],
        f"PAC over alpha in at most {exceeded['conformal-pac']} of {REPETITIONS}": (
            exceeded["conformal-pac"] <= binom.ppf(0.999, REPETITIONS, DELTA)
        ),
        f"mondrian in every cluster: {np.round(clusters, 4).tolist()}": bool(
            ((clusters >= BAND[0]) & (clusters <= BAND[1])).all()
        ),
        f"BH false discoveries {discoveries:.4f}": discoveries <= ALPHA + 3 * error,
    }
    for said, kept in verdicts.items():
        click.echo(f"{'ok    ' if kept else 'BROKEN'} {said}")
    click.echo(f"p-values of 1,000,000 scores against 10,000: {seconds_of_p_values():.2f} s")
    sys.exit(not all(verdicts.values()))


if __name__ == "__main__":
    main()
