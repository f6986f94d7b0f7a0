"""Tables in the pages of docs/results: table NAME stands between `<!-- table NAME -->` and `<!-- end -->`."""

import re
from collections.abc import Iterable, Mapping, Sequence


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with its tables replaced."""
    for name, lines in tables.items():
        pattern = rf"(<!-- table {re.escape(name)} -->\n).*?(<!-- end -->)"
        page, found = re.subn(pattern, lambda match, lines=lines: match[1] + lines + "\n" + match[2], page, flags=re.S)
        if not found:
            raise SystemExit(f"the page has no table {name}: give it the lines <!-- table {name} --> and <!-- end -->")
    return page
