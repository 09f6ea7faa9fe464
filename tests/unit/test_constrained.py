"""Writing under a grammar, by llama.cpp's own grammar sampler and a model without opinion."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_et.closing import fresh, least, rest
from edge_et.number_range import is_number, number_rule
from edge_et.schema import shape_of
from edge_et.shapes import Number, Words
from tests.held import Spelling, written

jsonschema = pytest.importorskip("jsonschema")

BUDGETS = st.sampled_from([0, 1, 3, 8, 20, 60, 300])
SEEDS = st.integers(0, 10_000)


def bounded(
    low: str, high: str, values: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """A schema's two bounds, each there or not, in order."""
    pair = st.tuples(values, values).map(sorted)
    return st.tuples(pair, st.sampled_from([(), (low,), (high,), (low, high)])).map(
        lambda drawn: {n: drawn[0][n == high] for n in drawn[1]}
    )


LEAVES = st.one_of(
    bounded("minLength", "maxLength", st.integers(0, 12)).map(lambda b: {"type": "string"} | b),
    bounded("minimum", "maximum", st.integers(-250, 1300)).map(lambda b: {"type": "integer"} | b),
    bounded("minimum", "maximum", st.decimals(-30, 30, places=2).map(float)).map(
        lambda b: {"type": "number"} | b
    ),
    st.lists(
        st.one_of(st.text(max_size=4), st.integers(-20, 20), st.none(), st.booleans()),
        min_size=1,
        max_size=4,
    ).map(lambda values: {"enum": values}),
    st.just({"type": "boolean"}),
    st.just({"type": ["integer", "null"], "minimum": 3}),
)


def nested(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["a", "ab", 'q"', "é", "shape"])
    objects = st.dictionaries(names, st.tuples(inner, st.booleans()), min_size=1, max_size=4).map(
        lambda members: {
            "type": "object",
            "properties": {name: schema for name, (schema, _) in members.items()},
            "required": [name for name, (_, required) in members.items() if required],
        }
    )
    arrays = st.tuples(inner, bounded("minItems", "maxItems", st.integers(0, 4))).map(
        lambda drawn: {"type": "array", "items": drawn[0]} | drawn[1]
    )
    rows = st.lists(inner, min_size=1, max_size=3).map(
        lambda items: {"type": "array", "prefixItems": items}
    )
    unions = st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options})
    return st.one_of(objects, arrays, rows, unions)


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=6)


@settings(max_examples=100, deadline=None)
@given(schema=SCHEMAS, seed=SEEDS, budget=BUDGETS)
def test_every_answer_is_valid_and_keeps_its_budget(schema, seed, budget):
    held, text, _, tokens = written(shape_of(schema), seed=seed, budget_tokens=budget)
    assert text.lstrip() == held.text
    jsonschema.validate(json.loads(held.text), schema)
    assert tokens <= budget


@settings(max_examples=100, deadline=None)
@given(schema=SCHEMAS, seed=SEEDS, room=st.integers(0, 40))
def test_a_full_context_closes_the_text(schema, seed, room):
    held, _, model, _ = written(shape_of(schema), seed=seed, budget_tokens=500, room=room)
    jsonschema.validate(json.loads(held.text), schema)
    assert model.room_tokens >= 0


@settings(max_examples=60, deadline=None)
@given(schema=SCHEMAS, seed=SEEDS, cut=st.floats(0, 1))
def test_any_beginning_can_be_closed(schema, seed, cut):
    shape = shape_of(schema)
    held, _, _, _ = written(shape, seed=seed, budget_tokens=300)
    begun = held.text[: int(cut * len(held.text))]
    missing = rest(shape, begun) if begun else fresh(shape)
    assert missing is not None
    # a shape that is left may still read what came before it as its own beginning
    whole = begun + "".join(p if isinstance(p, str) else least(p) for p in missing)
    jsonschema.validate(json.loads(whole), schema)


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30).filter(
            lambda text: text == text.strip()
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    seed=SEEDS,
    budget=BUDGETS,
)
def test_a_choice_is_always_one_of_the_options(words, seed, budget):
    shape = Words(spellings=tuple(words))
    held, _, _, tokens = written(shape, seed=seed, budget_tokens=budget)
    assert held.text in words
    assert tokens <= budget


