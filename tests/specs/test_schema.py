"""The JSON Schema admits what the reader admits."""

import importlib.util
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relational import specs
from relational.specs.checks import GATHERING
from relational.specs.schema import ADAPTER, known_fields, smallest
from relational.specs.writer import plain

_has_jsonschema = importlib.util.find_spec("jsonschema") is not None


def test_every_field_is_described() -> None:
    for name, definition in {**specs.schema()["$defs"], "Spec": specs.schema()}.items():
        assert definition["description"], name
        for field, node in definition.get("properties", {}).items():
            assert node.get("description"), f"{name}.{field}"


@pytest.mark.skipif(not _has_jsonschema, reason="jsonschema is not installed")
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_written_is_valid(
    whole_specs: st.SearchStrategy[specs.Spec], data: st.DataObject
) -> None:
    spec = data.draw(whole_specs)
    import jsonschema

    validator = jsonschema.Draft202012Validator(specs.schema())
    validator.validate(plain(spec))
    validator.validate(plain(spec, with_defaults=True))


@pytest.mark.skipif(not _has_jsonschema, reason="jsonschema is not installed")
@pytest.mark.parametrize("name", specs.names())
def test_shipped_specs_are_valid_and_mistyped_ones_are_not(name: str) -> None:
    import jsonschema

    data = plain(specs.load(name))
    jsonschema.Draft202012Validator.check_schema(specs.schema())
    jsonschema.validate(data, specs.schema())
    data["training"]["stepz"] = data["training"].pop("steps")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, specs.schema())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("training", "steps"), 1),
        (("training", "optimizer"), "adam"),
        (("training", "clip_norm"), 1.0),
        (("data", "chorales", "window"), 4),
        (("model", "edges", "any", "topology"), "complete"),
        (("model", "edges", "any", "topology", "and", 1, "band"), {"before": 0}),
        (("model", "edges", "any", "relations", "some"), {"limit": 8}),
        (("model", "blocks", 3), {"feed_forward": {"width": 1}}),
        (("model", "blocks", 3, "attention"), None),
        (("model", "nodes", "any"), {"vocabulary": 1, "width": 1}),
        (("model", "layers", 0, "dropout"), 0),
        (("model", "process", "steps"), 1),
        (("data", "planetoid", "name"), "cora"),
        (("data", "sorting", "nodes"), [8, 16]),
    ],
)
def test_the_smallest_value_at_a_place(place: Any, value: Any) -> None:
    assert smallest(place) == value


def test_the_smallest_spec_can_be_read() -> None:
    assert ADAPTER.validate_python(smallest(()), context=GATHERING).name == "name"


def test_the_fields_of_a_place_are_known() -> None:
    assert known_fields(("data", "chorales")) == ("source", "window", "transpose")
    assert known_fields(("model", "edges", "any"))[:2] == ("from", "to")
    assert known_fields(("model", "nodes")) == ()
