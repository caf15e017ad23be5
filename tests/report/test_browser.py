"""The page of a run in a real browser: what a person would do with it, and what must come of it."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from clad.report import subject
from clad.report.scored import write_report

ROWS = "return [...document.querySelectorAll('#list tbody tr')].map(r => Number(r.dataset.image))"


@pytest.fixture(scope="module")
def page(run_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(path, subject.of_run(run_folder))
    return path


@pytest.fixture(scope="module")
def rows(run_folder):
    with (run_folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counts_of(rows, threshold):
    """Flagged, false alarms and detections over a threshold, by hand."""
    score = np.array([float(row["score"]) for row in rows])
    truth = np.array([row["truth"] == "1" for row in rows])
    over = score > threshold
    return int(over.sum()), int((over & ~truth).sum()), int((over & truth).sum())


def keys(element, *names):
    from selenium.webdriver.common.keys import Keys

    element.send_keys(*(getattr(Keys, name) for name in names))


def find(browser, selector):
    return browser.find_element("css selector", selector)


def count(browser, name):
    """The numbers in a cell such as "12 of 300 (4.0%)"."""
    part, _, whole, *_ = find(browser, f"#count-{name}").text.split()
    return int(part), int(whole)


def all_rows(browser):
    """The images listed on every page of the list, in order."""
    listed = browser.execute_script(ROWS)
    while find(browser, "#on").is_enabled():
        find(browser, "#on").click()
        listed += browser.execute_script(ROWS)
    return listed


def set_value(browser, selector, value):
    browser.execute_script(
        "const e = document.querySelector(arguments[0]); e.value = arguments[1];"
        "e.dispatchEvent(new Event('input', {bubbles: true}))",
        selector,
        value,
    )


def slider_value(browser):
    return float(browser.execute_script("return document.querySelector('#threshold').value"))


def test_it_opens_with_the_decisions_of_the_file(open_page, page, rows):
    browser = open_page(page)
    flagged = [row["anomaly"] == "1" for row in rows]
    truth = [row["truth"] == "1" for row in rows]
    assert count(browser, "flagged") == (sum(flagged), 300)
    assert count(browser, "false-alarms")[0] == sum(
        f and not t for f, t in zip(flagged, truth, strict=True)
    )
    assert count(browser, "detected") == (
        sum(f and t for f, t in zip(flagged, truth, strict=True)),
        sum(truth),
    )
    assert browser.title == "digits CUR, default preset, seed 0"
    assert len(browser.execute_script("return performance.getEntriesByType('resource')")) == 0


@pytest.mark.parametrize("share", [0.0, 0.17, 0.5, 0.83, 1.0])
def test_the_slider_counts(open_page, page, rows, share):
    browser = open_page(page)
    slider = find(browser, "#threshold")
    low, high = (float(slider.get_attribute(each)) for each in ("min", "max"))
    set_value(browser, "#threshold", low + share * (high - low))
    threshold = slider_value(browser)
    assert threshold == pytest.approx(low + share * (high - low), abs=(high - low) / 900)
    flagged, alarms, detected = counts_of(rows, threshold)
    anomalies = sum(row["truth"] == "1" for row in rows)
    assert count(browser, "flagged") == (flagged, 300)
    assert count(browser, "false-alarms") == (alarms, 300 - anomalies)
    assert count(browser, "detected") == (detected, anomalies)
    assert count(browser, "missed") == (anomalies - detected, anomalies)


def test_the_dot_on_the_roc_is_the_threshold(open_page, page, rows):
    browser = open_page(page)
    exact = find(browser, "#exact")
    threshold = float(np.median([float(row["score"]) for row in rows]))
    set_value(browser, "#exact", threshold)
    browser.execute_script("arguments[0].dispatchEvent(new Event('change'))", exact)
    _, alarms, detected = counts_of(rows, threshold)
    x, y = browser.execute_script(
        "const dot = document.querySelector('#roc svg > circle'), a = data.axes.roc;"
        "const value = (axis, place) =>"
        " axis[0] + (place - axis[2]) / (axis[3] - axis[2]) * (axis[1] - axis[0]);"
        "return [value(a.x, Number(dot.getAttribute('cx'))),"
        " value(a.y, Number(dot.getAttribute('cy')))]"
    )
    anomalies = sum(row["truth"] == "1" for row in rows)
    assert x == pytest.approx(alarms / (300 - anomalies))
    assert y == pytest.approx(detected / anomalies)


def test_the_keyboard_moves_the_slider_and_the_button_takes_it_back(open_page, page, rows):
    browser = open_page(page)
    before = count(browser, "flagged")
    keys(find(browser, "#threshold"), "HOME")
    threshold = slider_value(browser)
    assert count(browser, "flagged")[0] == counts_of(rows, threshold)[0] > before[0]
    keys(find(browser, "#reset"), "ENTER")
    assert count(browser, "flagged") == before


def test_sorting_sorts_every_column(open_page, page, rows):
    browser = open_page(page)
    score = np.array([float(row["score"]) for row in rows])
    assert all_rows(browser) == np.argsort(-score, kind="stable").tolist(), "highest score first"
    columns = {
        "score": score,
        "p": np.array([float(row["p_value"]) for row in rows]),
        "cluster": np.array([int(row["cluster"]) for row in rows]),
        "truth": np.array([int(row["truth"]) for row in rows]),
    }
    for key, column in columns.items():
        head = find(browser, f"th[data-key={key}]")
        keys(head.find_element("css selector", "button"), "ENTER")
        assert head.get_attribute("aria-sort") == "ascending"
        assert all_rows(browser) == np.argsort(column, kind="stable").tolist(), key
        head.find_element("css selector", "button").click()
        assert head.get_attribute("aria-sort") == "descending"
        assert all_rows(browser) == np.argsort(-column, kind="stable").tolist(), key


def test_names_are_sorted_as_people_count(open_page, page):
    browser = open_page(page)
    find(browser, "th[data-key=name] button").click()
    assert all_rows(browser)[1:] == list(range(299)), "image 9 before image 10"


def test_filters_filter_and_combine(open_page, page, rows):
    browser = open_page(page)
    wanted = {i for i, row in enumerate(rows) if row["cluster"] == rows[0]["cluster"]}
    set_value(browser, "#cluster", rows[0]["cluster"])
    assert set(all_rows(browser)) == wanted
    flagged = {i for i, row in enumerate(rows) if row["anomaly"] == "1"}
    set_value(browser, "#decision", "not flagged")
    assert set(all_rows(browser)) == wanted - flagged
    set_value(browser, "#label", "3")
    labelled = {i for i, row in enumerate(rows) if row["label"] == "3"}
    assert set(all_rows(browser)) == (wanted - flagged) & labelled
    for selector in ("#cluster", "#decision", "#label"):
        set_value(browser, selector, "")
    find(browser, "#find").send_keys("IMAGE 29.")
    assert all_rows(browser) == [29]
    assert find(browser, "#shown").text == "1 to 1 of 1 (300 in all)"
    find(browser, "#find").send_keys("nothing")
    assert all_rows(browser) == []
    assert find(browser, "#shown").text == "none of 300"


def test_missed_and_false_alarms_follow_the_slider(open_page, page, rows):
    browser = open_page(page)
    set_value(browser, "#decision", "missed")
    keys(find(browser, "#threshold"), "END")
    threshold = slider_value(browser)
    assert set(all_rows(browser)) == {
        i for i, row in enumerate(rows) if row["truth"] == "1" and float(row["score"]) <= threshold
    }


def test_the_map_shows_the_image_under_the_pointer(open_page, page, rows):
    from selenium.webdriver import ActionChains

    browser = open_page(page)
    assert len(browser.find_elements("css selector", "#map circle:not(.chosen)")) == 300
    dot = browser.execute_script("return points[7].dot")
    ActionChains(browser).move_to_element(dot).perform()
    tip = find(browser, "#tip")
    assert tip.is_displayed()
    found = browser.execute_script("return near.i")
    assert rows[found]["path"] in tip.text
    assert tip.find_elements("css selector", ".thumbnail")
    ActionChains(browser).move_to_element(find(browser, "#legend")).perform()
    assert not tip.is_displayed()
    chart = find(browser, "#map")
    keys(chart, "ARROW_RIGHT", "ARROW_RIGHT")
    further = browser.execute_script("return near.i")
    assert further != found
    keys(chart, "ENTER")
    dialog = find(browser, "dialog")
    assert dialog.is_displayed()
    assert dialog.find_element("css selector", "dd").text == rows[further]["path"]
    keys(dialog, "ESCAPE")
    assert not dialog.is_displayed()
    assert browser.execute_script("return near.i") == further, "the keyboard goes on from there"


def test_each_thumbnail_shows_its_own_image(open_page, page, task):
    """Pixels of what the browser draws, against the image: the window is on the right cell."""
    import io

    from PIL import Image

    browser = open_page(page)
    images = task.test.read(slice(0, 300))[:, 0].astype(float)
    for row in browser.find_elements("css selector", "#list tbody tr")[:5]:
        i = int(row.get_attribute("data-image"))
        shot = row.find_element("css selector", ".thumbnail").screenshot_as_png
        seen = np.asarray(Image.open(io.BytesIO(shot)).convert("L").resize((8, 8)), float)
        alike = [np.corrcoef(seen.ravel(), each.ravel())[0, 1] for each in images]
        assert int(np.argmax(alike)) == i


def test_a_gallery_a_cluster(open_page, page, rows):
    browser = open_page(page)
    heads = [each.text for each in browser.find_elements("css selector", "#galleries h3")]
    clusters = {row["cluster"] for row in rows}
    assert {head.split()[1].rstrip(":") for head in heads} >= clusters
    for cluster in clusters:
        members = sum(row["cluster"] == cluster for row in rows)
        assert any(
            head.startswith(f"cluster {cluster}:") and head.endswith(f", {members} of these images")
            for head in heads
        )


def test_names_of_files_are_text(open_page, page, hostile):
    browser = open_page(page)
    set_value(browser, "#find", "hacked")
    cell = find(browser, "#list td.name")
    assert cell.text == hostile
    assert browser.execute_script("return window.hacked") is None
    assert browser.execute_script("return document.querySelectorAll('main img').length") == 0


def test_every_control_has_a_name_and_every_head_a_scope(open_page, page):
    browser = open_page(page)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('input, select, button, svg')].filter(e =>"
        " !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() ||"
        " e.querySelector('[role=img]'))).map(e => e.outerHTML)"
    )
    assert nameless == []
    assert browser.execute_script("return document.querySelectorAll('th:not([scope])').length") == 0


@pytest.mark.parametrize("dark", [False, True])
def test_ink_stands_out_from_the_paper(open_page, page, dark):
    browser = open_page(page, dark=dark)
    ink, paper, text = browser.execute_script(
        "const c = (e, p) => getComputedStyle(e)[p]; const b = document.body;"
        "return [c(b, 'color'), c(b, 'backgroundColor'),"
        " c(document.querySelector('#slide svg text'), 'fill')]"
    )

    def light(colour):
        return sum(int(part) for part in colour.strip("rgba()").split(",")[:3]) / 765

    assert light(paper) < 0.2 if dark else light(paper) > 0.8
    assert abs(light(ink) - light(paper)) > 0.7
    assert text == ink
