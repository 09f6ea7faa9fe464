"""Looking again over two fakes that follow a script: the cap, both notes, the focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
from PIL import Image, ImageDraw

from edge_et.closer import closer_region
from edge_et.config import GenerationConfig
from edge_et.errors import InputError
from edge_et.image import load_image
from edge_et.missing import may_become_missing, names_nothing_asked, said_missing
from edge_et.notes import look_heading
from edge_et.prompts import extraction_prompt
from tests.fakes import FakeExtractor, FakeReasoner, fake_chain, picture

QUESTION = "What colour is the star?"
MISSING = ("Missing", ":", " the light")


@dataclass
class Eyes(FakeExtractor):
    """Writes another text at each look; the last one again when they are used up."""

    texts: Sequence[str] = ("a star",)

    def stream(self, image, user_text, **settings):
        self.words = (self.texts[min(len(self.asked), len(self.texts) - 1)],)
        self.sizes.append(image.rgb.size)
        run = yield from super().stream(image, user_text, **settings)
        report = replace(run.image, used_height_px=16, used_width_px=24)
        return replace(run, image=report)

    sizes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Mind(FakeReasoner):
    """Gives another answer at each call; the last one again when they are used up."""

    answers: Sequence[Sequence[str]] = (("Answer", ":", " red"),)

    def stream(self, user_text, **settings):
        self.answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
        return (yield from super().stream(user_text, **settings))


def test_the_reasoner_says_what_is_missing_and_reads_both_notes():
    eyes = Eyes(texts=("a dark star", "a red light"))
    mind = Mind(answers=(MISSING, ("Answer", ":", " red")))
    stream = fake_chain(eyes, mind).stream(picture(), QUESTION)
    chunks = list(stream)
    answer = stream.result()
    assert (answer.text, answer.finish_reason, answer.missing) == ("red", "stop", None)
    assert eyes.asked == [
        extraction_prompt("the colour of the star"), extraction_prompt("the light"),
    ]  # fmt: skip
    assert f"a dark star\n{look_heading('the light')}\na red light" in mind.asked[1]
    assert answer.extraction.text == "a dark star"
    assert [look.text for look in answer.looks] == ["a red light"]
    assert [(c.text, c.look) for c in chunks if c.kind == "extraction"] == [
        ("a dark star", 0), ("a red light", 1),
    ]  # fmt: skip
    said = "".join(c.text for c in chunks if c.kind == "answer")
    assert said == "Answer: red", "what became no answer is not shown as one"
    assert answer.thinking == "One star.\n\nOne star."


def test_the_evidence_names_the_look_and_its_places_hold_in_the_whole_thinking():
    eyes = Eyes(texts=("a dark green star", "one bright star"))
    mind = Mind(
        thinking=("I see a dark green star, ", "and one bright star."),
        answers=(MISSING, ("Answer", ":", " bright")),
    )
    answer = fake_chain(eyes, mind).ask(picture(), QUESTION)
    texts = [answer.extraction.text, *(look.text for look in answer.looks)]
    assert [one.look for one in answer.evidence] == [0, 1]
    for one in answer.evidence:
        assert texts[one.look][one.start : one.end] == one.text
    used = [
        (one.look, answer.thinking[q.used_start : q.used_end])
        for one in answer.evidence
        for q in one.quotations
        if q.part == "thinking"
    ]
    assert used == [(0, "dark green star")] * 2 + [(1, "one bright star")] * 2


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_looks_are_capped_and_the_end_is_no_guess(looks):
    eyes = Eyes(texts=("a star",))
    mind = Mind(answers=[("Missing", ":", f" the {thing}") for thing in ("lamp", "cat", "dog")])
    answer = fake_chain(eyes, mind).ask(picture(), QUESTION, GenerationConfig(looks=looks))
    assert (len(eyes.asked), len(answer.looks)) == (1 + looks, looks)
    assert answer.finish_reason == "insufficient"
    assert answer.text == f"not seen: {answer.missing}"


def test_only_the_answer_may_ask_for_another_look():
    eyes = Eyes(texts=("a star",))
    mind = Mind(thinking=("Missing", ":", " the light"))
    assert fake_chain(eyes, mind).ask(picture(), QUESTION).text == "red"
    assert len(eyes.asked) == 1


def test_notes_that_name_nothing_asked_are_looked_at_again_before_thinking():
    eyes, mind = Eyes(texts=("a house", "a red star")), Mind()
    answer = fake_chain(eyes, mind).ask(picture(), QUESTION, GenerationConfig(focus="none"))
    assert [look.focus_phrase for look in answer.looks] == ["the colour of the star"]
    assert len(mind.asked) == 1
    assert eyes.asked[0] == extraction_prompt("")


def test_the_same_focus_is_not_tried_twice_but_closer():
    image = Image.new("RGB", (240, 160), "white")
    ImageDraw.Draw(image).rectangle((200, 20, 206, 26), fill="black")
    eyes = Eyes(texts=("a house", "a red star"))
    answer = fake_chain(eyes, Mind()).ask(image, QUESTION)
    region = answer.looks[0].region
    assert region is not None
    assert region.left < 200 / 240 < region.right
    assert region.top < 20 / 160 < region.bottom
    assert eyes.sizes[1][0] < 240 / 2 + 1
    assert answer.looks[0].image.notes[-1].startswith("rows ")


def test_an_image_that_was_seen_whole_is_not_looked_at_closer():
    image = load_image(Image.effect_noise((64, 48), 50).convert("RGB"))
    assert closer_region(image, (40, 53), "", "", []) is None
    assert closer_region(image, (12, 16), "", "", []) is not None


def test_a_place_that_the_notes_name_is_looked_at():
    image = load_image(picture())
    region = closer_region(image, (8, 12), "a sign in the lower left corner", "the sign", [])
    assert region is not None
    assert region.name == "the lower left part"
    grid = closer_region(image, (8, 12), "first a star at 1 9", "the star", [])
    assert grid is not None
    assert grid.name == "the upper right part"


def test_measuring_is_never_looked_at_again():
    eyes = Eyes(texts=("a house",))
    config = GenerationConfig(
        ignore_stop=True, think_budget_tokens=3, answer_budget_tokens=3, focus="none"
    )
    fake_chain(eyes, Mind()).ask(picture(), QUESTION, config)
    assert len(eyes.asked) == 1


@pytest.mark.parametrize("asked", [{"choices": ("red", "blue")}, {"form": "number"}])
def test_no_form_is_insisted_on_against_what_is_missing(asked):
    mind = Mind(answers=(MISSING, MISSING))
    config = GenerationConfig(looks=1, **asked)
    answer = fake_chain(Eyes(), mind).ask(picture(), QUESTION, config)
    assert (answer.text, answer.finish_reason) == ("not seen: the light", "insufficient")


@pytest.mark.parametrize("asked", [{"choices": ("red", "blue")}, {"form": "number"}])
@pytest.mark.parametrize("said", [MISSING, ("Answer", ":", " the light")])
def test_without_looks_a_form_is_always_held(asked, said):
    config = GenerationConfig(looks=0, **asked)
    answer = fake_chain(Eyes(), Mind(answers=(said,))).ask(picture(), QUESTION, config)
    assert answer.found == "constrained"
    assert answer.finish_reason != "insufficient"


def test_json_follows_its_schema_and_is_not_offered_to_say_what_is_missing():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    mind = Mind(answers=(tuple('{"n": 1}'),))
    answer = fake_chain(Eyes(), mind).ask(picture(), QUESTION, GenerationConfig(schema=schema))
    assert (answer.data, answer.missing) == ({"n": 1}, None)
    assert "missing" not in mind.asked[0].lower()


@pytest.mark.parametrize(("pause_s", "looks"), [(0.0, 1), (0.4, 0)])
def test_with_a_deadline_another_look_needs_half_of_it(pause_s, looks):
    eyes = Eyes(texts=("a house", "a red star"), pause_s=pause_s)
    config = GenerationConfig(focus="none", deadline_s=60.0 if looks else 0.6)
    answer = fake_chain(eyes, Mind()).ask(picture(), QUESTION, config)
    assert len(answer.looks) == looks


def test_a_model_without_marks_says_what_is_missing_in_place_of_its_answer():
    eyes = Eyes(texts=("a dark star", "a red light"))
    mind = Mind(
        has_think_marks=False,
        thinking=("One star.", "\n", "Missing", ":", " the light", "\n"),
        answers=((),),
    )
    answer = fake_chain(eyes, mind).ask(picture(), QUESTION)
    assert answer.missing == "the light"
    assert len(answer.looks) == 1
    assert answer.thinking.startswith("One star.")
    assert "Missing" not in answer.thinking


@pytest.mark.parametrize(
    ("answer", "notes", "missing"),
    [
        ("Missing: the star.", "", "the star"),
        ("So.\n**Missing:** the *star*", "", "the *star"),
        ("Answer: Missing: x", "", "x"),
        ("Missing: x\nAnswer: red", "", None),
        ("Answer: not in the description", "", ""),
        ("Answer: Missing: one cat", "a poster: MISSING: one cat", None),
        ("Answer: the missing cat", "", None),
    ],
)
def test_what_an_answer_says_is_missing(answer, notes, missing):
    assert said_missing(answer, notes) == missing


def test_an_answer_is_held_back_only_while_it_may_become_none():
    assert all(may_become_missing("Missing: the star"[:n]) for n in range(18))
    assert all(may_become_missing("Answer: Miss"[:n]) for n in range(13))
    assert not may_become_missing("Answer: r")
    assert not may_become_missing("The")


def test_the_floor():
    assert names_nothing_asked(QUESTION, "short", "a house")
    assert not names_nothing_asked(QUESTION, "short", "two stars")
    assert not names_nothing_asked("Is there a star?", "short", "a house")
    assert not names_nothing_asked("Is there a star? (A) yes (B) no", "choice", "a house")
    assert not names_nothing_asked("Stars in it", "number", "a house")
    assert not names_nothing_asked("What colour is the object furthest left?", "short", "a house")


@pytest.mark.parametrize(
    ("written", "phrase", "source"),
    [
        (" the colour of the star", "the colour of the star", "reasoner"),
        (" the red star", "the colour of the star", "question"),
        (" a house", "the colour of the star", "question"),
    ],
)
def test_a_bad_phrase_of_the_reasoner_gives_way_to_the_rule(written, phrase, source):
    eyes = Eyes(texts=("a star",))
    mind = Mind(answers=((written,), ("Answer", ":", " red")))
    answer = fake_chain(eyes, mind).ask(picture(), QUESTION, GenerationConfig(focus="reasoner"))
    assert eyes.asked == [extraction_prompt(phrase)]
    assert answer.extraction.focus_source == source
    assert bool(answer.extraction.notes) is (source == "question")
    assert answer.text == "red"


def test_options_never_reach_the_prompt_of_the_focus():
    mind = Mind(answers=((" the star",), ("Answer", ":", " A")))
    question = f"{QUESTION} (A) red (B) blue"
    fake_chain(Eyes(), mind).ask(picture(), question, GenerationConfig(focus="reasoner"))
    assert "blue" not in mind.asked[0]


def test_own_words_are_taken_as_they_are():
    eyes = Eyes(texts=("a star",))
    answer = fake_chain(eyes, Mind()).ask(picture(), QUESTION, GenerationConfig(focus="its tips"))
    assert answer.extraction.focus_phrase == "its tips"
    assert answer.extraction.focus_source == "given"


@pytest.mark.parametrize("wrong", [{"focus": " "}, {"looks": -1}])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError):
        GenerationConfig(**wrong)
