"""How delimited text is written: separator, quotes, header and encoding, as its content says."""

from __future__ import annotations

import codecs
import csv
import io
import mmap
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmgraph.data.errors import DataError
from mmgraph.data.readers.packed import opener_of, unpacked

_SAMPLE = 1 << 18
_SEPARATORS = ("\t", ",", ";", "::", "|", " ")
_CALLED = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "blanks", "::": "'::'"}
STAND_IN = "\x1f"  # the unit separator of ASCII, in place of a separator of several characters
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_DATED = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$|^\d{1,2}/\d{1,2}/\d{4}")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Args:
        separator: between fields, one character or several.
        encoding: of the text.
        quote: the sign that may enclose a field, None where it is a letter like any other.
        header: whether the first line names the columns.
        names: the columns.
        notes: what the content decided.
        skip: empty lines before the first.
    """

    separator: str
    encoding: str
    quote: str | None
    header: bool = False
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    skip: int = 0


def find_dialect(
    path: Path,
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    quote: str | None = "auto",
    columns: Sequence[str] | None = None,
    called: Sequence[str] = (),
) -> Dialect:
    """How a file is written: what is given, and the rest from its content. Raises a DataError as :func:`read_table`."""
    for name, value, kind in (("separator", separator, str), ("quote", quote, str), ("header", header, bool)):
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} must be {'True, False' if kind is bool else 'text'} or None, got {value!r}")
    notes: list[str] = []
    sample, encoding = _sample(path, encoding, notes)
    lines = sample.splitlines()
    if not any(line.strip() for line in lines):
        raise DataError("the file is empty", file=path, fix="write a header and at least one row")
    skip = next(place for place, line in enumerate(lines) if line.strip())
    lines = [line for line in lines if line.strip()][:1000]
    if separator is None:
        separator = _find_separator(lines)
        if separator != ",":
            notes.append(f"fields are separated by {_CALLED[separator]}")
    elif not separator or "\n" in separator:
        raise ValueError(f"separator={separator!r}: give the text between fields")
    if quote == "auto":
        quote = _find_quote(path, separator, encoding)
        if quote is None and '"' in sample:
            notes.append("quotes are letters: as quotes they would not fit")
    elif quote is not None and len(quote) != 1:
        raise ValueError(f"quote={quote!r}: give one sign, or None where quotes are letters")
    first = _fields(lines[0], separator, quote)
    second = _fields(lines[1], separator, quote) if len(lines) > 1 else []
    if columns is None and header is None and called and set(called) <= set(first) and any(map(_is_value, first)):
        columns, header = first, False
        notes.append("there is no header: columns are called by their values in the first line")
    names, header = _names(path, first, second, header, columns, notes)
    return Dialect(separator, encoding, quote, header, names, tuple(notes), skip)


def _names(
    path: Path,
    first: list[str],
    second: list[str],
    header: bool | None,
    columns: Sequence[str] | None,
    notes: list[str],
) -> tuple[tuple[str, ...], bool]:
    """The columns, and whether the first line names them."""
    data = [field for field in first if _is_value(field)]
    proven = bool(data)  # a number or a date names no column
    if columns is None:
        if header is False or (header is None and proven):
            example = ", ".join(repr(name) for name in _suggested(first))
            what = "there is no header" if header is False else f"the first line is no header: {data[0]!r} is a value"
            raise DataError(
                what,
                file=path,
                line=1,
                fix=f"name the {len(first)} columns, as in columns=({example}), or say header=True",
            )
        names = tuple(first)
        header = True
    else:
        names = tuple(str(c) for c in columns)
        if header is None:
            # names in the first line where the second has values: it is a header, whose names are replaced
            header = not proven and any(map(_is_value, second))
            if header and tuple(first) != names:
                notes.append(f"the first line ({', '.join(first)}) is a header: columns= takes its place")
        if len(names) != len(first):
            raise DataError(
                f"{len(first)} fields in the first line, {len(names)} names in columns=",
                file=path,
                line=1,
                fix="give one name for each field",
            )
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise DataError("the name is used for two columns", file=path, line=1, column=twice, fix="rename one of them")
    return names, header


def _is_value(field: str) -> bool:
    """Whether a field is a number or a date, hence no column's name."""
    return bool(_NUMBER.match(field.strip()) or _DATED.match(field.strip()))


