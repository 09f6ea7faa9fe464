"""Embed the chain in a program: stream one answer, then think again over edited notes.

python examples/embed.py IMAGE QUESTION
"""

import sys

import edge_et


def main(image: str, question: str) -> None:
    with edge_et.load("starter") as chain:
        for chunk in chain.stream(image, question):
            print(chunk.text, end="", flush=True)
        print()

        notes = chain.extract(image, question)
        answer = chain.think(notes, question)
        print(f"{answer.text} ({answer.timings.total_s:.2f} s, {answer.finish_reason})")


if __name__ == "__main__":
    main(*sys.argv[1:])
