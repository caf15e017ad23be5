"""A run's folder made of the session's detector, and a headless browser to look at pages with."""

from __future__ import annotations

import json
import shutil

import pytest

from clad import exhibits
from clad.data.images import ImageSet
from clad.scorefile import columns_of, file_columns, write_scores

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror=window.hacked=1>.png"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="session")
def run_folder(detector, task, tmp_path_factory):
    """What ``clad run`` leaves of 300 test images, but for the pictures; one has a hostile name."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    n = 300
    names = [f"image {i}.png" for i in range(n - 1)] + [HOSTILE]
    test = ImageSet.of(task.test.read(slice(0, n)), names)
    scores = detector.score_images(test)
    detector.save(folder / "model", {"health": ["made-up: a warning"], "device": "cpu"})
    exhibits.keep_fitted(folder / "model", detector)
    exhibits.keep_scored(folder / "exhibits", exhibits.of_images(detector, [test]))
    columns = columns_of(file_columns(test), scores)
    answers = task.answers
    columns["label"] = [answers.classes[i] for i in answers.test_labels[:n]]
    columns["truth"] = answers.test_anomalous[:n].astype(int).tolist()
    write_scores(folder / "scores.csv", columns)
    metrics = {
        **{"dataset": "digits", "scenario": "CUR", "preset": "default", "seed": 0, "n_test": n},
        **{"seconds": {"autoencoder": 1.25}, "versions": {"torch": "0"}, "health": []},
        **{"auroc_interval": [0.4, 0.6]},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="session")
def hostile():
    """The name of its last image."""
    return HOSTILE


@pytest.fixture
def run_copy(run_folder, tmp_path):
    """One to break."""
    shutil.copytree(run_folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Selenium's driver of a headless Chromium without network."""
    chromium, driver = (
        next((found for name in names if (found := shutil.which(name))), None)
        for names in (("chromium", "chromium-browser", "google-chrome"), ("chromedriver",))
    )
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are absent: install them to test pages in a browser")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture
def open_page(browser):
    """Open a file; what the console says afterwards fails the test."""

    def get(path, dark=False):
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(path.resolve().as_uri())
        return browser

    browser.get_log("browser")
    yield get
    assert browser.get_log("browser") == []
