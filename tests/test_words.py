"""Texts are plain English: patterns that were mended everywhere stay out.

Sources are read as text: a pattern is found in docstrings, messages and comments alike, also where a line
ends in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("landscape", "trainers", "cli", "examples")
COUNTED = (
    "batch|block|case|cell|checkpoint|column|command|core|curve|dimension|draw|epoch|example|field|file|free|"
    "generation|header|image|kind|layer|leaf|level|line|measure|member|method|network|option|parameter|point|"
    "problem|quantity|replicate|row|run|seed|setting|step|tile|variant|weight"
)
THINGS = (
    "block|checkpoint|column|curve|dictionary|draw|entry|figure|folder|keyword|line|loss|module|number|panel|"
    "parameter|product|program|record|row|value"
)
MANY = "examples|generations|members|vectors|images|steps|seconds|minutes|epochs"
# What not to write, and what to write instead.
PATTERNS = {
    r"cannot be meant": "is invalid",
    r"\b(is|are) none of\b": "is not one of",
    rf"\bone ((flat|finite) )?(({THINGS}) )?an? ({COUNTED})\b(?! (of|from|that|which|in)\b)": "one … per …",
    rf"\b({MANY}) an? ({COUNTED})\b": "… per …",
    r"\ba (row|line|panel|section) each\b": "one … per …",
    r"\bfrom (one|two|three|four|five|ten) [a-z]+ on\b": "with … or more",
    r"\bnot one an? [a-z]+": "not one per …",
    r"\bto the (same )?bits?\b": "bit-identical",
    r"\bthe same bits\b": "bit-identical",
    r"\bbitwise the (same|level)\b": "bit-identical",
    r"\bcame to\b": "say what was reached",
    r"\bmeans to do so\b": "say what is returned",
    r"\bsomething to (take in|go on with)\b": "say what it is",
    r"\bhow far (it|they|he) ha(s|ve) come\b": "how much is finished",
    r"\bsays? too little\b": "is incomplete",
    r"\bsays? of itself\b": "name the field",
    r"\bnobody's (business|code)\b": "say what is not done",
    r"\bwhat (it|they) (is|are) made of\b": "name the inputs",
    r"\bis a good deal\b": "is large",
    r"\bso many (?!as\b|that\b)[a-z]+": "a number of …, or the number itself",
    r"\bof ours\b": "of landscape",
    r"\bnobody\b": "say what is not done",
    r"\bfor a single one shows\b": "say what a single one does",
    r"\bsays nothing about\b": "does not go with",
    r"\bwhich nothing ends\b": "say where it ends",
}
# Files of text, with the patterns that hold there already.
TEXTS = {
    "README.md": tuple(PATTERNS),
    "CONTRIBUTING.md": tuple(PATTERNS),
}


# Between two words: blanks, the end of a line with the mark of a comment, or of a string that goes on.
GAP = r'\s+(?:#\s+|"\s+[rf]*")?'
# The engine looks for a literal beginning ten times as fast as for a boundary in front of one.
COMPILED = {pattern: re.compile(pattern.removeprefix(r"\b").replace(" ", GAP)) for pattern in PATTERNS}


def faults_of(text: str, patterns: Iterable[str] = tuple(PATTERNS)) -> Iterator[str]:
    """Yield line, words found and words wanted for each pattern in a text."""
    text = text.lower()  # once: patterns that ignore case take three times as long
    for pattern in patterns:
        for found in COMPILED[pattern].finditer(text):
            if found.start() and text[found.start() - 1].isalnum():
                continue
            line = 1 + text.count("\n", 0, found.start())
            yield f"{line}: {found.group()!r}, write: {PATTERNS[pattern]}"


def sources() -> list[Path]:
    """Return all source files of the packages and examples."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_the_patterns_find_what_they_are_meant_for() -> None:
    riddles = (
        "If a setting cannot be meant.",
        "If it is none of `KINDS`.",
        "names: not one a network",
        "one keyword a setting",
        "a row each",
        "Examples a batch.",
        "one value an\n    example",
        "# one value\n    # a seed",
        'f"one line a " f"problem"',
        "goes on to the same bits",
        "intervals from five runs on",
        "what each start came to",
        "the first so many examples",
        "a bug of ours",
    )
    for text in riddles:
        assert list(faults_of(text)), text


def test_the_patterns_leave_plain_sentences_alone() -> None:
    plain = (
        "One value per example, in the order of the data.",
        "Return the weights of a layer and the loss in a batch.",
        "Generations per second; the host takes two steps at a time.",
        "The result is bit-identical; the seed is not one of those.",
    )
    for text in plain:
        assert not list(faults_of(text)), text


def test_a_fault_is_named_by_its_line() -> None:
    (found,) = faults_of("Plain.\n\nIf it cannot be meant.")
    assert found == "3: 'cannot be meant', write: is invalid"


def test_texts_of_the_packages_are_plain() -> None:
    faults = [
        f"{path.relative_to(ROOT)}:{fault}"
        for path in sources()
        for fault in faults_of(path.read_text(encoding="utf-8"))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", TEXTS)
def test_files_of_text_are_plain(name: str) -> None:
    faults = list(faults_of((ROOT / name).read_text(encoding="utf-8"), TEXTS[name]))
    assert not faults, "\n".join(faults)
