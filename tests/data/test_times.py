"""Moments as people write them: what is proven is read, what is ambiguous is asked about."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.data import DataError, Dataset
from mmgraph.data.errors import Source
from mmgraph.data.times import Times, looks_like_times, times

LOG = Source("log.csv", first_line=2)


def read(values, **options) -> Times:
    return times(pl.Series("when", values), LOG, **options)


def seconds(*moments: datetime) -> list[float]:
    return [moment.replace(tzinfo=UTC).timestamp() for moment in moments]


def test_one_value_above_12_proves_the_order():
    month_first = read(["05/02/2019", "05/13/2019", "11/30/2019"])
    assert month_first.seconds.to_list() == [1556755200, 1557705600, 1575072000]
    assert month_first.note == "column 'when' is read month first: '05/13/2019' proves it"
    day_first = read(["2.5.2019", "13.5.2019"])
    assert day_first.seconds.to_list() == [1556755200, 1557705600]
    assert day_first.note == "column 'when' is read day first: '13.5.2019' proves it"


def test_clocks_with_am_and_pm():
    values = ["11/14/2019 8:36:57 AM", "11/14/2019 12:05:00 PM", "11/9/2019 12:15:00 AM"]
    assert read(values).seconds.to_list() == [1573720617, 1573733100, 1573258500]
    with pytest.raises(DataError, match="line 3, column 'when': time '11/14/2019 13:05 PM' is not a time"):
        read(["11/14/2019 1:05 PM", "11/14/2019 13:05 PM"])


def test_an_order_that_nothing_proves_is_asked_about():
    with pytest.raises(DataError, match="ambiguous: no value proves day first or month first") as error:
        read(["1/2/2019 8:30 PM", "2/1/2019 9:00 AM"])
    assert error.value.fix == (
        "say which: time_format='%m/%d/%Y %I:%M %p' (month first) or time_format='%d/%m/%Y %I:%M %p' (day first)"
    )
    said = read(["1/2/2019 8:30 PM", "2/1/2019 9:00 AM"], time_format="%m/%d/%Y %I:%M %p")
    assert said.seconds.to_list() == seconds(datetime(2019, 1, 2, 20, 30), datetime(2019, 2, 1, 9))
    assert read(["1/1/2019", "2/2/2019"]).seconds.to_list() == seconds(datetime(2019, 1, 1), datetime(2019, 2, 2))
    with pytest.raises(DataError, match=r"'13/5/2019' has the day first, '5/13/2019' the month"):
        read(["13/5/2019", "5/13/2019"])
    with pytest.raises(DataError, match=r"a year of two digits.*%m/%d/%y"):
        read(["5/13/19"])


def test_calendar_numbers_are_days_when_they_prove_it():
    days = [20190514, 20190601, 20191231]
    expected = seconds(datetime(2019, 5, 14), datetime(2019, 6, 1), datetime(2019, 12, 31))
    assert read(days).seconds.to_list() == expected
    assert read(list(map(str, days))).seconds.to_list() == expected
    assert read(days).note == "column 'when' is read as %Y%m%d"
    assert read([20190514123059, 20190514123100, 20190514000000]).seconds.to_list() == seconds(
        datetime(2019, 5, 14, 12, 30, 59), datetime(2019, 5, 14, 12, 31), datetime(2019, 5, 14)
    )
    assert read([2019051423, 2019051400, 2019051401]).seconds.to_list()[0] == seconds(datetime(2019, 5, 14, 23))[0]
    with pytest.raises(DataError, match=r"20190514 may be a day .*time_format='%Y%m%d', or time_unit='s'"):
        read([20190514, 20190514])
    assert read([20190514], time_format="%Y%m%d").seconds.to_list() == expected[:1]
    assert read([20190514], unit="s").seconds.to_list() == [20190514]
    assert read([20191301, 20190514, 20190601]).seconds.to_list() == [20191301, 20190514, 20190601], "no month 13"


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2019-05-14", datetime(2019, 5, 14)),
        ("2019-05-14T12:30:01Z", datetime(2019, 5, 14, 12, 30, 1)),
        ("2019-05-14 12:30:01.5+02:00", datetime(2019, 5, 14, 10, 30, 1, 500_000)),
        ("2019/5/4 1:02", datetime(2019, 5, 4, 1, 2)),
        ("Tue Apr 07 18:19:46 +0000 2009", datetime(2009, 4, 7, 18, 19, 46)),
        ("09 3, 2014", datetime(2014, 9, 3)),
        ("May 14, 2019", datetime(2019, 5, 14)),
        ("14 May 2019", datetime(2019, 5, 14)),
        ("2019年5月14日", datetime(2019, 5, 14)),
        (" 1557793800.25 ", datetime(2019, 5, 14, 0, 30, 0, 250_000)),
    ],
)
def test_ways_to_write_a_moment(value: str, moment: datetime):
    assert read([value]).seconds.to_list() == seconds(moment)


@given(st.lists(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), min_size=1, max_size=20), st.data())
def test_formats_come_back(moments, data):
    moments = [m.replace(microsecond=0) for m in moments]
    layout = data.draw(st.sampled_from(["%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M:%S", "%m-%d-%Y %I:%M:%S %p"]))
    text = [m.strftime(layout) for m in moments]
    assert read(text, time_format=layout).seconds.to_list() == seconds(*moments)
    proven = layout.startswith("%Y") or any(m.day > 12 for m in moments) or all(m.day == m.month for m in moments)
    if proven:
        assert read(text).seconds.to_list() == seconds(*moments)
    else:
        with pytest.raises(DataError, match="ambiguous"):
            read(text)


def test_what_is_no_moment_is_named_and_nothing_is_advised_away():
    for values, problem in (
        (["2019-05-14", "2019-13-14"], "line 3, column 'when': time '2019-13-14' is not a time"),
        (["30/2/2019", "1/3/2019"], "line 2, column 'when': time '30/2/2019' is not a time"),
        (["noon", "evening"], "time 'noon' is not a time; also in line 3"),
        (["7", "soon"], "line 3, column 'when': time 'soon' is not a time"),
    ):
        with pytest.raises(DataError, match=problem) as error:
            read(values)
        assert "time_format=" in error.value.fix
        assert "drop" not in error.value.fix
    with pytest.raises(DataError, match="line 3, column 'when': the time is missing"):
        read(["2019-05-14", None])
    with pytest.raises(DataError, match=r"'2019-05-14' is not written as time_format='%d/%m/%Y'"):
        read(["2019-05-14"], time_format="%d/%m/%Y")
    with pytest.raises(DataError, match="times of day, without a date"):
        read([time(3, 4)])
    with pytest.raises(DataError, match="lengths of time"):
        read([timedelta(3)])
    with pytest.raises(DataError, match="times of type List"):
        read([[1], [2]])
    with pytest.raises(ValueError, match="time_unit='sec'"):
        read([1], unit="sec")


@pytest.mark.parametrize("unit", ["s", "m", "h", "D", "ms", "ns"])
def test_numpy_and_pandas_datetimes_of_any_resolution(unit: str):
    moments = np.array(["2019-05-14", "2019-05-15"], dtype=f"datetime64[{unit}]")
    for frame in (
        {"user": [0, 1], "video": [0, 1], "time": moments},
        pd.DataFrame({"user": [0, 1], "video": [0, 1], "time": pd.to_datetime(moments)}),
    ):
        made = Dataset.from_frames(frame).interactions["time"].to_list()
        assert made == seconds(datetime(2019, 5, 14), datetime(2019, 5, 15))


def test_zones_are_told_apart():
    aware = pl.Series("when", [datetime(2019, 5, 14)]).dt.replace_time_zone("Asia/Tokyo")
    assert times(aware, LOG).seconds.to_list() == seconds(datetime(2019, 5, 13, 15))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["2019-05-14 10:00", "2019-05-15 11:00"], "dates"),
        (["5/14/2019", "6/1/2019"], "dates"),
        ([1_557_793_800, 1_557_793_801], "UTC seconds"),
        (["1557793800000"], "UTC milliseconds"),
        ([20190514, 20190601], "calendar numbers"),
        ([1, 2, 3], None),
        (["cat", "dog"], None),
        ([None, None], None),
        ([0.25, 0.5], None),
    ],
)
def test_columns_that_look_like_times(values, kind):
    assert looks_like_times(pl.Series("x", values)) == kind
