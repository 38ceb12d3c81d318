"""The benchmark of the search for groups' ratios, shortened: one seed, one wrong ratio, two steps."""

import math

import pytest
import torch

from recipes.benchmarks import groups


def shortened(monkeypatch, folder):
    for name, value in {"CACHE": folder, "STEPS": 2, "SEEDS": (0,), "REACH": 0, "WRONG": (10.0,)}.items():
        monkeypatch.setattr(groups, name, value)


def test_a_row_compares_both_kinds_of_range_test_with_the_grid(monkeypatch, tmp_path, capsys):
    shortened(monkeypatch, tmp_path)
    [(lost, left)] = groups.rows_of("first layer, momentum")
    cells = capsys.readouterr().out.strip().strip("|").split("|")
    assert [cell.strip() for cell in cells[:2]] == ["first layer, momentum", "10"]
    assert float(cells[3]) == pytest.approx(math.exp(lost), abs=0.01)
    assert float(cells[4]) == pytest.approx(math.exp(left), abs=0.01)
    assert 100 < int(cells[6]) <= 300
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(groups, "train", None)  # from disk
    assert groups.run("first layer, momentum", 0, (2e-2, 2e-2)) > 0


@pytest.mark.parametrize("name", ["Muon + AdamW, MLP", "Muon + AdamW, transformer"])
def test_each_parameter_is_in_one_group(monkeypatch, name):
    monkeypatch.setattr(torch.optim, "Muon", getattr(torch.optim, "Muon", torch.optim.SGD), raising=False)  # from 2.9
    pair = groups.PAIRS[name]
    model = groups.fresh(pair.task, 0)
    first, second = pair.build(model, (1e-2, 1e-3))
    parts = [{id(p) for group in one.param_groups for p in group["params"]} for one in (first, second)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {id(p) for p in groups.trained(model)}
    assert [one.param_groups[0]["lr"] for one in (first, second)] == [1e-2, 1e-3]
