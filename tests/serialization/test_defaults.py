"""Stating a default states nothing more."""

from typing import Any

import pytest
from attrs import field, frozen

from prover_framework.serialization.converter import structure
from prover_framework.serialization.defaults import unstructure_given


@frozen(kw_only=True)
class Node:
    weight: float = 0.0
    on: bool = True
    inner: "Node | None" = None


@frozen(kw_only=True)
class Sample:
    name: str
    count: int = 1
    node: Node = Node()
    nodes: tuple[Node, ...] = ()
    table: dict[str, Node] = field(factory=dict)


@pytest.mark.parametrize(
    ("stated", "given"),
    [
        ({}, {}),
        ({"count": 1}, {}),
        ({"count": 2}, {"count": 2}),
        ({"node": {}}, {}),
        ({"node": {"weight": 0.0, "on": True, "inner": None}}, {}),
        # What a canonical text does not tell apart is one default.
        ({"node": {"weight": -0.0}}, {}),
        ({"node": {"weight": 1.0, "on": True}}, {"node": {"weight": 1.0}}),
        ({"node": {"on": False}}, {"node": {"on": False}}),
        ({"node": {"inner": {"weight": 0.0}}}, {"node": {"inner": {}}}),
        ({"nodes": [{"weight": 0.0}, {"weight": 2.0}]}, {"nodes": [{}, {"weight": 2.0}]}),
        ({"table": {"a": {"on": True}}}, {"table": {"a": {}}}),
    ],
)
def test_what_has_its_default_is_left_out_and_read_again_as_the_same(
    stated: dict[str, Any], given: dict[str, Any]
) -> None:
    sample = structure({"name": "n", **stated}, Sample)
    assert unstructure_given(sample) == {"name": "n", **given}
    assert structure({"name": "n", **given}, Sample) == sample


@frozen
class Switched:
    on: Any = True


def test_true_and_one_are_not_one_default() -> None:
    assert unstructure_given(Switched(1)) == {"on": 1}
    assert unstructure_given(Switched(True)) == {}  # noqa: FBT003
