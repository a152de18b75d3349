"""Raw ids <-> rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmgraph.data import DataError, UnknownIdError, Vocabulary
from mmgraph.data.errors import Source
from mmgraph.data.vocabulary import as_ids, as_tensor, written_length

IDS = st.one_of(
    st.lists(st.integers(-5, 60), min_size=1, max_size=40),
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=40),  # too sparse for a table
    st.lists(st.text(max_size=4), min_size=1, max_size=40),
)


@given(IDS)
def test_factorise_is_sorted_and_inverts(ids):
    vocabulary, rows = Vocabulary.factorise(pl.Series("id", ids))
    assert vocabulary.raw(rows) == ids
    assert vocabulary.ids.to_list() == sorted(set(ids), key=lambda i: i.encode() if isinstance(i, str) else i)
    assert (vocabulary.rows(ids) == rows).all()


@given(IDS, st.randoms(use_true_random=False))
def test_rows_follow_the_given_order(ids, random):
    distinct = list(dict.fromkeys(ids))
    random.shuffle(distinct)
    vocabulary = Vocabulary(distinct)
    assert vocabulary.rows(distinct).tolist() == list(range(len(distinct)))
    assert vocabulary.raw(torch.arange(len(distinct))) == distinct
    assert len(vocabulary) == len(distinct)


@pytest.mark.parametrize("ids", [[4, 9, 5], [4, 2**60, -(2**60)], ["4", "é", ""]])
def test_an_unknown_id_is_named(ids):
    vocabulary = Vocabulary(ids)
    assert vocabulary.find([77, 4]).tolist() == [-1, 0]
    assert 4 in vocabulary
    assert "4" in vocabulary
    assert 77 not in vocabulary
    with pytest.raises(UnknownIdError, match=r"unknown id 77 \(1 of 2 values") as error:
        vocabulary.rows([4, 77])
    assert error.value.row == 1
    assert isinstance(error.value, KeyError)
    assert isinstance(error.value, DataError)
    assert not str(error.value).startswith(("'", '"')), "KeyError would quote the message"


def test_either_spelling_of_a_number_is_found():
    assert Vocabulary([30, 10]).rows(["10", "30"]).tolist() == [1, 0]
    assert Vocabulary(["30", "10"]).rows([10, 30]).tolist() == [1, 0]
    assert Vocabulary([30, 10]).find(["x"]).tolist() == [-1]
    assert Vocabulary(["007"]).find([7]).tolist() == [-1], "text ids stay as written"


def test_a_repeated_or_missing_id_is_refused_with_its_line():
    source = Source("users.csv", first_line=2)
    with pytest.raises(DataError, match=r"users\.csv, line 4, column 'user_id': id 1 appears a second time"):
        Vocabulary(pl.Series("user_id", [1, 2, 1]), source)
    with pytest.raises(DataError, match=r"line 3.*missing"):
        Vocabulary(pl.Series("user_id", [1, None]), source)


def test_as_ids_takes_whole_numbers_and_text_only():
    assert as_ids(np.array([1.0, 2.0])).to_list() == [1, 2]
    assert as_ids(pl.Series(["a", "b"], dtype=pl.Categorical)).dtype == pl.String
    with pytest.raises(DataError, match=r"row 1: 2\.5 is not an id"):
        as_ids([1.0, 2.5])
    with pytest.raises(DataError, match="mix types"):
        as_ids([1, "a"])
    with pytest.raises(DataError, match="ids of type"):
        as_ids([[1], [2]])


def test_as_tensor_owns_its_memory():
    rows = np.arange(3)
    tensor = as_tensor(rows)
    tensor[0] = 9
    assert rows[0] == 0
    assert tensor.dtype == torch.int64


def test_equality_and_empty():
    assert Vocabulary([1, 2]) == Vocabulary(np.array([1, 2]))
    assert Vocabulary([1, 2]) != Vocabulary([2, 1])
    assert len(Vocabulary([])) == 0
    assert Vocabulary([]).find([3]).tolist() == [-1]
    assert Vocabulary(["a"]).raw([]) == []
    assert repr(Vocabulary([1, 2, 3, 4])) == "Vocabulary(4 ids: 1, 2, 3, …)"


@pytest.mark.parametrize("rows", [[-1], [0, 3], np.array([3]), torch.tensor([-2])])
def test_a_row_outside_the_ids_is_no_row(rows):
    with pytest.raises(IndexError, match=r"outside the 3 ids: rows go from 0 to 2"):
        Vocabulary(["a", "b", "c"]).raw(rows)


@pytest.mark.parametrize("rows", [[0.5], torch.tensor([1.0]), np.array([True, False, True]), ["a"]])
def test_rows_are_whole_numbers(rows):
    with pytest.raises(TypeError, match="give whole numbers from 0 to 2"):
        Vocabulary(["a", "b", "c"]).raw(rows)


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-12, 12), max_size=30))
def test_the_written_length_is_that_of_the_decimals(values) -> None:
    column = pl.Series(values, dtype=pl.Int64)
    assert written_length(column) == sum(len(str(v)) for v in values if v is not None)
    assert written_length(column.cast(pl.String)) == written_length(column)
