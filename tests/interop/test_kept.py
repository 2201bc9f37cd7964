"""Kept lists are those that reading gives, and no others: a change of a source makes them stale."""

import pytest

from coset.interop import kept, listing


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COSET_CACHE", str(tmp_path))
    return tmp_path / "listing.json"


def test_what_is_kept_is_what_reading_gives(cache, monkeypatch):
    first = kept.lists(list(listing.LISTS))
    assert cache.is_file()
    monkeypatch.setattr(kept, "LISTS", dict.fromkeys(listing.LISTS))  # nothing can be read any more
    assert kept.lists(list(listing.LISTS)) == first
    assert kept.lists(["tasks"]) == {"tasks": first["tasks"]}


def test_a_part_is_not_kept_as_the_whole(cache):
    kept.lists(["groups"])
    assert not cache.exists()


@pytest.mark.parametrize("content", ["", "{}", '{"key": "other", "lists": {}}', "[1]"], ids=["empty", "bare", "stale", "list"])
def test_what_is_stale_or_broken_is_read_again(cache, content):
    cache.write_text(content)
    assert kept.lists(["tasks"])["tasks"] == listing.tasks()


def test_a_change_of_a_source_changes_the_key(tmp_path, monkeypatch):
    for room in ("tasks", "models"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.py").write_text("x = 1\n")
    monkeypatch.setattr(kept, "ROOT", tmp_path)
    before = kept._key()
    assert kept._key() == before
    (tmp_path / "tasks" / "a.py").write_text("x = 12\n")
    changed = kept._key()
    (tmp_path / "models" / "b.py").write_text("")
    assert len({before, changed, kept._key()}) == 3


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COSET_CACHE", str(tmp_path / "file" / "below"))
    assert kept.lists(list(listing.LISTS))["tasks"] == listing.tasks()
