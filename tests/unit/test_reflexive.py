"""Which tokens are reflexive words."""

from __future__ import annotations

from edge_et.reflexive import find_reflexive

PIECES = [
    b"wait", b" wait", b"Wait", b" WAIT", b" waiter", b"await", b"but", b" but", b"ton", b"ttwa",
    b" otherwise", b" Other", b"double-check", b"\tbut", b".but", b" ", b"", b"  but", b"\xc3",
    b" checked", b" hm", b"Hmm",
]  # fmt: skip


def spelled(ids):
    return {PIECES[token] for token in ids}


def test_whole_words_only():
    found = find_reflexive(len(PIECES), PIECES.__getitem__)
    spaced = {b" wait", b" WAIT", b" but", b" Other"}
    bare = {b"wait", b"Wait", b"but", b"double-check", b"Hmm"}
    assert spelled(found.masked(in_word=False)) == spaced | bare
    assert spelled(found.masked(in_word=True)) == spaced


def test_a_vocabulary_without_any():
    found = find_reflexive(2, [b"a", b"b"].__getitem__)
    assert len(found.anywhere) == len(found.spaced) == 0
