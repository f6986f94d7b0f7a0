"""The pages of `slhmc report` and `slhmc compare` as a reader sees them: Chromium, wide and narrow, light and dark."""

import json

import pytest
from campaigns import write_measurements, write_run

from slhmc.cli.report import measured_of
from slhmc.cli.summary import describe
from slhmc.report import campaign, campaign_page, compare, page

pytest.importorskip("matplotlib")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright does not load (pip install 'slhmc[test]')")

SMALLEST = 11.0         # px of words
TICKS = 9.0 * 4 / 3     # px of the smallest letters of a figure at its natural size
LEGIBLE = 8.5           # px of these letters on the page
WIDTHS = (1280, 400)


@pytest.fixture(scope="session")
def chromium():
    """One browser for all tests."""
    from browser import launch

    with playwright.sync_playwright() as driver:
        browser = launch(driver)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory, chromium):
    """{name: file} of both pages, of the same two runs; one is measured, one failed and has the longest of names."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [write_measurements(write_run(folder / "hmc", 60)),
            write_run(folder / ("long_name" * 12), 1, seed=2, state="failed", thermalization=0)]
    texts = {"report": campaign_page.page(campaign(runs, describe, measured_of), "campaign"),
             "compare": page.page(compare(runs), "physics")}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in texts}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["report", "compare"])
def test_a_page_is_shown_whole_and_legible(chromium, pages, name, width):
    from browser import look

    seen = look(chromium, pages[name], width)
    assert seen["faults"] == [] and seen["requests"] == [pages[name].as_uri()], "nothing is requested"
    assert seen["width"] <= width and seen["outside"] == []
    assert min(seen["fonts"]) >= SMALLEST
    assert len(seen["images"]) == pages[name].read_text().count("<img ") >= 3
    for image in seen["images"]:
        assert min(image["natural"]) > 0, image["name"]
        if image["shown"]:    # not folded
            assert TICKS * image["shown"] / image["natural"][0] >= LEGIBLE, image["name"]
    tags = [tag for tag, _ in seen["headings"]]
    assert tags[0] == "H1" and tags.count("H1") == 1 and "H2" in tags


def test_sections_can_be_reached(chromium, pages):
    from browser import look

    seen = look(chromium, pages["report"], 1280)
    assert {"run-hmc", "ensembles", "same-physics-1"} <= {link.removeprefix("#") for link in seen["anchors"]} <= set(seen["ids"])
    assert [words for tag, words in seen["headings"] if tag == "H2"] == ["Ensembles", "Same physics", "hmc", "long_name" * 12]


def test_words_and_figures_are_dark_on_light_and_light_on_dark(chromium, pages):
    """Mean brightness of what is drawn in the first figure, and of the page's words."""
    found = {}
    for scheme in ("light", "dark"):
        shown = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
        shown.goto(pages["report"].as_uri())
        found[scheme] = json.loads(shown.evaluate(BRIGHTNESS))
        shown.close()
    assert found["light"]["words"] < 80 < 170 < found["dark"]["words"]
    assert found["light"]["figure"] < 110 < 150 < found["dark"]["figure"]
    assert found["light"]["page"] > 200 > 60 > found["dark"]["page"]


BRIGHTNESS = """() => {
    const mean = numbers => numbers.reduce((a, b) => a + b, 0) / numbers.length;
    const grey = color => mean(color.match(/[0-9.]+/g).slice(0, 3).map(Number));
    const probe = document.createElement("span");
    probe.style.color = "Canvas";
    document.body.append(probe);
    const canvas = document.createElement("canvas"), brush = canvas.getContext("2d");
    [canvas.width, canvas.height] = [480, 280];
    brush.drawImage(document.images[0], 0, 0, 480, 280);
    const pixels = brush.getImageData(0, 0, 480, 280).data, drawn = [];
    for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] > 250) drawn.push(mean([...pixels.slice(i, i + 3)]));
    return JSON.stringify({words: grey(getComputedStyle(document.querySelector("h1")).color), figure: mean(drawn),
                           page: grey(getComputedStyle(probe).color)});
}"""
