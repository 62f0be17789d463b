"""The words in which questions are put: wordings of each kind, and the wrappers that make instructions diverse."""

from __future__ import annotations

# Wording 0 is the one that clips, pages and benchmarks share. The last two of a kind are never trained on, so that a
# benchmark can ask in unseen words.
PHRASINGS: dict[str, tuple[str, ...]] = {
    "colour": (
        "What colour is the {shape}?",
        "Which colour does the {shape} have?",
        "The {shape} is of which colour?",
        "Name the colour of the {shape}.",
        "Tell me what colour the {shape} is.",
        "In which colour does the {shape} appear?",
        "Look for the {shape}. What is its colour?",
        "Of the colours here, which one belongs to the {shape}?",
        "Give the colour of the {shape}.",
        "The {shape}: what is its colour?",
    ),
    "shape": (
        "What shape is the {colour} one?",
        "Which shape does the {colour} one have?",
        "The {colour} one is of which shape?",
        "Name the shape of the {colour} one.",
        "Tell me what shape the {colour} one is.",
        "In which shape does {colour} appear?",
        "Look for the {colour} one. What is its shape?",
        "Of the shapes here, which one is {colour}?",
        "Give the shape of the {colour} one.",
        "The {colour} one: what is its shape?",
    ),
    "direction": (
        "Which way does the {colour} {shape} move?",
        "Where does the {colour} {shape} move?",
        "The {colour} {shape} moves which way?",
        "Name the direction of the {colour} {shape}.",
        "Tell me which way the {colour} {shape} moves.",
        "In which direction does the {colour} {shape} move?",
        "Look for the {colour} {shape}. What is its direction?",
        "Left, right, up or down: where does the {colour} {shape} move?",
        "Give the direction of the {colour} {shape}.",
        "The {colour} {shape}: what is its direction?",
    ),
    "count": (
        "How often does {thing} appear?",
        "How many times does {thing} appear?",
        "Count how often {thing} appears.",
        "Name the number of times that {thing} appears.",
        "Tell me how many times {thing} appears.",
        "What is the number of times that {thing} appears?",
        "Look for {thing}. How often is it here?",
        "Zero, one, two or three: how often does {thing} appear?",
        "Give the number of times that {thing} appears.",
        "Look for {thing}: how many times does it appear?",
    ),
    "first": (
        "What {attribute} comes first?",
        "Which {attribute} appears first?",
        "The first one is of which {attribute}?",
        "Name the {attribute} that comes first.",
        "Tell me what {attribute} comes first.",
        "With which {attribute} does it begin?",
        "Look for the first one. What is its {attribute}?",
        "Of all that comes, what is the {attribute} of the first one?",
        "Give the {attribute} of the first one.",
        "The first one: what is its {attribute}?",
    ),
    "last": (
        "What {attribute} comes last?",
        "Which {attribute} appears last?",
        "The last one is of which {attribute}?",
        "Name the {attribute} that comes last.",
        "Tell me what {attribute} comes last.",
        "With which {attribute} does it end?",
        "Look for the last one. What is its {attribute}?",
        "Of all that comes, what is the {attribute} of the last one?",
        "Give the {attribute} of the last one.",
        "The last one: what is its {attribute}?",
    ),
    "before": (
        "What {attribute} comes right before {thing}?",
        "Which {attribute} appears right before {thing}?",
        "Right before {thing} comes which {attribute}?",
        "Name the {attribute} that comes right before {thing}.",
        "Tell me what {attribute} comes right before {thing}.",
        "By which {attribute} is {thing} preceded?",
        "Look for {thing}. What {attribute} does it follow?",
        "Of all that comes, what is the {attribute} of the one right before {thing}?",
        "Give the {attribute} of the one right before {thing}.",
        "The one right before {thing}: what is its {attribute}?",
    ),
    "after": (
        "What {attribute} comes right after {thing}?",
        "Which {attribute} appears right after {thing}?",
        "Right after {thing} comes which {attribute}?",
        "Name the {attribute} that comes right after {thing}.",
        "Tell me what {attribute} comes right after {thing}.",
        "By which {attribute} is {thing} followed?",
        "Look for {thing}. What {attribute} does it precede?",
        "Of all that comes, what is the {attribute} of the one right after {thing}?",
        "Give the {attribute} of the one right after {thing}.",
        "The one right after {thing}: what is its {attribute}?",
    ),
    "exists": (
        "Does a {colour} {shape} appear?",
        "Is there a {colour} {shape}?",
        "Is a {colour} {shape} among them?",
        "Say whether a {colour} {shape} appears.",
        "Tell me whether there is a {colour} {shape}.",
        "Can a {colour} {shape} be found here?",
        "Look for a {colour} {shape}. Does it appear?",
        "Yes or no: is there a {colour} {shape}?",
        "Find out whether a {colour} {shape} appears.",
        "A {colour} {shape}: is it here?",
    ),
    "where": (
        "Is the {colour} {shape} {sides}?",
        "Where is the {colour} {shape}, {sides}?",
        "The {colour} {shape} is {sides}?",
        "Name the place of the {colour} {shape}: {sides}?",
        "Tell me where the {colour} {shape} is: {sides}?",
        "In which place is the {colour} {shape}: {sides}?",
        "Look for the {colour} {shape}. Is it {sides}?",
        "Which place has the {colour} {shape}: {sides}?",
        "Give the place of the {colour} {shape}: {sides}?",
        "The {colour} {shape}: is it {sides}?",
    ),
}
NUM_PHRASINGS = 10
NUM_TRAINED_PHRASINGS = 8

# What surrounds a question in the instruction of an event text.
WRAPPERS = (
    "{}",
    "{} Answer in one word.",
    "Please answer this question. {}",
    "Read all of it again and answer: {}",
    "{} One word is enough.",
)
NUM_TEXT_TEMPLATES = NUM_TRAINED_PHRASINGS * len(WRAPPERS)

CAPTION_REQUESTS = ("Describe the video in detail.", "What happens in the video?")

BOOK_TITLES = ("The Quiet Morning", "A Walk at Night", "Songs of the Hill", "The Old Garden", "Tales of a Window")
