"""Pictures of pages are shown about as wide as they are, so that their letters, none below 7 points, keep their size."""

import re
import struct

import pytest

from tests.docs.pages import LINK, PAGES

# Inches; a page of text or of a README shows no more.
WIDEST = 10.01
SHOWN = sorted(
    {
        (page.parent / name).resolve()
        for page in PAGES
        for name in LINK.findall(page.read_text())
        if name.endswith(".png")
    }
)


def inches(picture):
    """Width of a PNG, by its pixels and how many of them it says there are to the metre."""
    content = picture.read_bytes()
    (pixels,) = struct.unpack(">I", content[16:20])
    found = re.search(rb"pHYs(....)", content, re.DOTALL)
    assert found, f"{picture.name} does not say how large it is"
    return pixels / (struct.unpack(">I", found[1])[0] * 0.0254)


@pytest.mark.parametrize("picture", SHOWN, ids=lambda path: path.name)
def test_no_picture_is_wider_than_a_page(picture):
    assert inches(picture) <= WIDEST
