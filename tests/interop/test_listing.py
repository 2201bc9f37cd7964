"""Lists are read from the source, so they must say what importing would say."""

import ast
import importlib

import pytest

from coset.groups.group import Family
from coset.interop import listing
from coset.reps.fields import Field


def test_every_listed_group_exists_and_acts():
    entries = listing.groups()
    assert {entry.name.partition("(")[0] for entry in entries} >= {
        "C",
        "D",
        "S",
        "SO",
        "O",
        "E",
        "SE",
        "GL",
        "SL",
        "Scale",
        "T",
    }
    for entry in entries:
        found = getattr(importlib.import_module(entry.place), entry.name.partition("(")[0])
        assert not isinstance(found, type) or issubclass(found, Family), entry


def test_every_listed_word_is_a_kind():
    words = [entry.name for entry in listing.reps() if "(" not in entry.name]
    assert {"scalar", "vector", "position", "image"} <= set(words)
    for word in words:
        assert Field.of(f"N x {word}").kind is not None


@pytest.mark.parametrize("what", list(listing.LISTS))
def test_every_entry_says_what_it_is(what):
    entries = listing.LISTS[what]()
    assert entries
    mute = [f"{entry.place}: {entry.name}" for entry in entries if not entry.summary and what != "methods"]
    assert not mute


def test_listed_models_exist_and_promise():
    entries = listing.models()
    for entry in entries:
        assert hasattr(importlib.import_module(entry.place), entry.name.partition("(")[0])
    promising = [entry for entry in entries if entry.contracts]
    assert len(promising) > len(entries) / 2


def test_listed_tasks_are_those_that_run():
    names = [entry.name for entry in listing.tasks()]
    assert names == listing.task_names()
    for entry in listing.tasks():
        task = importlib.import_module(entry.place).task
        assert task.methods
        assert entry.contracts, f"{entry.name}: a task's docstring says its contract"
        spelled = [e.name.removeprefix(f"{entry.name}: ") for e in listing.methods() if e.place == entry.place]
        assert len(spelled) <= len(task.methods) + 1


def test_outlines_list_what_whole_sources_would(monkeypatch):
    """The short cut that leaves function bodies out changes nothing."""
    short = {name: make() for name, make in listing.LISTS.items()}
    monkeypatch.setattr(listing, "outline", lambda path, keep: ast.parse(path.read_text()))
    assert short == {name: make() for name, make in listing.LISTS.items()}
