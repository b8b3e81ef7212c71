"""The report page in a browser: what one can do in it, and what nothing in a capture can."""

from __future__ import annotations

import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.analysis import analyse
from gilscope.capture import Thread
from gilscope.report import page as report_page
from gilscope.report import page_capture, page_compared, page_data
from gilscope.report.timeline import timeline
from tests.made_capture import EXPORTER, LOOP, MadeCapture, stack

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.browser.conftest import Opener

ATTACK = (
    "</script></title><!--<script>--><img src=x onerror=\"document.title='broken in'\"><script>document.title="
    "'broken in'</script>\u2028'\"&amp;]]>"
)
LANES = ("iterations", "waits", "holds", "exports", "collections", "refusals")
CAUSES = ("gil-wait", "on-cpu", "blocked", "stopped")
# Where the stalls of `two_stalls` are, in ms.
FIRST, SECOND = 1000, 2000
ROW_PX = 19


def two_stalls() -> MadeCapture:
    """Return 3 s with a convoy of 31 ms behind `encode`, and then 61 ms of `parse` on the loop itself."""
    made = MadeCapture()
    encode = made.stack(stack("encode", "export", file="/srv/shop/exporter.py"))
    parse = made.stack(stack("parse", "handle"))
    for at in range(0, FIRST, 10):
        made.iteration(at, at + 1, cpu=1)
    made.convoy(FIRST, 5, stack=encode)
    made.run(LOOP, SECOND, SECOND + 61, parse)
    for at in range(SECOND + 5, SECOND + 60, 5):
        made.sample(LOOP, at, parse)
    made.iteration(SECOND, SECOND + 61, cpu=61)
    made.iteration(2990, 2991, cpu=1)
    return made


def written(made: MadeCapture, path: Path, title: str = "shop") -> Path:
    """Return the page of a capture."""
    analysis = analyse(made)
    path.write_text(page_capture.render(analysis, timeline(made, analysis), title, "made by a test"), encoding="utf-8")
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The page of a capture with two stalls."""
    return written(two_stalls(), tmp_path / "shop.html")


def drawn(page: Page, canvas: str) -> str:
    """Return the picture on a canvas once it holds still, as text that can be compared."""
    page.evaluate("() => new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
    return str(page.evaluate("(name) => document.querySelector(name).toDataURL()", f"canvas.{canvas}"))


def fragment(page: Page) -> str:
    """Return what the address says of the page's state."""
    return page.url.partition("#")[2]


def drag(page: Page, from_ms: float, until_ms: float, whole_ms: float = 2991) -> None:
    """Drag over a stretch of the timeline, which shows everything."""
    box = page.locator("canvas.timeline").bounding_box()
    assert box
    gutter = 230
    left, wide = box["x"] + gutter, box["width"] - gutter
    y = box["y"] + 40
    page.mouse.move(left + wide * from_ms / whole_ms, y)
    page.mouse.down()
    page.mouse.move(left + wide * (from_ms + until_ms) / 2 / whole_ms, y)
    page.mouse.move(left + wide * until_ms / whole_ms, y)
    page.mouse.up()


def heaviest(page: Page) -> str:
    """Return the name of the function that the table below the flame graph has first."""
    return page.locator("[data-picture=flame] tbody tr td").first.inner_text()


def test_page_asks_for_nothing_and_complains_of_nothing(opener: Opener, shop: Path) -> None:
    """One file is all there is, and its own policy forbids none of it."""
    with opener.opened(shop) as page:
        page.locator("canvas.timeline").wait_for()
        page.locator("canvas.flame").wait_for()
        drawn(page, "timeline")
    assert opener.requests == [shop.as_uri()]
    assert opener.errors == []


def test_stretch_that_is_dragged_filters_everything_below(opener: Opener, shop: Path) -> None:
    """Flame graph, stalls and percentiles are of the stretch, until it is dropped."""
    with opener.opened(shop) as page:
        assert heaviest(page) == "parse"
        drag(page, FIRST - 100, FIRST + 200)
        assert heaviest(page) == "encode"
        assert page.locator("details[data-stall]:visible").count() == 1
        assert "1 of them are in the stretch, which has 1." in page.locator("[data-told=stalls]").inner_text()
        assert re.match(r"1\d iterations began", page.locator("[data-told=percentiles]").inner_text())
        page.get_by_role("button", name="Drop selection").click()
        assert page.locator("details[data-stall]:visible").count() == 2
        assert heaviest(page) == "parse"


