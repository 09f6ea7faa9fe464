"""What the benchmark of the loops counts as ours, by a clock that only the test moves."""

from __future__ import annotations

import pytest

from edge_et_bench import loop


class _Clock:
    now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


class _Llama:
    """Each call of llama_decode takes a second."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock

    def llama_decode(self, tokens: int) -> int:
        self._clock.now_s += 1
        return tokens

    def llama_token(self) -> str:
        return "passed on"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def test_what_runs_between_is_neither_in_the_calls_nor_lost(clock: _Clock) -> None:
    turns: list[float] = []

    def between() -> None:
        turns.append(clock.now_s)
        clock.now_s += 100

    spans_s: list[float] = []
    paused = loop._Pausing(_Llama(clock), between, spans_s)
    assert [paused.llama_decode(tokens) for tokens in range(10)] == list(range(10))
    assert spans_s == [1.0] * 10
    assert turns == [4.0, 108.0]  # after each four tokens
    assert paused.paused_s == 200
    assert paused.llama_token() == "passed on"
