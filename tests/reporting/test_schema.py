"""The published JSON schema describes what is written."""

import json
import math
from importlib import resources

import jsonschema
import pytest

from lr_lightning.rules.range_test.analyze import analyze
from tests.helpers.curves import LRS, bowl

SCHEMA = json.loads((resources.files("lr_lightning.reporting") / "schemas" / "range_test.schema.json").read_text())
CURVES = {
    "ok": [float(loss) for loss in bowl()],
    "non_finite": [math.nan] * len(LRS),
    "no_descent": [1.0] * len(LRS),
    "overflow": [*[2.0 - i / len(LRS) for i in range(len(LRS) - 1)], math.inf],
}


def written(tmp_path, losses):
    path = tmp_path / "range_test.json"
    analyze(LRS, losses, batch_size=8, momentum=0.9, train_steps=1000).save(path)
    return json.loads(path.read_text())


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("name", CURVES)
def test_every_result_fits(tmp_path, name):
    record = written(tmp_path, CURVES[name])
    jsonschema.validate(record, SCHEMA)
    assert set(record) == set(SCHEMA["properties"]), "a key is written that the schema doesn't tell, or the reverse"


@pytest.mark.parametrize(("key", "value"), [("status", "fine"), ("lrs", ["a"]), ("interval", [1.0]), ("steps", -1)])
def test_what_isnt_a_result_doesnt_fit(tmp_path, key, value):
    record = {**written(tmp_path, CURVES["ok"]), key: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, SCHEMA)