def test_stretch_has_the_stalls_that_are_not_told_one_by_one(opener: Opener, tmp_path: Path) -> None:
    """Behind 60 longer stalls, one that is in no line of the table is in the graph of its stretch, and in its parts."""
    made = MadeCapture()
    encode, rare = made.stack(stack("encode", "export")), made.stack(stack("rare", "handle"))
    for number in range(60):
        made.convoy(10 * 31 * number, 5, stack=encode)
    made.run(LOOP, 19_000, 19_025, rare)
    made.sample(LOOP, 19_010, rare)
    made.iteration(19_000, 19_025, cpu=25)
    with opener.opened(written(made, tmp_path / "many.html"), "#stretch=18990000-19100000") as page:
        assert page.locator("details[data-stall]:visible").count() == 0
        assert "0 of them are in the stretch, which has 1." in page.locator("[data-told=stalls]").inner_text()
        assert heaviest(page) == "rare"
        rows = page.locator("[data-told=parts] tr").all_inner_texts()
        assert [row.split("\t") for row in rows if "100.0 %" in row] == [["loop on CPU", "25 ms", "100.0 %"]]


def test_address_leads_back_to_what_was_seen(opener: Opener, shop: Path) -> None:
    """Zoom, stretch, search, cause, direction and the open stall are in the fragment."""
    with opener.opened(shop) as page:
        drag(page, FIRST - 100, FIRST + 200)
        page.get_by_role("button", name="Zoom to selection").click()
        page.get_by_label("Cause of the stalls").select_option("gil_wait")
        page.get_by_label("Direction of the flame graph").select_option("callees")
        page.get_by_label("Search function").fill("encode")
        page.locator("details[data-stall]:visible summary").click()
        page.wait_for_url("**stall=2**")
        state, flame = fragment(page), drawn(page, "flame")
    with opener.opened(shop, f"#{state}") as page:
        assert page.locator("details[data-stall][open]").get_attribute("data-stall") == "2"
        assert page.locator("details[data-stall]:visible").count() == 1
        assert page.get_by_label("Search function").input_value() == "encode"
        assert drawn(page, "flame") == flame
        assert fragment(page) == state


@pytest.mark.parametrize("broken", ["#stretch=9-1&view=x-y&stall=99&cause=none&order=1", "#%", "#view=-5-1e99"])
def test_address_that_makes_no_sense_shows_everything(opener: Opener, shop: Path, broken: str) -> None:
    """A link that was cut off is no reason for an empty page."""
    with opener.opened(shop, broken) as page:
        assert page.locator("details[data-stall]:visible").count() == 2
        assert heaviest(page) == "parse"
    assert opener.errors == []


def test_timeline_obeys_keys(opener: Opener, shop: Path) -> None:
    """Plus zooms, arrows move, Home shows all; Shift and arrows select, Escape drops, Enter opens a stall."""
    with opener.opened(shop) as page:
        whole = drawn(page, "timeline")
        page.locator("canvas.timeline").focus()
        page.keyboard.press("+")
        zoomed = fragment(page)
        page.keyboard.press("ArrowRight")
        assert zoomed.startswith("view=")
        assert fragment(page) not in {zoomed, ""}
        page.keyboard.press("Home")
        assert (fragment(page), drawn(page, "timeline")) == ("", whole)
        page.keyboard.press("Shift+ArrowRight")
        assert "stretch=" in fragment(page)
        page.keyboard.press("Escape")
        assert fragment(page) == ""
        page.keyboard.press("Enter")
        assert page.locator("details[data-stall][open]").count() == 1
        page.wait_for_function("document.activeElement.tagName === 'SUMMARY'")


