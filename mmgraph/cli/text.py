"""Text from data on its way to a terminal."""

from __future__ import annotations

import re

# Control characters but newline and tab; marks that turn the direction of what follows; halves of surrogate pairs.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_BREAKS = re.compile(r"\s*[\n\t]\s*")


def plain(text: object) -> str:
    r"""The text with every character that could steer a terminal written out, as ``\x1b``; newline and tab stay."""
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), str(text))


def one_line(text: object) -> str:
    """:func:`plain`, with line breaks and tabs as spaces: what a cell of a table can hold."""
    return _BREAKS.sub(" ", plain(text))
