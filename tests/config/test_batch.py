from __future__ import annotations

import pytest
from pydantic import ValidationError

from modelyard.config.spec import Batch

SCHEDULE = {"schedule_expression": "0 6 * * *"}


@pytest.mark.parametrize(
    ("input", "output", "said"),
    [
        ("s3://bucket/in", "out", "`input` is a folder of this machine"),
        ("in", " ", "`output` is a folder of this machine"),
        ("in/", "./in", "the same folder"),
    ],
)
def test_a_batch_goes_from_one_folder_into_another(input: str, output: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Batch.model_validate({**SCHEDULE, "input": input, "output": output})
    assert Batch.model_validate({**SCHEDULE, "input": "in", "output": "in/done"}).output == "in/done"
