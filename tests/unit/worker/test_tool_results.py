"""Metrics are plain scalars, whatever `run()` returned; declared outputs must exist."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from discover_orch.worker.tool_call import (
    read_metrics,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)

ANYTHING = st.recursive(
    SCALARS | st.binary() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=9) | st.integers(), ANYTHING))
def test_metrics_survive_json_whatever_was_returned(
    returned: dict[Any, Any],
) -> None:
    found = read_metrics(returned)
    assert json.loads(json.dumps(found)) == found
    plain = (type(None), bool, int, float, str)
    assert found.keys() == {
        name for name, one in returned.items() if type(name) is str and type(one) in plain
    }
    assert all(returned[name] == one for name, one in found.items())


def test_numbers_that_json_does_not_know_are_texts() -> None:
    assert read_metrics({"n": math.nan, "i": -math.inf}) == {"n": "nan", "i": "-inf"}
