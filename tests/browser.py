"""Pages looked at by a browser without a window: Debian's Chromium, driven by playwright."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
MEASURE = """() => ({
    width: document.documentElement.scrollWidth,
    images: [...document.images].map(image => ({name: image.alt, natural: [image.naturalWidth, image.naturalHeight],
                                                shown: image.getBoundingClientRect().width})),
    fonts: [...document.querySelectorAll("body *")].filter(element => [...element.childNodes].some(
        node => node.nodeType === 3 && node.textContent.trim())).map(element => parseFloat(getComputedStyle(element).fontSize)),
    headings: [...document.querySelectorAll("h1, h2, h3, h4")].map(heading => [heading.tagName, heading.textContent]),
    anchors: [...document.querySelectorAll("a[href]")].map(link => link.getAttribute("href")),
    ids: [...document.querySelectorAll("[id]")].map(element => element.id),
    outside: [...document.body.querySelectorAll("*")].filter(element => !element.parentElement.closest(".wide")
        && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map(element => element.className),
})"""


def launch(playwright):
    """The browser; the test is skipped where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no {NAMES[0]} found (Debian: apt-get install chromium)")
    # its sandbox does not work for root, nor in most containers; the pages are our own
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


def look(browser, path, width, scheme="light"):
    """What the page is like in a window of `width` px: MEASURE, what it asked for, what went wrong."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests, faults = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url[:80]}"))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    try:
        page.goto(path.as_uri())
        found = page.evaluate(MEASURE)
    finally:
        page.close()
    return found | {"requests": [url for url in requests if not url.startswith("data:")], "faults": faults}
