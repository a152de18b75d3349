"""How much code of its own a model has: a paper is a composition of layers, so what is long lacks one."""

from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

import mmgraph.models as zoo
from mmgraph.models import LightGCN, Recommender
from mmgraph.models.collaborative.contrastive import TwoViews

LIMIT = 80
MODELS = [
    value
    for value in vars(zoo).values()
    if inspect.isclass(value) and issubclass(value, Recommender) and value is not Recommender
]


def own_lines(cls: type) -> int:
    """Lines of a class without docstrings, comments and blank lines."""
    source = textwrap.dedent(inspect.getsource(cls))
    tree = ast.parse(source)
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            told |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = ((i, line.strip()) for i, line in enumerate(source.splitlines(), 1) if i not in told)
    return sum(1 for _, line in lines if line and not line.startswith("#"))


def test_a_line_is_neither_told_nor_blank():
    class Small:
        """Told.

        Told.
        """

        a = 1  # code

        # not code
        def b(self):
            """Told."""
            return self.a

    assert own_lines(Small) == 4


@pytest.mark.parametrize("cls", MODELS)
def test_a_model_is_a_composition(cls):
    lines = own_lines(cls)
    assert lines <= LIMIT, f"{cls.__name__} has {lines} lines of its own: move what others could use into mmgraph/nn"


def test_contrasts_of_two_views_share_their_settings():
    from mmgraph.testing import twelve_nodes

    for cls, contrast, temperature in ((zoo.SGL, 0.1, 0.2), (zoo.SimGCL, 0.5, 0.2), (zoo.XSimGCL, 0.2, 0.15)):
        model = cls(twelve_nodes(), embedding_dim=8)
        assert isinstance(model, TwoViews)
        assert isinstance(model, LightGCN)
        assert (model.contrast, model.temperature) == (contrast, temperature)
        assert model.embedding.shape == (12, 8)
        assert (model.num_layers, model.l2) == (3, 1e-4)
    assert cls(twelve_nodes(), l2=0.5).l2 == 0.5
