"""Settings side by side: every one is asked, a stopped run goes on, and the table compares."""

from __future__ import annotations

from edge_et_tuning.settings import DEFAULT, SETTINGS, Asked, ask_each, read, settings_table, write
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain

SEED = 940_000_000


def asked(setting: str, seed: int, right: bool, s: float, finish: str = "stop") -> Asked:
    return Asked(seed=seed, kind="same", setting=setting, right=right, finish=finish, looks=0, s=s)


def test_each_question_is_asked_with_each_setting_in_an_order_that_changes():
    chain = fake_chain(FakeExtractor(), FakeReasoner())
    questions = list(ask_each(chain, "scenes", 4, SEED, list(SETTINGS)))
    assert len(questions) == 4
    orders = {tuple(one.setting for one in question) for question in questions}
    assert len(orders) > 1
    assert all(sorted(order) == sorted(SETTINGS) for order in orders)
    assert all(len({one.seed for one in question}) == 1 for question in questions)


def test_settings_reach_the_call():
    extractor, reasoner = FakeExtractor(), FakeReasoner(answer=("Answer", ":", " missing"))
    chain = fake_chain(extractor, reasoner)
    list(ask_each(chain, "scenes", 1, SEED, ["effort none", "check"]))
    assert any("Answer directly" in text for text in reasoner.asked)
    assert any("step by step" in text for text in reasoner.asked)
    assert len(extractor.asked) == 3  # the check looks twice


def test_a_stopped_run_goes_on_where_it_was(tmp_path):
    chain, file = fake_chain(FakeExtractor(), FakeReasoner()), tmp_path / "settings.jsonl"
    names = [DEFAULT, "looks 0"]
    whole = [one for question in ask_each(chain, "scenes", 3, SEED, names) for one in question]
    for question in ask_each(chain, "scenes", 1, SEED, names):
        write(file, question)
    for question in ask_each(chain, "scenes", 3, SEED, names, skip=1):
        write(file, question)
    assert [(a.seed, a.setting, a.right) for a in read(file)] == [
        (a.seed, a.setting, a.right) for a in whole
    ]
    assert read(tmp_path / "none.jsonl") == []


def test_the_table_pairs_each_setting_with_the_default():
    rows = [
        asked(DEFAULT, 1, True, 0.1), asked(DEFAULT, 2, False, 0.1), asked(DEFAULT, 3, True, 0.2),
        asked("looks 0", 1, False, 0.2, "insufficient"), asked("looks 0", 2, True, 0.2),
        asked("looks 0", 3, True, 0.4),
    ]  # fmt: skip
    head, _, default, looks = list(settings_table(rows))
    cells = [cell.strip() for cell in looks.strip("|").split("|")]
    assert dict(zip([c.strip() for c in head.strip("|").split("|")], cells, strict=True)) == {
        "setting": "looks 0",
        "right": "2 of 3",
        "95 % Wilson": "66.7% [20.8%, 93.9%]",
        "gained": "1",
        "lost": "1",
        "wrong, and said so": "1",
        "looks": "0",
        "median s": "0.200",
        "95th percentile s": "0.560",  # of so few, beyond the largest
        "time, of the default's": "2.00",
    }
    assert "| 2 of 3 |" in default
