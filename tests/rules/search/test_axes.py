"""An axis: where a value stands on it, and which value stands at a place."""

import pytest

from lr_lightning.rules.search.axes import Axis, axis_from


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (Axis("lr", 1e-4, 1.0), [1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (Axis("momentum", 0.2, 1.0, scale="linear"), [0.2, 0.4, 0.6, 0.8, 1.0]),
        (Axis("width", 16, 256, integer=True), [16, 32, 64, 128, 256]),
        (Axis("batch", choices=(8, 16, 32, 64, 128)), [8, 16, 32, 64, 128]),
        (Axis("norm", choices=("none", "batch", "layer", "group", "rms")), ["none", "batch", "layer", "group", "rms"]),
    ],
)
def test_places_and_values_are_each_others_inverse(axis, values):
    places = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [axis.place(value) for value in values] == pytest.approx(places)
    assert [axis.value(place) for place in places] == values
    assert all(type(axis.value(place)) is type(values[0]) for place in places)


def test_places_outside_are_values_outside_but_for_choices():
    assert Axis("lr", 1e-4, 1.0).value(1.25) == 10.0
    assert Axis("lr", 1e-4, 1.0).place(1e-5) == pytest.approx(-0.25)
    assert Axis("wd", -0.1, 0.4, scale="linear").value(-0.5) == -0.35
    # What isn't negative by its range never becomes it.
    assert Axis("wd", 0.0, 0.5, scale="linear").value(-0.5) == 0.0
    assert [Axis("layers", low, 8, integer=True).value(-2.0) for low in (1, 2)] == [1, 1]
    assert Axis("lr", 1e-4, 1.0).value(100.0) == 1e300
    assert Axis("lr", 1e-4, 1.0).value(-100.0) == 1e-300
    batch = Axis("batch", choices=(8, 16, 32))
    assert [batch.value(place) for place in (-1.0, 0.2, 0.3, 0.7, 0.8, 2.0)] == [8, 8, 16, 16, 32, 32]


def test_values_read_well_in_a_command():
    assert Axis("lr", 1e-4, 1.0).value(1 / 3) == 0.00215443
    assert Axis("wd", 0.0, 1.0, scale="linear").value(2 / 3) == 0.666667
    assert Axis("width", 10, 20, scale="linear", integer=True).value(0.46) == 15


def test_lengths_and_borders():
    assert Axis("lr", 1e-4, 1.0).decades == pytest.approx(4.0)
    assert Axis("wd", 0.0, 0.5, scale="linear").decades == 1.0
    assert Axis("batch", choices=(8, 16)).decades == 1.0
    assert Axis("lr", 1e-4, 1.0).can_widen
    assert not Axis("lr", 1e-4, 1.0, widen=False).can_widen
    assert not Axis("batch", choices=(8, 16)).can_widen


def test_axes_from_a_config():
    assert axis_from("wd", {"low": 0, "high": 1, "scale": "linear"}) == Axis("wd", 0.0, 1.0, scale="linear")
    assert axis_from("batch", {"choices": [8, 16]}) == Axis("batch", choices=(8, 16))
    assert axis_from("lr", {"low": 1e-4, "high": 1, "widen": False}) == Axis("lr", 1e-4, 1.0, widen=False)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Axis("", 0.1, 1.0), "param must be the key of a parameter, got ''"),
        (lambda: Axis("lr", 0.1, 1.0, integer="yes"), "integer of lr must be true or false, got 'yes'"),
        (lambda: Axis("wd", "0", 1.0, scale="linear"), "wd: low must be a finite number, got '0'"),
        (lambda: Axis("wd", 0.0, float("inf"), scale="linear"), "wd: high must be a finite number, got inf"),
        (lambda: Axis("wd", 1.0, 0.5, scale="linear"), "wd: low must be below high, got low=1.0 and high=0.5"),
        (lambda: Axis("batch", choices=(8, 8)), r"choices of batch must be at least 2 different .*got \(8, 8\)"),
        (lambda: Axis("batch", choices=(8, 16, 8)), "at least 2 different"),
        (lambda: Axis("batch", choices=8), "choices of batch must be at least 2 different .*, got 8"),
        (lambda: axis_from("wd", [0, 1]), r"wd must be a mapping such as \{low: 0, high: 0.5\}, got \[0, 1\]"),
        (lambda: axis_from("wd", {"low": 0, "hihg": 1}), "wd: unknown setting 'hihg'; known are low, high, scale"),
        (lambda: axis_from("wd", {"low": 0}), r"wd: high must be a number \(or give choices\), got None"),
        (lambda: axis_from("wd", {"choices": 8}), "choices of wd must be at least 2 different"),
    ],
)
def test_what_is_no_axis_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
