"""Delimited text (CSV and its relatives) into tables: what the content proves is decided and said, the rest is asked.

Ids keep their spelling: every column is read as text first, and becomes numbers only when all of it is.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import mmap
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from mmgraph.data.checks import check_columns, first_line
from mmgraph.data.errors import DataError, Source
from mmgraph.data.vocabulary import plain_integers, text_ids

_SAMPLE = 1 << 18
_SEPARATORS = ("\t", ",", ";", "::", "|", " ")
_CALLED = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "blanks", "::": "'::'"}
_STAND_IN = "\x1f"  # the unit separator of ASCII, in place of a separator of several characters
_OPENERS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_OTHER_FORMATS = {
    b"PAR1": ("Parquet", "use read_parquet"),
    b"PK\x03\x04": ("an archive or a spreadsheet", "unpack it, or save it as CSV"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unpack it"),
    b"\x93NUMPY": ("an .npy array", "put it into features/, or load it with numpy"),
    b"\x89HDF": ("HDF5", "write it as CSV or Parquet"),
    b"SQLite format 3": ("a database", "write its table as CSV or Parquet"),
}
ID_NAME = re.compile(r"(^|[_\W])(ids?|asin|isbn|uuid|guid|sku|ean|upc)$|[a-z](Id|ID|Ids|IDs)$", re.IGNORECASE)
_NUMBER = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_DATED = re.compile(r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$|^\d{1,2}/\d{1,2}/\d{4}")
_TRUE_FALSE = {"true": True, "false": False}


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


def read_table(
    path: str | Path,
    *,
    required: Sequence[str] = (),
    ids: Sequence[str] = (),
    text: Sequence[str] = (),
    separator: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    quote: str | None = "auto",
    columns: Sequence[str] | None = None,
    called: Sequence[str] = (),
) -> tuple[pl.DataFrame, Source]:
    """A table from delimited text, and its source for later errors (true lines, and in ``notes`` what was decided).

    Args:
        path: the file; gzip, bzip2 and xz are unpacked.
        required: columns that must exist.
        ids: columns of ids: integers when every value is the plain decimal of itself, else text as written. So are all
            columns whose name ends like one (``…_id``, ``asin``).
        text: columns kept as written.
        separator: between fields; by default what all lines agree on of tab, comma, semicolon, ``::``, bar, blank.
        encoding: UTF-8 by default (or UTF-16 with its mark).
        header: whether the first line names the columns; by default it does unless one of its fields is a number or a
            date.
        quote: the sign around fields; None where quotes are letters. By default ``"``, unless that makes no sense.
        columns: names, for a file without a header (or in place of it).
        called: what the caller calls some columns: where the file has no header and these are values of its first line,
            each column is called by its value there.

    Raises:
        DataError: no such file, nothing in it, another format, no header, a name used twice, text that is not in the
            encoding (with the line), a line with more or fewer fields than the others, a missing column.
    """
    path = _file(path)
    dialect = find_dialect(path, separator, encoding, header, quote, columns, called)
    frame = _polars(path, dialect)
    source = Source(
        path,
        first_line=1 + dialect.skip + dialect.header,
        lines=lambda: [line for line, _ in records(path, dialect)][dialect.skip + dialect.header :],
        notes=dialect.notes,
    )
    if frame.width > 1 and frame.height and frame[frame.columns[-1]].null_count():
        blank = pl.select(pl.all_horizontal(*(frame[c].is_null() for c in frame.columns))).to_series()
        _refuse_short(path, dialect, frame.width)
        if blank.any():  # empty lines
            rows = (~blank).arg_true()
            frame, source = frame[rows], source.of_rows(rows.to_numpy())
    check_columns(frame, required, source)
    typed = [_typed(c, c.name in ids or bool(ID_NAME.search(c.name)), c.name in text) for c in frame]
    return pl.DataFrame(typed), source


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


def _file(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise DataError("the file does not exist", file=path, fix="check the path")
    if path.is_dir():
        raise DataError("this is a folder", file=path, fix="name the file in it")
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror}", file=path, fix="check its rights") from error
    if not start:
        raise DataError("the file is empty", file=path, fix="write a header and at least one row")
    for magic, (what, fix) in _OTHER_FORMATS.items():
        if start.startswith(magic):
            raise DataError(f"this is {what}, not text", file=path, fix=fix)
    return path


def opener_of(path: Path) -> Callable | None:
    """What unpacks a file, by its first bytes; None where it is not packed."""
    with path.open("rb") as file:
        start = file.read(6)
    return next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)


def unpacked(path: Path, size: int = -1) -> bytes:
    """The bytes of a file, unpacked where it is compressed; at most ``size``."""
    opener = opener_of(path) or open
    try:
        with opener(path, "rb") as file:
            return file.read(size)  # type: ignore[return-value]
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        problem = f"damaged: it cannot be unpacked ({first_line(error)})"
        raise DataError(problem, file=path, fix="copy or download the file again") from error


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
        line, separator = line.replace(separator, _STAND_IN), _STAND_IN
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
    lines = (line.replace(separator, _STAND_IN) for line in text) if len(separator) > 1 else text
    options = {"quoting": csv.QUOTE_NONE} if dialect.quote is None else {"quotechar": dialect.quote}
    reader = csv.reader(lines, delimiter=separator if len(separator) == 1 else _STAND_IN, strict=strict, **options)  # type: ignore[arg-type]
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


def _polars(path: Path, dialect: Dialect) -> pl.DataFrame:
    """All columns as text."""
    source: Path | io.BytesIO = path
    separator = dialect.separator
    if len(separator) > 1 or not dialect.encoding.startswith("utf-8") or opener_of(path) is not None:
        raw = unpacked(path)
        if not dialect.encoding.startswith("utf-8"):
            try:
                raw = raw.decode(dialect.encoding).encode()
            except UnicodeDecodeError as error:
                line = raw.count(b"\n", 0, error.start) + 1
                problem = f"byte 0x{raw[error.start]:02x} is not {dialect.encoding}"
                raise DataError(problem, file=path, line=line, fix="pass another encoding=") from error
        if len(separator) > 1:
            if _STAND_IN.encode() in raw:
                problem = "the text holds control characters (0x1f) beside a separator of several characters"
                raise DataError(problem, file=path, fix="write it with one-character separators")
            raw, separator = raw.replace(separator.encode(), _STAND_IN.encode()), _STAND_IN
        source = io.BytesIO(raw)
    try:
        frame = pl.read_csv(
            source,
            separator=separator,
            quote_char=dialect.quote,
            has_header=False,
            skip_lines=dialect.skip,
            schema={f"{place}": pl.String for place in range(len(dialect.names))},
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise explain(path, dialect, error) from error
    if dialect.header:
        frame = frame[1:]
    frame.columns = list(dialect.names)
    return frame


def explain(path: Path, dialect: Dialect, error: Exception) -> DataError:
    """Why polars could not read the file: find the line ourselves."""
    wrong = not_utf8(path, offer=True) if dialect.encoding.startswith("utf-8") else None
    if wrong is not None:
        return wrong
    width = len(dialect.names)
    try:
        wide = [(line, len(fields)) for line, fields in records(path, dialect, strict=True) if len(fields) > width]
    except DataError as quotes:
        return quotes
    if wide:
        under = f"a header of {width}" if dialect.header else f"{width} columns"
        rows = [line for line, _ in wide]
        return Source(path, first_line=0).error(
            f"{wide[0][1]} fields under {under}",
            rows=rows,
            fix=f"quote the field that holds {dialect.separator!r}"
            + ("" if dialect.quote is None else ", or pass quote=None where quotes are letters"),
        )
    return DataError(f"not a table: {first_line(error)}", file=path, fix="check separator= and quote=")


def _refuse_short(path: Path, dialect: Dialect, width: int) -> None:
    """Raises a DataError for lines with fewer fields than columns: their last values are unknown, not missing."""
    short = [(line, len(fields)) for line, fields in records(path, dialect) if fields and len(fields) < width]
    if short:
        under = f"a header of {width}" if dialect.header else f"{width} columns"
        raise Source(path, first_line=0).error(
            f"{short[0][1]} fields under {under}",
            rows=[line for line, _ in short],
            fix="complete the line (an empty field is written with its separator)",
        )


def not_utf8(path: Path, *, offer: bool = False) -> DataError | None:
    """The error about the first line that is not UTF-8, or None when all are; it may offer ``encoding=``."""
    for number, line in enumerate(io.BytesIO(unpacked(path)), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            return DataError(
                f"byte 0x{line[error.start]:02x} at position {error.start + 1} is not UTF-8",
                file=path,
                line=number,
                fix="save the file as UTF-8 (for example: iconv -f GB18030 -t UTF-8)"
                + (", or say what it is: encoding='latin-1', 'gb18030', …" if offer else ""),
            )
    return None


def _typed(column: pl.Series, is_id: bool, as_text: bool) -> pl.Series:
    """Numbers where all of the text is, without losing how an id is spelled; else the text."""
    if as_text or column.null_count() == len(column):
        return column
    if is_id:
        return text_ids(column)
    head = column.drop_nulls().head(100)
    if plain_integers(head).null_count():
        if head.str.contains(r"^[-+]?\d+$").all():  # 007: a name, whatever the column is called
            return column
        low = head.str.to_lowercase()
        if low.is_in(list(_TRUE_FALSE)).all():
            made = column.str.to_lowercase().replace_strict(_TRUE_FALSE, default=None, return_dtype=pl.Boolean)
            return column if made.null_count() > column.null_count() else made
        numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
        return column if numbers.null_count() > column.null_count() else numbers
    whole = plain_integers(column)
    if whole.null_count() == column.null_count():
        return whole
    if column.drop_nulls().str.contains(r"^[-+]?\d+$").all():
        return column
    numbers = column.str.strip_chars().cast(pl.Float64, strict=False)
    return column if numbers.null_count() > column.null_count() else numbers