def _suggested(first: list[str]) -> list[str]:
    """Names for columns without any, by what their first values look like."""
    left = ["user_id", "video_id"]
    names = []
    for place, field in enumerate(first):
        value = field.strip()
        moment = _DATED.match(value) or (_NUMBER.match(value) and 6e8 <= abs(float(value)) <= 4e12)
        if moment and "timestamp" not in names:
            names.append("timestamp")
        elif left:
            names.append(left.pop(0))
        elif _NUMBER.match(value) and abs(float(value)) <= 10 and "rating" not in names:
            names.append("rating")
        else:
            names.append(f"column_{place + 1}")
    return names


def _sample(path: Path, encoding: str | None, notes: list[str]) -> tuple[str, str]:
    """The first lines as text, and the encoding."""
    raw = unpacked(path, _SAMPLE)
    if encoding is None:
        encoding = "utf-8"
        marks = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
        encoding = next((name for mark, name in marks.items() if raw.startswith(mark)), encoding)
        if encoding == "utf-16":
            notes.append("the text is UTF-16, as its mark says")
        elif raw[:_SAMPLE].count(0) > len(raw) // 10:
            raise DataError(
                "many bytes are 0: this is UTF-16 without its mark, or no text at all",
                file=path,
                fix="say encoding='utf-16-le' or 'utf-16-be', or save it as UTF-8",
            )
    else:
        try:
            codecs.lookup(encoding)
        except (LookupError, TypeError) as error:
            raise ValueError(f"encoding={encoding!r} is unknown: use 'utf-8', 'latin-1', 'gb18030', …") from error
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(raw), encoding


def _find_separator(lines: list[str]) -> str:
    """What all lines agree on."""
    best, most = ",", (0.0, 0)
    for separator in _SEPARATORS:
        counts = [_outside_quotes(line).count(separator) for line in lines]
        if not counts[0]:
            continue
        same = sum(count == counts[0] for count in counts) / len(counts)
        # a blank or a bar inside texts agrees by chance; one that separates agrees nearly everywhere
        if same > 0.9 and (same, counts[0]) > most and (separator != " " or most[1] == 0):
            best, most = separator, (same, counts[0])
    if most[1]:
        return best
    there = [s for s in _SEPARATORS[:5] if s in lines[0]]
    return max(there, key=lambda s: lines[0].count(s)) if there else ","


def _outside_quotes(line: str) -> str:
    return re.sub(r'"[^"]*"', "", line) if line.count('"') % 2 == 0 else line


def _find_quote(path: Path, separator: str, encoding: str) -> str | None:
    """``"``, unless quotes do not fit, most fields that begin with one do not end with one, and lines agree without."""
    if not _has_quotes(path, encoding):
        return '"'
    dialect = Dialect(separator, encoding, '"')
    try:
        for _ in records(path, dialect, strict=True):
            pass
        return '"'
    except DataError:
        pass
    widths, whole, broken = set(), 0, 0
    for _, fields in records(path, Dialect(separator, encoding, None)):
        widths.add(len(fields))
        opened = [field for field in fields if field.startswith('"')]
        closed = sum(len(field) > 1 and field.endswith('"') for field in opened)
        whole, broken = whole + closed, broken + len(opened) - closed
    return None if broken >= whole and len(widths - {0}) == 1 and widths != {1} else '"'


def _has_quotes(path: Path, encoding: str) -> bool:
    if opener_of(path) is not None or not encoding.startswith("utf-8"):
        return b'"' in unpacked(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        return view.find(b'"') >= 0


def _fields(line: str, separator: str, quote: str | None) -> list[str]:
    if len(separator) > 1:
        line, separator = line.replace(separator, STAND_IN), STAND_IN
    if quote is None or quote not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, quotechar=quote), [])


def records(path: Path, dialect: Dialect, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The fields of each record with the line it begins at, the header too; empty lines give an empty list.

    Slow, and for that reason asked only where there are quotes, or something is wrong.

    Raises:
        DataError: with ``strict``, a quote that does not fit.
    """
    text = io.TextIOWrapper(io.BytesIO(unpacked(path)), encoding=dialect.encoding, errors="replace", newline="")
    separator = dialect.separator
    lines = (line.replace(separator, STAND_IN) for line in text) if len(separator) > 1 else text
    options = {"quoting": csv.QUOTE_NONE} if dialect.quote is None else {"quotechar": dialect.quote}
    reader = csv.reader(lines, delimiter=separator if len(separator) == 1 else STAND_IN, strict=strict, **options)  # type: ignore[arg-type]
    begin = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "field larger" in str(error):
                return  # what follows is not looked at: the standard library stops here
            raise DataError(
                f"the quotes do not fit ({error})",
                file=path,
                line=reader.line_num,
                fix="repair the line, or pass quote=None where quotes are letters",
            ) from error
        yield begin, fields
        begin = reader.line_num + 1