def test_stall_that_is_clicked_opens(opener: Opener, shop: Path) -> None:
    """A click on the red block shows waits, holder and stacks of both sides."""
    with opener.opened(shop) as page:
        box = page.locator("canvas.timeline").bounding_box()
        assert box
        x = box["x"] + 230 + (box["width"] - 230) * (FIRST + 15) / 2991
        page.mouse.click(x, box["y"] + 35)
        told = page.locator("details[data-stall][open]").inner_text()
        assert "GIL held by OtelBatchSpanRecordProcessor: 25 ms" in told
        assert "encode" in told
        assert "Waits for the GIL: 5 of 5" in told


def test_flame_graph_zooms_by_click_and_by_keys(opener: Opener, shop: Path) -> None:
    """A frame fills the width; Escape shows all again; the current frame is told in words."""
    with opener.opened(shop) as page:
        told = page.locator("[data-picture=flame] output.told")
        whole = drawn(page, "flame")
        canvas = page.locator("canvas.flame")
        canvas.click(position={"x": 40, "y": 1.5 * ROW_PX})
        assert "loop on CPU" in told.inner_text()
        zoomed = drawn(page, "flame")
        assert zoomed != whole
        canvas.focus()
        page.keyboard.press("Escape")
        assert drawn(page, "flame") == whole
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        assert drawn(page, "flame") == zoomed


def test_search_marks_and_counts_what_it_finds(opener: Opener, shop: Path) -> None:
    """By function or file, whatever its case, as a share of what is shown."""
    with opener.opened(shop) as page:
        field, found = page.get_by_label("Search function"), page.locator("[data-picture=flame] output.quiet")
        before = drawn(page, "flame")
        for wanted, share in (("PARSE", "66.3 %"), ("exporter.py", "27.2 %"), ("nowhere", "0.0 %")):
            field.fill(wanted)
            assert found.inner_text().startswith(share)
        field.fill("parse")
        assert drawn(page, "flame") != before


def test_dark_page_has_other_colours(opener: Opener, shop: Path) -> None:
    """The pictures follow the page, and change while it is open."""
    with opener.opened(shop, dark=True) as page:
        dark = drawn(page, "timeline"), drawn(page, "flame")
    with opener.opened(shop) as page:
        light = drawn(page, "timeline"), drawn(page, "flame")
        page.emulate_media(color_scheme="dark")
        assert (drawn(page, "timeline"), drawn(page, "flame")) == dark
    assert all(one != other for one, other in zip(light, dark, strict=True))


@pytest.mark.parametrize("width", [390, 1280])
def test_page_is_no_wider_than_the_screen(opener: Opener, shop: Path, width: int) -> None:
    """Only tables scroll sideways, each by itself; that of a stretch has room."""
    with opener.opened(shop, "#stretch=900000-1100000", width=width) as page:
        drawn(page, "flame")
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("dark", [False, True])
def test_page_is_clean_for_axe(opener: Opener, shop: Path, dark: bool) -> None:
    """With everything unfolded, axe-core finds nothing that it is sure of."""
    assert opener.found_by_axe(shop, dark=dark) == []


def test_print_shows_the_pictures_in_light_colours(opener: Opener, shop: Path) -> None:
    """On paper there are no buttons, and a dark page prints as a light one."""
    with opener.opened(shop) as page:
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    with opener.opened(shop, dark=True) as page:
        page.emulate_media(media="print")
        drawn(page, "timeline")
        assert page.locator(".tools:visible").count() == 0
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def test_page_reads_without_scripts(opener: Opener, shop: Path) -> None:
    """Verdict, tables, stalls with their stacks, findings, and the flame graph as an image."""
    with opener.opened(shop, scripts=False) as page:
        assert "stalled for 92 ms" in page.locator(".verdict").inner_text()
        image = page.locator("img.still")
        assert image.is_visible()
        assert image.evaluate("(image) => image.naturalWidth") == 1200
        page.locator("details[data-stall] summary").first.click()
        assert "parse" in page.locator("details[data-stall]").first.inner_text()
        assert not page.locator("canvas").count()
    assert opener.errors == []


