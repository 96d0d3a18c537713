"""CHANGELOG.md says everything once."""

import re
from collections import Counter

from tests.docs.pages import ROOT


def test_no_entry_stands_twice():
    text = (ROOT / "CHANGELOG.md").read_text()
    # Wrapped differently they are the same.
    entries = [" ".join(entry.split()) for entry in re.split(r"^(?:- |#)", text, flags=re.MULTILINE)[1:]]
    assert len(entries) > 100
    assert [entry for entry, count in Counter(entries).items() if count > 1] == []
