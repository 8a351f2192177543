"""The page in a browser: Chromium without a window, on files, with no connection."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from layalign.report import write_report
from report_folders import ITEMS, LANGUAGES, QUESTIONS, write_comparison, write_results

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

EVERY = ITEMS * len(LANGUAGES)
OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic"),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    folders = [write_comparison(folder / "comparison"), write_results(folder / "own", ours=50)]
    return write_report(folders, output=folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture
def opened(browser: Chrome, page: str) -> Iterator[Chrome]:
    """The page, at the size of a desk, in light colours; nothing may be logged."""
    show(browser, width=1200)
    browser.get_log("browser")
    browser.get(page)
    yield browser
    assert browser.get_log("browser") == []


def show(browser: Chrome, *, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def texts(browser: Chrome, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)"
    found: list[str] = browser.execute_script(script, selector)
    return found


def choose(browser: Chrome, name: str, label: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_visible_text(label)


def count(browser: Chrome) -> str:
    return browser.find_element("id", "count").text.removesuffix(
        "; the answers are those of seed 1"
    )


def active(browser: Chrome) -> Any:
    return browser.switch_to.active_element


def press(browser: Chrome, *keys: str) -> None:
    for key in keys:
        active(browser).send_keys(key)


def test_nothing_is_fetched(opened: Chrome, tmp_path: Path) -> None:
    resources = opened.execute_script("return performance.getEntriesByType('resource')")
    assert resources == []
    assert opened.title == "layalign report"
    blocked = """
        const done = arguments[0];
        fetch('https://example.org').then(() => done('sent'), () => done('blocked'));
    """
    assert opened.execute_async_script(blocked) == "blocked"
    opened.get_log("browser")  # which names the policy that has blocked it
    picture = tmp_path / "page.png"
    assert opened.save_screenshot(str(picture))
    assert picture.stat().st_size > 10_000


def test_filters(opened: Chrome) -> None:
    assert count(opened) == f"{EVERY} of {EVERY} examples"
    assert len(texts(opened, "#rows > li")) == 50
    choose(opened, "language", "Swahili")
    rows = texts(opened, ".question")
    assert len(rows) == ITEMS
    assert all(row.startswith(QUESTIONS["sw"]) for row in rows)
    choose(opened, "method", "LayAlign")
    choose(opened, "result", "Wrong")
    assert count(opened) == f"{ITEMS // 4} of {EVERY} examples"
    assert set(texts(opened, ".answer h3 span")) == {"✗ wrong"}
    assert set(texts(opened, ".answer h3 bdi")) == {"LayAlign"}
    choose(opened, "method", "All")
    choose(opened, "result", "Right")
    assert set(texts(opened, ".answer h3 span")) == {"✓ right"}
    assert len(texts(opened, "#rows > li")) == ITEMS // 4
    choose(opened, "result", "Methods differ")
    assert len(texts(opened, "#rows > li")) == ITEMS // 2
    choose(opened, "questions", "mgsm")
    assert count(opened) == f"{EVERY // 2} of {EVERY} examples"  # the result is still chosen
    assert set(texts(opened, ".answer h3 bdi")) == {"Bare LLM", "LayAlign"}


@pytest.mark.parametrize(
    ("words", "found"),
    [("matofaa", ITEMS), ("TATU", 0), ("(3)", 5), ("สาม", 0), ("แอปเปิล 3", ITEMS)],
)
def test_search(opened: Chrome, words: str, found: int) -> None:
    opened.find_element("id", "search").send_keys(words)
    assert count(opened) == f"{found} of {EVERY} examples"
    assert len(texts(opened, "#rows > li")) == found


def test_pages(opened: Chrome) -> None:
    first = texts(opened, ".question")
    opened.find_element("id", "next").click()
    second = texts(opened, ".question")
    assert len(second) == EVERY - 50
    assert not set(first) & set(second)
    assert not opened.find_element("id", "next").is_enabled()
    opened.find_element("id", "previous").click()
    assert texts(opened, ".question") == first


def test_text_has_language_and_direction(opened: Chrome) -> None:
    choose(opened, "language", "Arabic")
    question = opened.find_element("css selector", ".question")
    assert question.get_attribute("lang") == "ar"
    assert question.value_of_css_property("direction") == "rtl"
    answer = opened.find_element("css selector", ".answer .text")
    assert answer.value_of_css_property("direction") == "ltr"


def test_hostile_answer_is_text(opened: Chrome) -> None:
    opened.find_element("id", "search").send_keys("onerror")
    assert any("<img src=x" in text for text in texts(opened, ".answer .text"))
    assert texts(opened, ".answer img, .answer script") == []
    assert opened.title == "layalign report"


def test_keyboard(opened: Chrome) -> None:
    """Tab reaches everything in order, arrows choose, Enter opens and turns pages."""
    from selenium.webdriver.common.keys import Keys

    opened.find_element("tag name", "body").send_keys(Keys.TAB)
    assert active(opened).text == "Skip to the content"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert opened.execute_script(outline) == "solid"
    press(opened, Keys.ENTER)
    assert active(opened).get_attribute("id") == "main"
    reached = []
    for _ in range(60):
        press(opened, Keys.TAB)
        reached.append(active(opened).get_attribute("id"))
        if reached[-1] == "language":
            break
    assert reached[-1] == "language"
    press(opened, Keys.ARROW_DOWN)
    assert len(texts(opened, "#rows > li")) == ITEMS
    press(opened, Keys.ARROW_UP, Keys.TAB, Keys.TAB)
    assert active(opened).get_attribute("id") == "result"
    press(opened, Keys.TAB, "matofaa")
    assert len(texts(opened, "#rows > li")) == ITEMS
    press(opened, *[Keys.BACKSPACE] * 7, Keys.TAB)
    assert active(opened).get_attribute("id") == "next"
    press(opened, Keys.ENTER)
    assert texts(opened, "#page") == ["Page 2 of 2"]
    assert active(opened).get_attribute("id") == "rows"


def test_colours(opened: Chrome) -> None:
    def ground() -> Any:
        return opened.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    show(opened, width=1200, scheme="dark")
    dark = ground()
    assert light != dark
    opened.refresh()
    button = opened.find_element("id", "theme")
    assert button.text == "Light colours"
    button.click()
    assert ground() == light
    button.click()
    assert ground() == dark


def test_narrow_screen(opened: Chrome) -> None:
    show(opened, width=400)
    for summary in opened.find_elements("css selector", "details > summary"):
        opened.execute_script("arguments[0].parentElement.open = true", summary)
    root = "document.documentElement"
    wide, seen = opened.execute_script(f"return [{root}.scrollWidth, {root}.clientWidth]")
    assert wide == seen <= 400


def test_without_scripts(browser: Chrome, page: str) -> None:
    show(browser, width=1200)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page)
        body = browser.find_element("tag name", "body").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Averages over languages" in body
    assert "scripts are switched off" in body
    assert "Dark colours" not in body
