"""The report in a browser: links, filters, pins, beats, keyboard, widths, print."""

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from report_demo import demo_components, demo_run

from ecg_jax import pages as report
from ecg_jax.pages.components import tree_figure
from ecg_jax.pages.page import frame
from ecg_jax.storage.files import write_text

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
COMPONENTS = demo_components(2, 1)
BELOW = sorted(COMPONENTS[1:], key=lambda c: (c.side != "normal", c.parent != 0))
Open = Callable[..., Page]

TOP = "id => document.getElementById(id).getBoundingClientRect().top"
SEEN = "all => all.filter(at => at.checkVisibility()).map(at => at.textContent)"
CLIPPED = """svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter(text => {
    const own = text.getBoundingClientRect();
    return own.left < box.left - 1 || own.right > box.right + 1;
  }).map(text => text.textContent);
}"""
FOCUSED = """() => {
  const at = document.activeElement, style = getComputedStyle(at);
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  const own = at.getAttribute("href") ?? at.name ?? "";
  const card = at.closest(".card")?.id ?? "";
  return [at.tagName.toLowerCase(), own || at.className || "", card, seen];
}"""
CONTRAST = """at => {
  const light = color => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let behind = at;
  const ground = () => getComputedStyle(behind).backgroundColor;
  while (/, 0\\)$/.test(ground())) behind = behind.parentElement;
  const [a, b] = [light(getComputedStyle(at).color), light(ground())];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("browser") / "report.html"
    run = replace(demo_run(COMPONENTS), networks=[], purity=[])
    return write_text(path, report.build(run)).as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Open]:
    """Opens the page in a window of its own; whatever fails in it fails the test."""
    contexts, errors = [], []

    def open_page(width: int = 1400, mark: str = "", **options: object) -> Page:
        size = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=size, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text))
        page.goto(address + mark)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def names_of(page: Page) -> list[str]:
    """The components whose cards can be seen, the root apart, in their order."""
    heads = page.locator(":is(#decks, #found) .card h4")
    texts = heads.evaluate_all(SEEN)
    return [text.split()[0] for text in texts]


def told(page: Page) -> str:
    return page.locator("#explore output").inner_text()


@pytest.mark.parametrize("width", [900, 400])
def test_a_click_on_a_node_leads_to_its_card(open_page, width):
    page = open_page(width)
    links = page.locator("figure.tree a")
    assert links.count() == len(BELOW)
    for at in range(links.count()):
        page.evaluate("scrollTo(0, 0)")
        name = links.nth(at).get_attribute("href").removeprefix("#")
        links.nth(at).click()
        assert page.url.endswith(f"#{name}")
        assert abs(page.evaluate(TOP, name)) <= 40


def test_links_of_a_fresh_page_land_where_they_point(open_page):
    for name in (f"c{BELOW[-1].id}-{BELOW[-1].name}", "proof", "term-margin"):
        page = open_page(900)
        page.locator(f'a[href="#{name}"]').first.click()
        assert abs(page.evaluate(TOP, name)) <= 40


def test_filters_count_and_stand_in_the_link(open_page):
    page = open_page()
    assert told(page) == f"All {len(BELOW)} components"
    page.check("input[value='not normal']")
    other = [c.name for c in BELOW if c.side == "not normal"]
    assert names_of(page) == other
    assert told(page) == f"{len(other)} of {len(BELOW)} components"
    page.fill("[name='beats']", "300")
    many = [c.name for c in BELOW if c.side != "normal" and c.sketch.num_beats >= 300]
    assert names_of(page) == many and 0 < len(many) < len(other)
    assert page.url.partition("#")[2] == "show:side=not+normal&beats=300"
    shared = open_page(1400, "#" + page.url.partition("#")[2])
    assert names_of(shared) == many
    page.click("button[type='reset']")
    assert len(names_of(page)) >= sum(c.parent == 0 for c in BELOW)
    assert told(page) == f"All {len(BELOW)} components" and page.url.endswith("#tree")


def test_filters_by_shares_and_words(open_page):
    page = open_page()
    page.fill("[name='normal-to']", "50")
    few = [c.name for c in BELOW if c.sketch.label_share["N"] <= 0.5]
    assert names_of(page) == few and 0 < len(few) < len(BELOW)
    page.fill("[name='normal-to']", "100")
    page.fill("[name='proven-from']", "98.5")
    sure = [c.name for c in BELOW if (c.share_proven or 0) >= 0.985]
    assert names_of(page) == sure and 0 < len(sure) < len(BELOW)
    page.fill("[name='proven-from']", "")
    page.fill("[name='find']", "p2")
    assert names_of(page) == ["P2", "P2.1"]
    page.fill("[name='find']", "A00007 q1")
    assert names_of(page) == ["Q1"]
    page.fill("[name='find']", "unheard of")
    assert told(page) == f"None of {len(BELOW)} components" and names_of(page) == []


def test_orders(open_page):
    page = open_page()
    beats = {c.name: c.sketch.num_beats for c in BELOW}
    normal = {c.name: c.sketch.label_share["N"] for c in BELOW}
    for order, by, sign in (("beats 1", beats, 1), ("normal -1", normal, -1)):
        page.select_option("[name='order']", order)
        shown = names_of(page)
        assert len(shown) == len(BELOW)
        assert [by[name] for name in shown] == sorted(
            by.values(), key=lambda v: sign * v
        )
    page.select_option("[name='order']", "proven -1")
    assert names_of(page)[0] in ("P1", "Q1")  # .99 each; those not known come last
    assert all("." in name for name in names_of(page)[-2:])


def test_a_link_to_a_card_that_is_filtered_out_shows_it(open_page):
    page = open_page()
    page.fill("[name='find']", "P1")
    page.locator("figure.tree a[href='#c3-P2.1']").click()
    assert page.locator("#c3-P2\\.1").is_visible() and told(page).startswith("All")
    assert abs(page.evaluate(TOP, "c3-P2.1")) <= 40


def test_two_pinned_components_are_compared(open_page):
    page = open_page()
    first, second = (c for c in BELOW if c.name in ("P1", "Q1"))
    page.locator(f"#c{first.id}-P1 .pin").click()
    assert "P1 is pinned" in page.locator("#pinned").inner_text()
    assert not page.locator("#compare").is_visible()
    page.locator(f"#c{second.id}-Q1 .pin").press("Enter")
    dialog = page.locator("#compare")
    assert dialog.is_visible()
    apart = first.sketch.median[0] - second.sketch.median[0]
    at = int(np.abs(apart).argmax())
    ms = round(1000 * first.sketch.time_s[at])
    when = f"{abs(ms)} ms {'before' if ms < 0 else 'after'} R" if ms else "at R"
    found = re.search(r"differ most (.*?): (\w+) is ([\d.]+) mV", dialog.inner_text())
    assert found[1] == when and found[2] == ("P1" if apart[at] > 0 else "Q1")
    assert float(found[3]) == pytest.approx(abs(apart[at]), abs=0.011)
    assert dialog.locator("svg[role='img']").count() == 3
    assert dialog.locator("path[fill='#e0a100'][opacity='0.4']").count() == 2  # and key
    assert dialog.locator(".legend li").all_inner_texts()[:2] == [
        "P1, median",
        "Q1, median",
    ]
    words = dialog.locator("svg text").all_text_contents()
    assert words.count("time from R (ms)") == words.count("lead II (mV)") == 3
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    page.get_by_role("button", name="Unpin all").click()
    assert not page.locator("#pinned").is_visible()


def test_a_beat_opens_as_a_strip_with_its_proof_and_flip(open_page):
    page = open_page()
    card = page.locator("#c1-P1")
    buttons = card.locator(".beats button")
    assert buttons.count() == len(BELOW[0].beats) == 12
    for at, open_it in ((1, buttons.nth(1).click), (3, None)):
        if open_it is None:
            buttons.nth(at).press("Enter")
        else:
            open_it()
        beat = BELOW[0].beats[at]
        strip = card.locator(".strip")
        rows = dict(row.inner_text().split("\t") for row in strip.locator("tr").all())
        at_s = "" if beat.r_time_s is None else f", R at {beat.r_time_s:.2f} s"
        label = f", label {beat.label}" if beat.label else ""
        assert rows["Beat"] == f"recording {beat.record}{at_s}{label}"
        assert rows["Lead"] == "II" and rows["Who answers"].startswith("P1,")
        assert f"margin {beat.margin:.2f}" in rows["Answer"]
        proof = "proven by P1" if beat.prover else "not proven"
        assert rows["Proof"].startswith(proof)
        flips = {None: "Not measured.", "": "None was found within the limits."}
        assert rows["Nearest flip"] == flips.get(beat.flip, beat.flip)
        assert strip.locator("svg text", has_text="lead II (mV)").count() == 1
    assert card.locator("[aria-expanded='true']").count() == 1
    buttons.nth(3).press("Enter")
    assert not card.locator(".strip").is_visible()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_page):
    page = open_page()
    seen, last = [], None
    for _ in range(400):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now[0] == "body" or now == last == seen[0]:
            break
        seen.append(now)
        last = now
    assert all(focus for *_, focus in seen), [s for s in seen if not s[-1]]
    for c in BELOW:
        name = f"c{c.id}-{c.name}"
        assert ["a", f"#{name}", "", True] in seen
        if c.parent == 0:  # the deeper ones are folded until they are asked for
            own = [(tag, kind) for tag, kind, card, _ in seen if card == name]
            assert ("button", "pin") in own and ("summary", "") in own
            assert own.count(("button", "")) == len(c.beats)
    fields = {name for tag, name, *_ in seen if tag in ("input", "select")}
    assert fields == {
        "side", "normal-from", "normal-to", "proven-from", "proven-to", "beats",
        "find", "order",
    }  # fmt: skip


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_nothing_is_cut_at_any_width(open_page, width):
    page = open_page(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("figure.tree svg").evaluate(CLIPPED) == []
    page.locator(".beats button").first.click()
    page.locator("#c1-P1 .pin").click()
    page.locator("#c2-P2 .pin").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#compare").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    for svg in page.locator("#compare svg[role='img']").all():
        assert svg.evaluate(CLIPPED) == []


def test_a_small_tree_is_not_blown_up(browser):
    page = browser.new_page(viewport={"width": 900, "height": 900})
    few = [c for c in COMPONENTS if c.name in ("f", "P1", "Q1")]
    page.set_content(frame("small", "", [("tree", "Tree", tree_figure(few))]))
    tree = page.locator("figure.tree")
    assert tree.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert tree.locator("svg").evaluate(CLIPPED) == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_page(open_page, scheme):
    page = open_page(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.findall(r"\d+", ground)[0]) < 60) == (scheme == "dark")
    for name in (".opening", ".note", ".explore label", ".pin", "dt", "h3.other"):
        assert page.locator(f"#tree {name}").last.evaluate(CONTRAST) >= 4.5, name


def test_print_leaves_out_what_one_clicks(open_page):
    page = open_page()
    page.locator("#c1-P1 .pin").click()
    page.emulate_media(media="print")
    for name in (".explore", ".pin", ".beats", ".pinned", "nav"):
        assert not page.locator(name).first.is_visible()
    assert page.locator("#c1-P1 .opening").is_visible()
    folded = page.locator("#c1-P1 > details > :not(summary)").first
    assert folded.bounding_box()["height"] > 0, "numbers are printed, folded or not"
    assert page.pdf().startswith(b"%PDF")


def test_without_javascript_nothing_asks_for_it(open_page):
    page = open_page(java_script_enabled=False)
    assert not page.locator("#explore").is_visible()
    assert page.locator("button:visible, input:visible, dialog:visible").count() == 0
    assert page.locator("#c1-P1 .opening").is_visible()
    page.locator("figure.tree a").last.click()
    last = BELOW[-1]
    assert page.locator(f"[id='c{last.id}-{last.name}']").is_visible()
