"""Moments as people write them, into UTC seconds: what is ambiguous is asked about, what is proven is read and said."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mmgraph.data.errors import Findings, Source

TimeUnit = Literal["s", "ms", "us", "ns"]
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_LATEST = 1e11  # seconds: the year 5138. In milliseconds the same number is 1973, so nothing real is between.
# Distinct calendar numbers that prove a calendar: one number in 27 is a valid day by chance.
_PROOF = 3

_CLOCK = r"(?:(?:[Tt]|,?\s+)(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*(?:([AaPp])\.?[Mm]\.?)?)?"
_NUMBERS = rf"^\s*(\d{{1,4}})([-/.])(\d{{1,2}})[-/.](\d{{1,4}}){_CLOCK}\s*(Z|z|UTC|GMT|[+-]\d{{2}}:?\d{{2}})?\s*$"
# Year first, hence without a question; polars reads them several times faster than the expression above.
_ISO = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d")
# Months by name, and Amazon's "09 28, 2014", which only one country writes.
_NAMED = (
    "%a %b %d %H:%M:%S %z %Y",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%d/%b/%Y:%H:%M:%S %z",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%b %d, %Y %I:%M:%S %p",
    "%B %d, %Y %I:%M:%S %p",
    "%b %d, %Y %H:%M:%S",
    "%B %d, %Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%d %b %Y, %H:%M",
    "%m %d, %Y",
    "%Y年%m月%d日",
)
_CALENDARS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_FIX = "correct it, or say how times are written, such as time_format='%d/%m/%Y %H:%M'"


class Times(NamedTuple):
    """UTC seconds (Float64, named ``time``), and a sentence on what the values proved, where they had to."""

    seconds: pl.Series
    note: str | None


def times(column: pl.Series, source: Source, unit: TimeUnit | None = None, time_format: str | None = None) -> Times:
    """UTC seconds from numbers, dates or text.

    Read without being told: numbers (seconds, or ``unit``), ISO text, dates whose values prove whether day or month
    comes first (a number above 12), clocks with AM and PM, months by name, and calendar numbers such as 20190514 (at
    least three different ones, all valid days). Text without an offset is UTC.

    Args:
        column: the values.
        source: where they are from.
        unit: of numbers; seconds when None. When given, numbers are never taken for calendar numbers.
        time_format: how text (or a calendar number) is written, as ``strptime`` has it.

    Raises:
        DataError: a time that is missing, no time, negative or so large that it must be milliseconds; dates that may
            be day first or month first; a time of day without a date.
    """
    if unit is not None and (not isinstance(unit, str) or unit not in _PER_SECOND):
        raise ValueError(f"time_unit={unit!r}: use 's', 'ms', 'us' or 'ns'")
    name, kind = column.name, column.dtype
    if column.null_count():
        rows = column.is_null().arg_true().to_numpy()
        raise source.error("the time is missing", rows=rows, column=name, fix="fill it in or drop the row")
    if kind in (pl.Categorical, pl.Enum) or isinstance(kind, pl.Enum):
        column, kind = column.cast(pl.String), pl.String()
    if time_format is not None:
        return _formatted(column, source, time_format)
    if kind == pl.String:
        return _from_text(column, source, unit)
    if kind == pl.Time or kind == pl.Duration:
        problem = "times of day, without a date" if kind == pl.Time else "lengths of time, not moments"
        raise source.error(problem, column=name, fix="add the date, or name another column as the time")
    if kind.is_temporal():
        return Times(_checked(column.dt.epoch("us").cast(pl.Float64) / 1e6, column, source), None)
    if kind.is_numeric():
        return _from_numbers(column, column, source, unit)
    raise source.error(f"times of type {kind}", column=name, fix="give UTC seconds, a date or ISO text")


def looks_like_times(column: pl.Series) -> str | None:
    """What speaks for moments in a column that nobody called a time, as ``dates`` or ``UTC seconds``; else None."""
    known = column.drop_nulls().head(1000)
    if not len(known):
        return None
    if known.dtype.is_temporal():
        return "dates" if known.dtype in (pl.Date, pl.Datetime) or isinstance(known.dtype, pl.Datetime) else None
    if known.dtype == pl.String:
        text = known.str.strip_chars()
        if text.str.contains(r"^\d+(\.\d+)?$").all():
            return _plausible(text.cast(pl.Float64, strict=False), text)
        if text.str.contains(_NUMBERS).mean() >= 0.9:  # type: ignore[operator]
            return "dates"
        return "dates" if any(_parsed(text, f).null_count() < 0.1 * len(text) for f in _NAMED) else None
    return _plausible(known.cast(pl.Float64), known) if known.dtype.is_numeric() else None


def _plausible(values: pl.Series, raw: pl.Series) -> str | None:
    """Whether all numbers are moments between 1995 and 2050 in some unit, or days of a calendar."""
    for unit, per_second in _PER_SECOND.items():
        if bool(values.is_between(788_918_400 * per_second, 2_524_608_000 * per_second).all()):
            return {"s": "UTC seconds", "ms": "UTC milliseconds", "us": "UTC microseconds", "ns": "UTC nanoseconds"}[
                unit
            ]
    return "calendar numbers" if _calendar(raw) is not None else None


def _from_numbers(numbers: pl.Series, raw: pl.Series, source: Source, unit: TimeUnit | None) -> Times:
    calendar = None if unit is not None else _calendar(raw)
    if calendar is not None:
        if raw.n_unique() >= _PROOF:
            return Times(_formatted(raw, source, calendar).seconds, f"{_quoted(raw)} is read as {calendar}")
        raise source.error(
            f"{raw[0]!r} may be a day of the calendar or a number of seconds",
            column=raw.name,
            fix=f"pass time_format={calendar!r}, or time_unit='s'",
        )
    values = numbers.cast(pl.Float64)
    return Times(_checked(values if unit in (None, "s") else values / _PER_SECOND[unit], raw, source), None)


def _calendar(raw: pl.Series) -> str | None:
    """The format of calendar numbers, when every value is a valid one of the same length; else None."""
    if not (raw.dtype.is_integer() or raw.dtype == pl.String) or not len(raw):
        return None
    first = str(raw[0]).strip()
    layout = _CALENDARS.get(len(first))
    if layout is None or not first.startswith(("19", "20")):
        return None  # the first value settles nearly every column of seconds
    text = raw.cast(pl.String).str.strip_chars()
    if not text.str.contains(rf"^(19|20)\d{{{len(first) - 2}}}$").all():
        return None
    pieces = [
        text.str.slice(start, size).cast(pl.Int64, strict=False).to_numpy() for start, size in _slices(len(first))
    ]
    return layout if _moments(*pieces)[1].all() else None


def _slices(length: int) -> list[tuple[int, int]]:
    return [(0, 4)] + [(start, 2) for start in range(4, length, 2)]


def _from_text(column: pl.Series, source: Source, unit: TimeUnit | None) -> Times:
    text = column.str.strip_chars()
    for layout in _ISO:
        parsed = _parsed(text, layout)
        if not parsed.null_count():
            return Times(_checked(parsed, column, source), None)
    numbers = text.cast(pl.Float64, strict=False)
    wrong = numbers.null_count()
    if not wrong:
        return _from_numbers(numbers, text.rename(column.name), source, unit)
    dates = int(text.str.contains(_NUMBERS).sum())
    if dates >= len(text) - wrong and dates:
        return _from_dates(column, text, source)
    if wrong < len(text):  # numbers, most of them: told with what else is wrong with them
        return Times(_checked(numbers / _PER_SECOND[unit or "s"], column, source), None)
    best, best_wrong = None, len(text)
    for layout in _NAMED:
        parsed = _parsed(text, layout)
        if parsed.null_count() < best_wrong:
            best, best_wrong = (layout, parsed), parsed.null_count()
    if best is None:
        _refuse(np.ones(len(text), dtype=bool), column, source)
    layout, parsed = best  # type: ignore[misc]
    if best_wrong:
        _refuse(parsed.is_null().to_numpy(), column, source)
    return Times(_checked(parsed, column, source), f"{_quoted(column)} is read as {layout}")


def _from_dates(column: pl.Series, text: pl.Series, source: Source) -> Times:
    """Three numbers with separators, perhaps with a clock: the order by what the values prove."""
    groups = text.str.extract_groups(_NUMBERS).struct.unnest()
    a, mark, b, c, hour, minute, second, fraction, half, zone = (groups.to_series(i) for i in range(10))
    bad = a.is_null().to_numpy()
    if bad.any():
        _refuse(bad, column, source)
    first, middle, last = (s.cast(pl.Int64).to_numpy() for s in (a, b, c))
    year_first, year_last = a.str.len_chars().to_numpy() > 2, c.str.len_chars().to_numpy() > 2
    short = ~(year_first | year_last)
    if short.any():
        raise source.error(
            f"time {column[int(np.argmax(short))]!r} has a year of two digits",
            rows=np.flatnonzero(short),
            column=column.name,
            fix="say how it is written: time_format='%m/%d/%y', '%d/%m/%y' or '%y-%m-%d'",
        )
    note = None
    order = ~year_first  # rows whose day and month have an order to find
    day_first = False
    if order.any():
        above = order & (first > 12), order & (middle > 12)
        example = column[int(np.argmax(order))]
        layout = str(mark[int(np.argmax(order))]).join(("%d", "%m", "%Y"))
        clock = "" if hour.is_null().all() else (" %I:%M:%S %p" if not half.is_null().all() else " %H:%M:%S")
        clock = clock.replace(":%S", "") if second.is_null().all() else clock
        days, months = layout + clock, layout[3:6] + layout[:3] + layout[6:] + clock
        if above[0].any() and above[1].any():
            one, two = int(np.argmax(above[0])), int(np.argmax(above[1]))
            raise source.error(
                f"time {column[one]!r} has the day first, {column[two]!r} the month",
                rows=sorted((one, two)),
                column=column.name,
                fix="write all in one order, such as 2019-05-14",
            )
        if not above[0].any() and not above[1].any() and bool((first[order] != middle[order]).any()):
            raise source.error(
                f"times such as {example!r} are ambiguous: no value proves day first or month first",
                column=column.name,
                fix=f"say which: time_format={months!r} (month first) or time_format={days!r} (day first)",
            )
        day_first = bool(above[0].any())
        proof = column[int(np.argmax(above[0] if day_first else above[1]))]
        note = f"{_quoted(column)} is read {'day' if day_first else 'month'} first: {proof!r} proves it"
    year = np.where(year_first, first, last)
    month = np.where(year_first | day_first, middle, first)
    day = np.where(year_first, last, np.where(day_first, first, middle))
    hours, minutes, seconds = (s.cast(pl.Int64).fill_null(0).to_numpy() for s in (hour, minute, second))
    twelve = half.is_not_null().to_numpy()
    ok = ~twelve | ((hours >= 1) & (hours <= 12))
    hours = np.where(twelve, hours % 12 + np.where(half.str.to_lowercase().eq("p").fill_null(False), 12, 0), hours)
    moments, valid = _moments(year, month, day, hours, minutes, seconds)
    if not (valid & ok).all():
        _refuse(~(valid & ok), column, source)
    moments += ("0." + fraction).cast(pl.Float64).fill_null(0.0).to_numpy()
    return Times(_checked(pl.Series(moments) - _offset(zone), column, source), note)


def _offset(zone: pl.Series) -> pl.Series:
    """Seconds east of UTC."""
    sign = pl.Series(np.where(zone.str.starts_with("-").fill_null(False), -1.0, 1.0))
    digits = zone.str.extract_groups(r"^[+-](\d{2}):?(\d{2})$").struct.unnest()
    hours, minutes = (digits.to_series(i).cast(pl.Float64).fill_null(0.0) for i in range(2))
    return sign * (hours * 3600 + minutes * 60)


def _moments(
    year: NDArray[np.int64],
    month: NDArray[np.int64],
    day: NDArray[np.int64],
    hour: NDArray[np.int64] | int = 0,
    minute: NDArray[np.int64] | int = 0,
    second: NDArray[np.int64] | int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """UTC seconds, and which of them are real days and clocks."""
    inside = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    start = months.astype("datetime64[M]")
    days = start.astype("datetime64[D]") + (np.clip(day, 1, 400) - 1).astype("timedelta64[D]")
    inside &= days.astype("datetime64[M]") == start
    inside &= np.asarray((np.asarray(hour) < 24) & (np.asarray(minute) < 60) & (np.asarray(second) < 60))
    clock = np.asarray(hour) * 3600.0 + np.asarray(minute) * 60.0 + np.asarray(second)
    return days.astype("datetime64[s]").astype(np.float64) + clock, inside


def _formatted(column: pl.Series, source: Source, layout: str) -> Times:
    text = column if column.dtype == pl.String else column.cast(pl.String)
    parsed = _parsed(text.str.strip_chars(), layout)
    wrong = parsed.is_null().to_numpy()
    if wrong.any():
        rows = np.flatnonzero(wrong)
        problem = f"time {column[int(rows[0])]!r} is not written as time_format={layout!r}"
        raise source.error(problem, rows=rows, column=column.name, fix="correct the format, or the values")
    return Times(_checked(parsed, column, source), None)


def _parsed(text: pl.Series, layout: str) -> pl.Series:
    """UTC seconds by a format, null where it does not fit; Float64."""
    # a format that ends at the hour is no moment for the parser: minutes are added
    if "%H" in layout and "%M" not in layout:
        text, layout = text + ":00", layout + ":%M"
    try:
        dates = text.str.to_datetime(layout, time_unit="us", strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(text.name, [None] * len(text), dtype=pl.Float64)
    return dates.dt.epoch("us").cast(pl.Float64) / 1e6


def _checked(seconds: pl.Series, raw: pl.Series, source: Source) -> pl.Series:
    values = seconds.to_numpy()
    finite = np.isfinite(values)
    found = Findings()
    tests: tuple[tuple[NDArray[np.bool_], str, str], ...] = (
        (~finite, "is not a time", _FIX),
        (finite & (values < 0), "is negative", "give UTC seconds since 1970, or drop the row"),
        (
            finite & (values >= _LATEST),
            "is after the year 5000 when read as seconds: it looks like milliseconds",
            "pass time_unit='ms' (or 'us', 'ns'), or divide the column",
        ),
    )
    for bad, problem, fix in tests:
        if bad.any():
            rows = np.flatnonzero(bad)
            found.add(source.error(f"time {raw[int(rows[0])]!r} {problem}", rows=rows, column=raw.name, fix=fix))
    if found:
        raise found.error()
    return seconds.rename("time")


def _refuse(wrong: NDArray[np.bool_], column: pl.Series, source: Source) -> None:
    rows = np.flatnonzero(wrong)
    raise source.error(f"time {column[int(rows[0])]!r} is not a time", rows=rows, column=column.name, fix=_FIX)


def _quoted(column: pl.Series) -> str:
    return f"column {column.name!r}" if column.name else "the time"
