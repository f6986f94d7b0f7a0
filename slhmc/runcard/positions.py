"""Where each key of a TOML text stands. `tomllib` keeps no positions, so valid TOML is scanned a second time."""

import re

Path = tuple[str | int, ...]

_GAP = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_SCALAR = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^,\]}#\n]+''',
    re.DOTALL,
)


def key_lines(text: str) -> dict[Path, int]:
    """Line (from 1) of every table, key and list entry of the valid TOML `text`, by its path from the root."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.lines: dict[Path, int] = {}
        self.last_entry: dict[Path, int] = {}  # of each array of tables

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        self.skip(_GAP)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.assignment(table)
            self.skip(_GAP)
        return self.lines

    def header(self) -> Path:
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        start = self.at
        self.at += brackets
        self.skip(_GAP)
        keys = self.keys()
        self.skip(_GAP)
        self.at += brackets
        *parents, name = keys
        path = (*self.newest(tuple(parents)), name)
        if brackets == 2:
            self.last_entry[path] = self.last_entry.get(path, -1) + 1
        path = self.newest(keys)
        self.record(path, start)
        return path

    def newest(self, keys: Path) -> Path:
        """`keys` with the index of the entry last opened after each array of tables."""
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in self.last_entry:
                path = (*path, self.last_entry[path])
        return path

    def assignment(self, table: Path) -> None:
        start = self.at
        path = table + self.keys()
        self.record(path, start)
        self.skip(_GAP)
        self.at += 1  # the equals sign
        self.skip(_GAP)
        self.value(path)

    def value(self, path: Path) -> None:
        self.record(path, self.at)
        opening = self.text[self.at]
        if opening not in "[{":
            self.at = _SCALAR.match(self.text, self.at).end()
            return
        self.at += 1
        self.skip(_GAP)
        entry = 0
        while self.text[self.at] not in "]}":
            if opening == "[":
                self.value((*path, entry))
            else:
                self.assignment(path)
            entry += 1
            self.skip(_GAP)
            self.at += self.text[self.at] == ","
            self.skip(_GAP)
        self.at += 1

    def keys(self) -> Path:
        keys = []
        while True:
            match = _KEY.match(self.text, self.at)
            keys.append(match.group().strip("\"'"))
            self.at = match.end()
            dot = _DOT.match(self.text, self.at)
            if not dot:
                return tuple(keys)
            self.at = dot.end()

    def skip(self, pattern: re.Pattern) -> None:
        self.at = pattern.match(self.text, self.at).end()

    def record(self, path: Path, offset: int) -> None:
        line = self.text.count("\n", 0, offset) + 1
        for depth in range(1, len(path) + 1):
            self.lines.setdefault(path[:depth], line)