def test_every_option_can_be_chosen():
    shape = Words(spellings=("A", "B", "AB", "a red star"))
    chosen = {written(shape, seed=seed, budget_tokens=30)[0].text for seed in range(120)}
    assert chosen == {"A", "B", "AB", "a red star"}


def test_with_budget_enough_the_model_ends_the_text_itself():
    shape = shape_of({"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]})
    held, _, model, tokens = written(shape, seed=1, budget_tokens=100)
    assert held.by_itself
    assert (len(model.read), model.sampled) == (tokens, tokens + 1)
    held, _, model, _ = written(shape, seed=1, budget_tokens=0)
    assert (held.by_itself, held.text, model.read) == (False, '{"n": 1}', [])


def test_what_is_no_utf8_is_not_taken():
    """llama.cpp's grammar looks at the low bits of a byte only."""
    shape = Words(spellings=("\u00a1", "\u0840"))
    for seed in range(60):
        assert written(shape, seed=seed, budget_tokens=3)[0].text in shape.spellings


def test_the_model_reads_all_that_is_written_where_the_budget_holds_what_must_come():
    item = {"type": "object", "properties": {"shape": {"enum": ["ring", "star"]}}}
    item["required"] = ["shape"]
    shape = shape_of({"type": "array", "items": item})
    for seed in range(30):
        held, _, model, _ = written(shape, seed=seed, budget_tokens=60)
        read = b"".join(Spelling().piece(token) for token in model.read).decode()
        assert read.lstrip() == held.text


def test_values_are_not_asked_for_behind_keys_that_were_not_read():
    schema = {"type": "object", "properties": {"a long name": {"enum": [1, 2]}}}
    shape = shape_of(schema | {"required": ["a long name"]})
    held, _, model, _ = written(shape, seed=2, budget_tokens=2)
    assert (held.text, model.sampled) == ('{"a long name": 1}', 0)
    assert model.read == list(Spelling().tokens("{"))


def test_closing_leaves_values_to_the_model_as_long_as_it_can():
    """Keys are written for it, numbers are its own."""
    properties = {name: {"type": "integer", "minimum": 0, "maximum": 9} for name in "abc"}
    shape = shape_of({"type": "object", "properties": properties, "required": list("abc")})
    budget = len(Spelling().tokens('{"a": , "b": , "c": }')) + 6
    seen = {written(shape, seed=seed, budget_tokens=budget)[0].text for seed in range(20)}
    assert len(seen) > 10


@settings(max_examples=200, deadline=None)
@given(
    bounds=st.tuples(st.integers(-2000, 2000), st.integers(-2000, 2000)).map(sorted),
    decimals=st.integers(0, 2),
    value=st.integers(-2100, 2100),
    seed=SEEDS,
)
def test_ranges_hold_just_their_numbers(bounds, decimals, value, seed):
    from decimal import Decimal

    from edge_et.grammar import gbnf
    from edge_et.llama_grammar import Grammar
    from tests.held import vocabulary

    low, high = (Decimal(bound).scaleb(-decimals) for bound in bounds)
    number = Number(low=low, high=high, decimals=decimals)
    text = f"{Decimal(value).scaleb(-decimals):.{decimals}f}"
    grammar = Grammar(vocabulary().vocab, gbnf(number))
    allowed = True
    for token in Spelling().tokens(text):
        allowed = allowed and grammar.allows(token)
        if allowed:
            grammar.accept(token)
    stop = next(t for t in range(vocabulary().vocab_size) if vocabulary().is_stop(t))
    allowed = allowed and grammar.allows(stop)
    grammar.close()
    inside = bounds[0] <= value <= bounds[1]
    assert allowed == is_number(number, text) == inside


@pytest.mark.parametrize("bound", ["-0.11", "0.11", "-2.5"])
def test_a_range_of_one_number_lets_no_other_beginning_through(bound: str) -> None:
    """With one decimal there is no number between -0.11 and -0.11, and "-" once began one."""
    number = Number(low=Decimal(bound), high=Decimal(bound), decimals=3)
    assert "()" not in number_rule(number).replace(" ", "")
    texts = {written(number, seed=seed, budget_tokens=20)[0].text for seed in range(5)}
    assert all(is_number(number, text) for text in texts)