def test_attack_in_every_field_stays_text(opener: Opener, tmp_path: Path) -> None:
    """Threads, functions, files, arguments, versions and the title are shown, and do nothing."""
    made = MadeCapture(metadata={"gil": ATTACK, "argv": [ATTACK, ATTACK], "python": ATTACK}, problems=[ATTACK])
    made.threads = {number: Thread(number, number, 0, number == LOOP, ATTACK) for number in (LOOP, EXPORTER)}
    attack = made.stack(stack(ATTACK, ATTACK, file=ATTACK))
    end = made.convoy(0, 5, stack=attack, own=attack)
    made.collection(LOOP, 1, 5, stack=attack)
    made.run(LOOP, end, end + 30, attack)
    made.sample(LOOP, end + 10, attack)
    made.iteration(end, end + 30, cpu=30)
    analysis = analyse(made)
    against = page_compared.Compared(ATTACK, ATTACK, analysis, analysis)
    (tmp_path / "against.html").write_text(page_compared.render(against, ATTACK), encoding="utf-8")
    for path in (written(made, tmp_path / "attack.html", ATTACK), tmp_path / "against.html"):
        with opener.opened(path) as page:
            page.evaluate("document.querySelectorAll('details').forEach((details) => (details.open = true))")
            drawn(page, "flame")
            assert "broken in" not in page.title().replace("document.title='broken in'", "")
            elements = "document.querySelectorAll('img:not(.still), script, [onerror]').length"
            assert page.evaluate(elements) == 2
            assert ATTACK.replace("\u2028", "\ufffd") in page.locator("main").inner_text()
    assert opener.errors == []


def test_two_captures_are_laid_side_by_side(opener: Opener, tmp_path: Path) -> None:
    """What only one of them has is in the graph, with the change in numbers."""
    now, before = two_stalls(), MadeCapture()
    before.iteration(0, 1, cpu=1)
    before.convoy(FIRST, 5, stack=before.stack(stack("encode", "export", file="/srv/shop/exporter.py")))
    before.iteration(2990, 2991, cpu=1)
    compared = page_compared.Compared("now", "before", analyse(now), analyse(before))
    path = tmp_path / "compared.html"
    path.write_text(page_compared.render(compared, "made by a test"), encoding="utf-8")
    with opener.opened(path) as page:
        rows = page.locator("[data-picture=flame] tbody tr").all_inner_texts()
        assert [row.split()[0] for row in rows] == ["parse"]
        assert rows[0].endswith("+20 ms")
    assert opener.errors == []


def test_several_flame_graphs_have_a_state_of_their_own(opener: Opener, tmp_path: Path) -> None:
    """Each draws its own data, and a link leads back to each; what they are called is only text."""
    data, names = page_data.flame_data(analyse(two_stalls())), ("batch", ATTACK)
    path = tmp_path / "several.html"
    graphs = [report_page.flame_graph(data, name) for name in names]
    path.write_text(report_page.render("several", [], graphs), encoding="utf-8")
    with opener.opened(path) as page:
        page.get_by_label("Search function or file in the flame graph: batch").fill("parse")
        page.get_by_label("Cause of the stalls that are shown: </script>").select_option("gil_wait")
        state = fragment(page)
    with opener.opened(path, f"#{state}") as page:
        searches, causes = page.locator("input[type=search]"), page.get_by_label("Cause of the stalls")
        assert [searches.nth(place).input_value() for place in range(2)] == ["parse", ""]
        assert [causes.nth(place).input_value() for place in range(2)] == ["", "gil_wait"]
        assert page.locator("canvas.flame").count() == 2
        assert page.title() == "several"
    assert opener.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_what_colours_tell_apart_differs_in_lightness_too(opener: Opener, shop: Path, dark: bool) -> None:
    """By 6 of CIELAB's 100, several times what an eye can tell; a stall on its lane, a block on the ground, by more."""
    with opener.opened(shop, dark=dark) as page:
        colours: dict[str, str] = page.evaluate(
            "(names) => Object.fromEntries(names.map((name) => "
            "[name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`)]))",
            [*LANES, *(f"{cause}-{shade}" for cause in CAUSES for shade in range(3)), "quiet", "lane", "stall"],
        )
    light = {name: lightness(value) for name, value in colours.items()}
    shades = {cause: [light[f"{cause}-{shade}"] for shade in range(3)] for cause in CAUSES} | {"": [light["quiet"]]}
    for one, other in combinations(shades, 2):
        assert min(abs(this - that) for this in shades[one] for that in shades[other]) >= 6, (one, other)
    assert min(abs(light[one] - light[other]) for one, other in combinations(LANES, 2)) >= 6
    assert min(abs(light[lane] - light["lane"]) for lane in LANES) >= 15
    assert abs(light["stall"] - light["iterations"]) >= 25


