"""The page in a browser: Chromium without a window, against a live server."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import layalign.serve.insight
from layalign.analysis.weights import Weights, read_weights
from layalign.eval.systems import LAYALIGN, LayAlignSystem
from layalign.serve.insight import insight
from serving import LiveServer, held, live_server, make_tiny_systems, until

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

QUESTION = "ana mayai nne"
SCRIPTS = {
    "ar": "كم تفاحة لدى آنا الآن؟",
    "bn": "আনার এখন কয়টি আপেল আছে?",
    "th": "ตอนนี้แอนนามีแอปเปิลกี่ผล",
    "am": "አና አሁን ስንት ፖም አላት?",
    "zh": "安娜现在有几个苹果",
}


@pytest.fixture(scope="module")
def weights(tiny_checkpoint: Path) -> Weights:
    return read_weights(tiny_checkpoint)


@pytest.fixture(scope="module")
def server(weights: Weights) -> Iterator[LiveServer]:
    with live_server(make_tiny_systems(), weights=weights) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Chrome, server: LiveServer) -> Chrome:
    browser.get(server.url)
    return browser


def find(browser: Chrome, name: str) -> WebElement:
    return browser.find_element("id", name)


def ask(browser: Chrome, question: str) -> None:
    find(browser, "question").clear()
    find(browser, "question").send_keys(question)
    find(browser, "ask").click()


def answered(browser: Chrome) -> None:
    until(lambda: find(browser, "ask").is_enabled())


def test_both_answers_and_what_was_used(opened: Chrome, server: LiveServer) -> None:
    ask(opened, QUESTION)
    answered(opened)
    assert opened.get_log("browser") == []
    assert not find(opened, "error").is_displayed()
    assert "tokens" in find(opened, "layalign-speed").text
    assert len(find(opened, "layalign").text.split()) > 20
    assert find(opened, "bare").text != find(opened, "layalign").text
    until(lambda: find(opened, "used").is_displayed())
    assert len(opened.find_elements("css selector", "#tokens li")) == 5  # with <s> and </s>
    assert len(opened.find_elements("css selector", "#layers li")) == 2
    assert len(opened.find_elements("css selector", "#mixing tr")) == 3


def test_one_model_alone_and_stopping(opened: Chrome, server: LiveServer) -> None:
    find(opened, "beside").click()
    with held(server.engine):
        ask(opened, QUESTION)
        until(lambda: server.engine.waiting == 1)
        assert not find(opened, "bare").is_displayed()
        find(opened, "stop").click()
        answered(opened)
    until(lambda: server.engine.waiting == server.engine.running == 0)
    assert not find(opened, "error").is_displayed()


def test_errors_are_shown(opened: Chrome) -> None:
    find(opened, "language").send_keys("nowhere")
    ask(opened, QUESTION)
    answered(opened)
    assert "No answer: " in find(opened, "error").text


@pytest.mark.slow
def test_a_server_that_stops(browser: Chrome, weights: Weights) -> None:
    with live_server(make_tiny_systems(), weights=weights) as stopping:
        browser.get(stopping.url)
    ask(browser, QUESTION)
    answered(browser)
    assert "No answer: " in find(browser, "error").text


@pytest.mark.slow
def test_a_server_that_stops_in_the_middle(browser: Chrome, weights: Weights) -> None:
    with live_server(make_tiny_systems(), weights=weights) as stopping:
        browser.get(stopping.url)
        with held(stopping.engine):
            ask(browser, QUESTION)
            until(lambda: stopping.engine.waiting == 2)
            stopping.server.force_exit = stopping.server.should_exit = True
            answered(browser)
        assert "No answer: " in find(browser, "error").text
        assert not find(browser, "used").is_displayed()
        stopping.engine.close()


@pytest.mark.parametrize("language", SCRIPTS)
def test_scripts_on_a_phone(opened: Chrome, language: str, tmp_path: Path) -> None:
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    ask(opened, SCRIPTS[language])
    answered(opened)
    until(lambda: find(opened, "used").is_displayed())
    root = "document.documentElement"
    wide, seen = opened.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert wide == seen <= 390
    cells = opened.find_elements("css selector", "#mixing td")
    assert max(cell.size["height"] for cell in cells) < 32  # one line; a wide table scrolls
    direction = find(opened, "question").value_of_css_property("direction")
    assert direction == ("rtl" if language == "ar" else "ltr")
    assert find(opened, "tokens").value_of_css_property("direction") == direction
    assert opened.save_screenshot(str(tmp_path / f"{language}.png"))
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_loads_nothing_from_elsewhere(server: LiveServer) -> None:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    for path, kind in (("/", "text/html"), ("/page.js", "javascript"), ("/page.css", "text/css")):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, kind in response.headers["content-type"]) == (200, True)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "http" not in response.read().decode()
    connection.request("GET", "/../app.py")
    response = connection.getresponse()
    response.read()
    assert response.status == 404
    connection.close()


def test_long_questions_are_looked_at_in_part(
    weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_tiny_systems()[LAYALIGN]
    assert isinstance(system, LayAlignSystem)
    feature = system.processor.encode("ana mayai nne tatu")
    whole = insight(system, feature, weights)
    monkeypatch.setattr(layalign.serve.insight, "MOST_TOKENS", 4)
    part = insight(system, feature, weights)
    assert (len(part["tokens"]), part["more"]) == (4, 2)
    assert part["used"] == pytest.approx(whole["used"][:4], abs=2e-4)


@pytest.mark.parametrize("switches", [{}, {"adapter": "none"}, {"aligner": "none"}])
def test_hidden_tokens_count_only_where_they_are_used(
    weights: Weights, switches: dict[str, str]
) -> None:
    from factories import make_model

    system = make_tiny_systems(make_model(**switches))[LAYALIGN]
    assert isinstance(system, LayAlignSystem)
    feature = system.processor.encode("ana mayai nne tatu")
    found = insight(system, feature, weights)
    assert json.loads(json.dumps(found)) == found
    assert len(found["tokens"]) == len(found["used"]) == 6
    assert found["more"] == 0
    assert all(0 <= value <= 1 for value in found["used"])
    assert max(found["used"]) > 0
    if system.model.gates is None:
        assert found["shares"] == []
        return
    assert all(0 < share < 1 for share in found["shares"])
    if switches:
        system.model.gates.data.zero_()
        nothing = insight(system, feature, weights)
        assert set(nothing["used"]) == set(nothing["shares"]) == {0.0}
