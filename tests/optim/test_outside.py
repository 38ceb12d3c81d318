"""Files, processes and connections of a sweep's steps are named, whoever opens them."""

import builtins
import csv
import os
import socket
import sqlite3
import subprocess
import tempfile
import threading
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lr_lightning import range_test
from lr_lightning.optim.snapshot import Outside


def append(folder):
    with open(folder / "notes.csv", "a") as file:
        csv.writer(file).writerow([1])


def rename(folder):
    os.replace(folder / "old.txt", folder / "new.txt")


def database(folder):
    with sqlite3.connect(folder / "x.sqlite") as connection:
        connection.execute("create table t (a)")


# What is done, and the beginnings of what is told of it, without the folder.
WRITES = {
    "appended": (append, ["notes.csv (a file created: open in append)"]),
    "written anew": (lambda f: (f / "old.txt").write_text("y"), ["old.txt (a file changed: open in "]),
    "by its descriptor": (lambda f: os.close(os.open(f / "new", os.O_CREAT)), ["new (a file created: os.open in "]),
    "numpy": (lambda f: np.save(f / "x.npy", np.zeros(2)), ["x.npy (a file created: open in "]),
    "torch": (lambda f: torch.save({}, f / "x.pt"), ["x.pt (a file created: torch.save in "]),
    "removed": (lambda f: (f / "old.txt").unlink(), ["old.txt (a file removed: os.unlink in "]),
    "renamed": (rename, ["old.txt (a file removed: os.replace in rename)", "new.txt (a file created: os.replace in "]),
    "folders": (
        lambda f: os.makedirs(f / "a" / "b"),
        ["a (a file created: os.mkdir in ", "a/b (a file created: os.mkdir in "],
    ),
    "a link": (lambda f: (f / "link").symlink_to(f / "old.txt"), ["link (a file created: os.symlink in "]),
    "a database": (database, ["x.sqlite (a file created: sqlite3.connect in database)"]),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.txt").write_text("x")
    os.utime(tmp_path / "old.txt", (1, 1))  # a clock need not tell two writes apart
    return tmp_path


@pytest.mark.parametrize("name", WRITES)
def test_a_file_that_was_written_is_named_with_what_did_it(folder, name):
    act, told = WRITES[name]
    noted = Outside()
    with noted.noting():
        act(folder)
    found = noted.left()
    assert len(found) == len(told)
    assert all(one.startswith(str(folder / words)) for one, words in zip(found, told, strict=True))


def passing(folder):
    with tempfile.TemporaryDirectory(dir=folder) as inner:
        Path(inner, "x").write_text("1")


def in_another_thread(folder):
    thread = threading.Thread(target=append, args=[folder])
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    "act",
    [
        lambda f: (f / "old.txt").read_text(),
        lambda f: open("old.txt", "r+").close(),
        lambda f: open(os.devnull, "w").close(),
        lambda f: os.makedirs(f, exist_ok=True),
        passing,
        in_another_thread,
    ],
)
def test_what_is_only_read_or_comes_and_goes_is_no_trace(folder, act):
    noted = Outside()
    with noted.noting():
        act(folder)
    assert noted.left() == []


def test_what_a_compiler_writes_for_itself_is_none(folder):
    locked = types.FunctionType(append.__code__, {"__name__": "filelock", "csv": csv})
    call = (lambda function, folder: function(folder)).__code__
    noted = Outside()
    with noted.noting():
        types.FunctionType(call, {"__name__": "torch._inductor.codecache"})(locked, folder)
        (folder / "notes.csv").unlink()  # by the user, who didn't make it
        locked(folder)
    assert [one.rpartition("in ")[2] for one in noted.left()] == ["test_what_a_compiler_writes_for_itself_is_none)"]


def test_processes_and_connections_are_named():
    noted = Outside()
    with noted.noting():
        subprocess.run(["true"], check=True)
        with socket.socket() as one, pytest.raises(ConnectionRefusedError):
            one.connect(("127.0.0.1", 1))
        assert os.system("true") == 0
    first, second, third = noted.left()
    assert first.startswith("['true'] (Popen in ")
    assert second.startswith("('127.0.0.1', 1) (socket.connect in ")
    assert third.startswith("true (os.system in ")


def test_python_has_its_own_functions_again_and_nothing_else_is_noted(folder):
    before = [builtins.open, os.remove, torch.save, vars(socket.socket).get("connect"), subprocess.Popen.__init__]
    noted = Outside()
    with noted.noting(), noted.noting():
        assert builtins.open is not before[0]
    append(folder)
    with pytest.raises(ZeroDivisionError), noted.noting():
        raise ZeroDivisionError
    after = [builtins.open, os.remove, torch.save, vars(socket.socket).get("connect"), subprocess.Popen.__init__]
    assert all(x is y for x, y in zip(before, after, strict=True))
    assert noted.left() == []


def test_plain_range_test_names_what_the_loss_and_the_data_write(folder):
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            Path(f"{index}.txt").write_text("read")
            return torch.ones(2), torch.ones(1)

    def loss(model, batch):
        append(folder)
        return (model(batch[0]) - batch[1]).square().mean()

    model = nn.Linear(2, 1)
    loader = torch.utils.data.DataLoader(Data(), batch_size=4)
    with pytest.warns(UserWarning, match="can put back") as seen:
        range_test(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, loader, num_steps=20, max_lr=1.0)
    (words,) = [str(one.message) for one in seen if "can put back" in str(one.message)]
    assert f"{folder / 'notes.csv'} (a file created: open in append)" in words
    assert f"{folder / '3.txt'} (a file created: open in Data.__getitem__)" in words