def lightness(colour: str) -> float:
    """Return CIELAB's lightness of `#rrggbb`, 0 to 100."""
    channels = [int(colour.strip()[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    luminance = sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return float(116 * luminance ** (1 / 3) - 16)


def test_what_became_less_has_stripes(opener: Opener, tmp_path: Path) -> None:
    """Red and blue are alike in grey."""
    more, less = two_stalls(), MadeCapture()
    less.iteration(0, 1, cpu=1)
    less.iteration(2990, 2991, cpu=1)

    def shades(one: MadeCapture, other: MadeCapture) -> int:
        path = tmp_path / "compared.html"
        compared = page_compared.Compared("now", "before", analyse(one), analyse(other))
        path.write_text(page_compared.render(compared, "made by a test"), encoding="utf-8")
        with opener.opened(path) as page:
            drawn(page, "flame")
            # Below the names, in the row of the causes.
            pixels = "document.querySelector('canvas.flame').getContext('2d').getImageData(20, 36, 200, 1).data.join()"
            found = str(page.evaluate(pixels)).split(",")
        return len(set(zip(*(found[channel::4] for channel in range(3)), strict=True)))

    assert shades(more, less) == 1
    assert shades(less, more) > 1


def big_capture() -> MadeCapture:
    """Return 60 s with 200,000 events and a stall in each second."""
    made = MadeCapture()
    stacks = [made.stack(stack(*(f"step_{number}_{depth}" for depth in range(30)))) for number in range(100)]
    for number in range(60):
        at = 1000.0 * number
        end = made.convoy(at, 6, stack=stacks[number % 100])
        for step in range(1100):
            start = end + 0.8 * step
            made.run(LOOP, start, start + 0.3, stacks[step % 100])
            made.run(EXPORTER, start + 0.3, start + 0.4, stacks[step % 100])
            made.iteration(start, start + 0.4, cpu=0.3)
    return made


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 200,000 events."""
    made = big_capture()
    assert len(made.made) > 198_000
    return written(made, tmp_path_factory.mktemp("big") / "big.html")


def test_page_of_a_large_capture_is_small_and_whole(opener: Opener, big: Path) -> None:
    """Under 5 MB, and every stall is on the timeline as it was."""
    assert big.stat().st_size < 5_000_000
    with opener.opened(big) as page:
        data: dict[str, Any] = page.evaluate("JSON.parse(document.getElementById('data').textContent)")
    (loop,) = (lane for lane in data["timeline"]["lanes"] if lane["kind"] == "iterations")
    assert sum(length >= 37_000 for length in loop["spans"][1::2]) == 60


def test_large_capture_is_drawn_soon_and_pans_smoothly(opener: Opener, big: Path) -> None:
    """Two seconds until it stands; what a step of panning costs leaves most of a frame of 60 a second."""
    with opener.opened(big) as page:
        drawn(page, "timeline")
        ready_ms = page.evaluate("performance.now()")
        costs_ms: list[float] = page.evaluate(
            """async () => {
              const canvas = document.querySelector("canvas.timeline");
              const costs = [], inNextFrame = window.requestAnimationFrame.bind(window);
              window.requestAnimationFrame = (draw) => inNextFrame((now) => {
                const before = performance.now();
                draw(now);
                // Reading a pixel waits until all of it is drawn.
                canvas.getContext("2d").getImageData(0, 0, 1, 1);
                costs.push(performance.now() - before);
              });
              const key = (name) => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: name }));
              key("+");
              for (let step = 0; step < 40; step++) {
                key(step % 8 < 4 ? "ArrowRight" : "ArrowLeft");
                await new Promise(inNextFrame);
                await new Promise(inNextFrame);
              }
              return costs;
            }"""
        )
    assert ready_ms < 2000
    assert len(costs_ms) >= 40
    assert sorted(costs_ms)[len(costs_ms) // 2] < 1000 / 60, costs_ms
