"""The words of a command line, before Hydra reads them."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lr_lightning.cli.command_line import UnknownCommand, command_of, readable


@pytest.mark.parametrize(
    "value",
    [
        "base_lr / (1 + 0.05 * epoch)", "where(epoch < 3, base_lr, 0.1 * base_lr)", "max(lr * 0.9, 1e-6)", "lr[0]",
        "base_lr * 0.5 ** (epoch // 10)", "it's", "a=b", "'base_lr'*", "{x}", "base_lr * (1 - progress), 2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["callbacks.lr_formula.expression", "ckpt_path", "+callbacks.lr_formula.groups.head"])
def test_a_string_is_taken_as_it_stands(key: str, value: str) -> None:
    (word,) = readable([f"{key}={value}"])
    (override,) = OverridesParser.create().parse_overrides([word])
    assert override.value() == value
    assert readable([word]) == [word], "what is quoted stays"


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.sweeper.resume"])
@pytest.mark.parametrize("value", ["a b/c,d", "choice(a,b)", "seed=1,lr=2"])
def test_hydras_own_folders_may_hold_commas(key: str, value: str) -> None:
    (override,) = OverridesParser.create().parse_overrides(readable([f"{key}={value}"]))
    assert not override.is_sweep_override()
    assert override.value() == value


@pytest.mark.parametrize(
    "word", ["trainer.max_epochs=(1", "model.lr=1e-4,1e-2", "ckpt_path=null", "--cfg", "-m", "name=a,b", "~callbacks.x"]
)
def test_other_words_are_left_to_hydra(word: str) -> None:
    assert readable([word]) == [word]


@pytest.mark.parametrize(("word", "meant"), [("reviw", "review"), ("inf", "info"), ("previw", "preview")])
def test_a_misspelt_command_offers_the_nearest(word: str, meant: str) -> None:
    with pytest.raises(UnknownCommand, match=f"no command '{word}'; did you mean '{meant}'"):
        command_of([word, "logs"])
