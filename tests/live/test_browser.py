"""The page as a person meets it: a browser clicks, drags, slides and types, and the journal says what came of it."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the extra live is not installed")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")

from small_page import served  # noqa: E402

from gpax_lab.live import Wish, leave  # noqa: E402
from gpax_lab.storage import read  # noqa: E402

CHROMIUM = os.environ.get("GPAX_LAB_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
HERE = Path(__file__).parent
AXE = [os.environ.get("GPAX_LAB_AXE", ""), "node_modules/axe-core/axe.min.js"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium, or GPAX_LAB_CHROMIUM)"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def running(folder: Path, wait_s=0.15, steps=60):
    """A campaign of a program of its own: its process and its link."""
    command = [sys.executable, str(HERE / "slow_campaign.py"), str(folder), str(wait_s), str(steps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def opened(browser, link: str, **given):
    """A page in a browser of its own; an error of its script is an error of the test."""
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 1000}} | given)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(link)
    page.wait_for_selector("#layers button")
    try:
        yield page
    finally:
        context.close()
    assert errors == []


def journal(folder: Path, *kinds: str):
    return read(folder / "film.gpxj").of(*kinds)


def wait_for(true, seconds=90.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def begun(page, steps=1):
    done = "Number(/step (\\d+)/.exec(document.querySelector('#progress').textContent)?.[1])"
    page.wait_for_function(f"() => {done} >= {steps}", timeout=120_000)
    page.wait_for_function("() => document.querySelector('#weights').childElementCount > 0", timeout=60_000)


def on_map(page, x, y):
    """Pixels of the share (x, y) of the map's area."""
    box = page.locator("#map").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def test_clicks_land_in_the_journal_and_are_measured_next(browser, tmp_path):
    with running(tmp_path) as (_, link), opened(browser, link) as page:
        begun(page)
        page.fill("#by", "Ana")
        page.fill("#why", "a crack")
        page.click("#tools [data-key=pin]")
        page.mouse.click(*on_map(page, 0.55, 0.7))
        (pin,) = wait_for(lambda: journal(tmp_path, "intervention"))
        assert (pin.header["action"], pin.header["by"], pin.header["why"]) == ("pin", "Ana", "a crack")
        point = pin.arrays["x"][0]
        assert all(0 <= v <= 2e-6 for v in point)
        step = pin.step
        wait_for(lambda: len(journal(tmp_path, "proposal")) > step + 1)
        proposal = next(e for e in journal(tmp_path, "proposal") if e.step == step)
        assert proposal.header["pinned"]
        assert proposal.arrays["x"].tolist() == [point.tolist()]
        reading = journal(tmp_path, "reading")[6 + step]  # behind the seeds
        assert reading.arrays["x"].tolist() == point.tolist()
        page.wait_for_function("() => document.querySelector('#log').textContent.includes('a crack')")

        page.click("#tools [data-key=veto]")
        page.mouse.move(*on_map(page, 0.3, 0.2))
        page.mouse.down()
        page.mouse.move(*on_map(page, 0.4, 0.3), steps=4)
        page.mouse.move(*on_map(page, 0.5, 0.4), steps=4)
        page.mouse.up()
        veto = wait_for(lambda: [e for e in journal(tmp_path, "intervention") if e.header["action"] == "veto"])[0]
        box = veto.arrays["box"]
        assert (box[:, 0] < box[:, 1]).all()
        wait_for(lambda: len(journal(tmp_path, "proposal")) > veto.step + 4)
        asked = np.array([e.arrays["x"][0] for e in journal(tmp_path, "proposal") if e.step >= veto.step])
        assert not ((asked >= box[:, 0]) & (asked <= box[:, 1])).all(axis=1).any()


def test_what_an_agent_asks_waits_for_a_button(browser, tmp_path):
    with running(tmp_path) as (_, link), opened(browser, link) as page:
        begun(page)
        page.fill("#by", "Ana")
        given = {"by": "agent", "why": "<b>approve me</b>", "asks": True}
        wishes = [Wish("pin", {"x": [[x, 1e-6]]}, **given) for x in (1.234e-6, 0.567e-6)]
        for wish in wishes:
            leave(tmp_path / "film.inbox", wish)
        page.wait_for_function("() => document.querySelectorAll('#waiting button').length === 4")
        assert page.locator("#waiting b").count() == 0
        count = len(journal(tmp_path, "reading"))
        wait_for(lambda: len(journal(tmp_path, "reading")) > count + 2)
        assert not journal(tmp_path, "intervention")
        page.locator("#waiting li", has_text="1.234").get_by_role("button", name="Approve").click()
        (pin,) = wait_for(lambda: journal(tmp_path, "intervention"))
        assert (pin.header["wish"], pin.header["by"]) == (wishes[0].id, "agent")
        page.locator("#waiting li", has_text="asks").get_by_role("button", name="Decline").click()
        (refusal,) = wait_for(lambda: journal(tmp_path, "refusal"))
        assert "declined by Ana" in refusal.header["reason"]
        assert [(e.header["action"], e.header["by"]) for e in journal(tmp_path, "act")] == [
            ("approve", "Ana"), ("decline", "Ana"),
        ]  # fmt: skip
        page.wait_for_function("() => document.querySelector('#waiting').childElementCount === 0")


