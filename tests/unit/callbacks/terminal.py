"""A terminal in memory: takes what a program writes, and knows what is to be seen."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

_COMMAND = r"\x1b\[(?P<private>\?)?(?P<number>\d*)(?:;\d+)*(?P<command>[A-Za-z])"
_PIECE = re.compile(_COMMAND + r"|(?P<text>[^\x1b])")


class Terminal(io.StringIO):
    """As wide as it takes; knows carriage return, new line, cursor up, erase line, cursor hidden or shown."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self.told_encoding = encoding
        self.written = ""
        self.rows = [""]
        self.row = self.column = 0
        self.shows_cursor = True

    @property
    def encoding(self) -> str:
        return self.told_encoding

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written += text
        for piece in _PIECE.finditer(text):
            if piece["text"] is not None:
                self._put(piece["text"])
            else:
                self._obey(piece["command"], piece["number"], private=piece["private"] is not None)
        return len(text)

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row, self.column = self.row + 1, 0
            self.rows += [""] * (self.row + 1 - len(self.rows))
        else:
            row = self.rows[self.row].ljust(self.column)
            self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
            self.column += 1

    def _obey(self, command: str, number: str, *, private: bool) -> None:
        if command == "A":
            self.row = max(0, self.row - int(number or 1))
        elif command == "K":
            self.rows[self.row] = "" if number == "2" else self.rows[self.row][: self.column]
        elif private and number == "25":
            self.shows_cursor = command == "h"
        elif command != "m":  # colours
            raise AssertionError(f"the terminal does not know {command!r}")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the program's output goes here."""
        with redirect_stdout(self), redirect_stderr(self):
            yield

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without the lines that are empty."""
        return [row.rstrip() for row in self.rows if row.strip()]