def test_pause_holds_a_slider_changes_what_is_next_and_resume_goes_on(browser, tmp_path):
    with running(tmp_path) as (_, link), opened(browser, link) as page:
        begun(page)
        page.click("#pause")
        page.wait_for_function("() => document.querySelector('#pill').textContent === 'paused'")
        count = len(journal(tmp_path, "reading"))
        time.sleep(1.0)
        before = page.get_attribute("#map", "aria-label")
        page.focus("#weight-0")
        page.keyboard.press("Home")  # nothing but the distance from other points counts now
        page.wait_for_selector("#waiting li")
        label = "document.querySelector('#map').getAttribute('aria-label')"
        page.wait_for_function(f"(before) => {label} !== before", arg=before)
        assert len(journal(tmp_path, "reading")) == count
        page.click("#resume")
        wait_for(lambda: len(journal(tmp_path, "reading")) > count + 1)
        (*_, weights) = [e for e in journal(tmp_path, "intervention") if e.header["action"] == "reweigh"]
        assert weights.header["weights"] == [0.0, 1.0]
        assert [e.header["action"] for e in journal(tmp_path, "act")] == ["pause", "resume"]
        page.wait_for_function("() => document.querySelector('#waiting').childElementCount === 0")


def test_a_question_is_answered_and_the_end_is_seen(browser, tmp_path):
    with running(tmp_path, 0.02, 12) as (process, link), opened(browser, link) as page:
        page.wait_for_selector("#question:not([hidden])", timeout=120_000)
        assert "the budget of 12 points is used" in page.text_content("#question-text")
        page.click("#go-on")
        page.wait_for_function("() => document.querySelector('#pill').textContent === 'finished'", timeout=60_000)
        assert process.wait(timeout=60) == 0
        assert journal(tmp_path, "act")[0].header["stop"] is False
        assert "Finished: all 12 steps are done" in page.text_content("#banner")


def test_stop_leaves_it_safe_and_another_scalarizer_reads_the_past(browser, tmp_path):
    with running(tmp_path) as (process, link), opened(browser, link) as page:
        begun(page)
        page.select_option("#scalarizer", "half")
        page.click("#rescale")
        wait_for(lambda: [e for e in journal(tmp_path, "intervention") if e.header["action"] == "rescale"])
        page.click("#stop")
        assert process.wait(timeout=60) == 0
        stop = journal(tmp_path, "stop")[0].header
        assert (stop["finished"], stop["reason"][:18]) == (False, "stopped on request")


def test_a_page_that_dies_changes_nothing_and_one_that_loses_the_campaign_says_so(browser, tmp_path):
    with running(tmp_path) as (process, link):
        with opened(browser, link) as page:
            begun(page)
        count = len(journal(tmp_path, "reading"))
        wait_for(lambda: len(journal(tmp_path, "reading")) > count + 5)
        with opened(browser, (tmp_path / "film.link").read_text(encoding="utf-8").strip()) as page:
            begun(page)
            process.kill()
            page.wait_for_selector("#banner:not([hidden])", timeout=30_000)
            assert "lost the campaign" in page.text_content("#banner")


def test_a_phone_and_a_keyboard_are_enough(browser, tmp_path):
    phone = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
    with running(tmp_path) as (_, link), opened(browser, link, **phone) as page:
        begun(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        sizes = page.evaluate(
            "[...document.querySelectorAll('p, td, dd, dt, button, label')].filter((e) => e.offsetParent)"
            ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
        )
        assert min(sizes) >= 12
        heights = page.evaluate("[...document.querySelectorAll('#controls button')].map((e) => e.offsetHeight)")
        assert all(height == 0 or height >= 38 for height in heights)  # a finger's width
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.key || ''"))
        assert {"pause", "safe", "stop", "map", "by", "why", "weight-0", "pin", "veto", "mean", "rescale"} <= reached
        page.focus("#tools [data-key=pin]")
        page.keyboard.press("Enter")
        page.focus("#map")
        for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter"):
            page.keyboard.press(key)
        (pin,) = wait_for(lambda: journal(tmp_path, "intervention"))
        np.testing.assert_allclose(pin.arrays["x"][0], [1.04e-6, 1.02e-6], atol=5e-8)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screen_readers_find_their_way(browser, tmp_path, scheme):
    source = next((Path(name) for name in AXE if name and Path(name).exists()), None)
    if source is None:
        pytest.skip("axe-core is not here: npm pack axe-core, and its axe.min.js in GPAX_LAB_AXE")
    with running(tmp_path) as (_, link), opened(browser, link, color_scheme=scheme) as page:
        begun(page, 3)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        page.evaluate(source.read_text(encoding="utf-8"))
        found = page.evaluate("axe.run()")
        assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in found["violations"]] == []
        assert len(found["passes"]) > 15


def test_what_others_wrote_is_shown_as_text(browser, tmp_path):
    evil = '<img src=x onerror="document.title = 7">'
    with served(tmp_path) as (page, inbox, campaign), opened(browser, page.new_link()) as shown:
        inbox.ask(Wish("reject", {"name": evil, "formula": "x"}, by="<script>alert(1)</script>", why=evil))
        header = {"action": "adopt", "name": evil, "formula": evil, "by": evil, "why": evil, "wish": "0" * 16}
        campaign.append(("intervention", 0, header, {}))
        shown.wait_for_function("() => document.querySelector('#log').textContent.includes('onerror')")
        shown.wait_for_function("() => document.querySelector('#waiting').textContent.includes('onerror')")
        assert "<script>" in shown.text_content("#messages")
        assert shown.evaluate("document.querySelectorAll('main img, main script').length") == 0
        assert shown.title() == "film <b>7</b> – gpax_lab"


def test_nothing_is_asked_of_another_place(browser, tmp_path):
    with served(tmp_path) as (page, _, _):
        context = browser.new_context()
        shown, asked = context.new_page(), []
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(page.new_link())
        shown.wait_for_selector("#layers button")
        context.close()
        assert len(asked) > 4
        assert all(url.startswith(page.address) for url in asked)
