"""A table of replies as models write them, and what does not depend on the order of the options."""

from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparrow.evaluation.replies import Choice, read_choice

COLOURS = ["Red", "Blue", "Green", "Yellow"]
BALL = ["dunking a basketball", "dribbling a basketball", "passing a basketball"]

REPLIES = [
    # a letter and little else
    ("A", "A"),
    ("B.", "B"),
    ("(C)", "C"),
    ("(C) Green", "C"),
    ("C) Green", "C"),
    ("C: Green", "C"),
    ("C. Green", "C"),
    ("C - Green", "C"),
    ("C Green", "C"),
    ("C, Green", "C"),
    ("[D]", "D"),
    ("(B", "B"),
    ("B)", "B"),
    ("B) Blue", "B"),
    (" B \n", "B"),
    ("'B'", "B"),
    ("“B”", "B"),
    ("Option B", "B"),
    ("Option B.", "B"),
    ("option (B)", "B"),
    ("B\nBecause the car is seen from above.", "B"),
    ("B\n\nA is incorrect.", "B"),
    ("B\nA, C and D are incorrect.", "B"),
    ("**B**\n\nD is not shown.", "B"),
    ("B because the car is seen from above.", "B"),
    ("A, because the car is red.", "A"),
    ("A. The car is seen from above.", "A"),
    ("A is correct.", "A"),
    ("- B", "B"),
    ("B / Blue", "B"),
    # said to be the answer
    ("Answer: (B)", "B"),
    ("Answer: D", "D"),
    ("Answer:D", "D"),
    ("answer: D.", "D"),
    ("ANSWER: D", "D"),
    ("The answer is B", "B"),
    ("The best answer is C.", "C"),
    ("The best answer is: C", "C"),
    ("The correct answer is option C.", "C"),
    ("The correct option is (D) Yellow.", "D"),
    ("The correct answer to the question is B.", "B"),
    ("The correct choice among the four given options is (C).", "C"),
    ("The car is seen from above, so the answer is B", "B"),
    ("so the answer is B", "B"),
    ("I would choose C.", "C"),
    ("I'd go with option D.", "D"),
    ("I think it's B.", "B"),
    ("It must be C, since the grass moves.", "C"),
    ("Based on the video, the most likely answer would be A.", "A"),
    ("Option D is correct.", "D"),
    ("B is the correct answer.", "B"),
    ("(B) is right.", "B"),
    ("My final answer is A because it is red.", "A"),
    ("First I took it for A: the answer is A. Final answer: C", "C"),
    ("The answer is Green.", "C"),
    ("Answer: green", "C"),
    ("The answer is green, not the blue of the sky.", "C"),
    ("Best option: (B) Blue", "B"),
    ('{"answer": "B"}', "B"),
    ("<answer>B</answer>", "B"),
    ("<answer>\n(C) Green\n</answer>", "C"),
    ("The light changes twice.\n\nB", "B"),
    ("Option A shows a red car. Option C shows grass.\n\nAnswer: C", "C"),
    ("A. Red\nB. Blue\nC. Green\nD. Yellow\n\nAnswer: D", "D"),
    ("B. Blue\n\nExplanation:\n- Option A: Red - the car is not red.\n- Option C: Green - no grass.", "B"),
    ("**B**\n\nOption A: Red is seen in the sky only.", "B"),
    ("Answer:\n\n(B) Blue", "B"),
    ("Option C best describes the video.", "C"),
    ("B it is.", "B"),
    ("We see grass. Hence, C", "C"),
    ("B</s>", "B"),
    ("C<|im_end|>", "C"),
    ("B (Blue)", "B"),
    ("I would say the car is green", "C"),
    ("I, for one, think it is (B).", "B"),
    # Markdown, LaTeX, JSON, chat marks
    ("**C**", "C"),
    ("**C. Green**", "C"),
    ("The correct answer is **B**.", "B"),
    ("**Answer:** C", "C"),
    ("### Answer\nC", "C"),
    ("> C", "C"),
    ("`C`", "C"),
    ("__C__", "C"),
    ("*B*", "B"),
    (r"\boxed{C}", "C"),
    (r"So A cannot be. $\boxed{\text{C}}$", "C"),
    (r"\boxed{A}, no: \boxed{B}", "B"),
    (r"\[ \boxed{(D)} \]", "D"),
    (r"The answer is \(B\).", "B"),
    (r"\boxed{Green}", "C"),
    # thinking
    ("<think>A is wrong, C maybe</think>B", "B"),
    ("<think>The answer is A.\nOr D?</think>\n\nThe answer is D.", "D"),
    ("The answer is A, surely.</think>\nB", "B"),
    ("<thinking>B?</thinking> (C)", "C"),
    ("B\n<think>Is it A?\nNo.</think>", "B"),
    ("◁think▷A◁/think▷C", "C"),
    ("<think>The answer is B, I believe", None),
    ("<think></think>", None),
    # denied
    ("It is not A. The answer is D.", "D"),
    ("It is not A.", None),
    ("The answer is not A.", None),
    ("The answer is not A but B.", "B"),
    ("The answer isn't A, it's D.", "D"),
    ("A is wrong, B is right.", "B"),
    ("A is incorrect. B.", "B"),
    ("I don't think it's A. I'd go with C.", "C"),
    ("It can't be A, so it must be B.", "B"),
    ("A, not B", "A"),
    ("B rather than C", "B"),
    ("Neither A nor B.", None),
    ("Not A or B, but (C).", "C"),
    ("We can rule out A and B. C", "C"),
    ("Option A is not shown, option B is wrong, so option D.", "D"),
    ("The car is not red, it is blue.", "B"),
    ("The car is not red.", None),
    ("A? No, B.", "B"),
    ("Options A, B, and D are incorrect. C is correct.", "C"),
    ("It is not option A, B, or D, so it must be C.", "C"),
    ("Eliminate A, B and C, leaving D.", "D"),
    ("All except B", None),
    ("The video does not show (A), but (B)", "B"),
    # Chinese
    ("B。", "B"),
    ("Ｂ", "B"),
    ("（Ｃ）", "C"),
    ("答案是B", "B"),
    ("答案：C", "C"),
    ("正确答案是（D）。", "D"),
    ("正确答案为 B", "B"),
    ("我选择C，因为草是绿的。", "C"),
    ("选B", "B"),
    ("故选：D", "D"),
    ("因此，答案是B。", "B"),
    ("B选项是正确的", "B"),
    ("选项B", "B"),
    ("不是A，而是B。", "B"),
    ("不是A。", None),
    ("A错误，选B", "B"),
    ("答案不是A，应该选C", "C"),
    ("A和B", None),
    ("答案 B", "B"),
    ("A不对，B不对，C对", "C"),
    ("无法确定。", None),
    ("以上都不对", None),
    # the option's text
    ("Green", "C"),
    ("green", "C"),
    ("Green.", "C"),
    ("The car is green.", "C"),
    ("It is a green car", "C"),
    ("It is green or blue.", None),
    ("greenish", None),
    # two, none, beyond
    ("A and B", None),
    ("A or B", None),
    ("A, B", None),
    ("A/B", None),
    ("A B C D", None),
    ("It could be A or C.", None),
    ("A & C", None),
    ("A\nC", None),
    ("A C", None),
    ("(A) and (C)", None),
    ("The answer is A or B.", None),
    ("Both A and C are correct.", None),
    ("Either A or B.", None),
    ("It's either A or it's B", None),
    ("A or B is correct.", None),
    ("A. Red\nB. Blue\nC. Green\nD. Yellow", None),
    ("A. Red B. Blue C. Green D. Yellow", None),
    ("A. Green", None),
    ("The answer is A. The answer is B.", None),
    ("F", None),
    ("(E)", None),
    ("The answer is F.", None),
    ("E. Purple", None),
    ("", None),
    ("   \n", None),
    ("...", None),
    ("None of the above", None),
    ("None of the options A, B, C or D fits.", None),
    ("All of the above.", None),
    ("I cannot determine the answer from the video.", None),
    ("I'm sorry, but I can't see the video.", None),
    ("I don't know.", None),
    ("I'm not sure, probably B.", "B"),
    ("N/A", None),
    ("I cannot tell whether it is (A).", None),
    ("I can't see it well, but the answer is B.", "B"),
    ("I can't tell for sure, but I think B.", "B"),
    ("As an AI language model, I cannot watch videos.", None),
    # letters that are words or parts of names
    ("A cat is on the table", None),
    ("A person walks to the door.", None),
    ('A "stop" sign is seen.', None),
    ("Person A hits person B", None),
    ("The man does A first and then B", None),
    ("A man is dribbling a ball (B)", "B"),
    ("I think so.", None),
    ("I", None),
    ("The plan to take vitamin C works", None),
    ("He lives in Washington D.C. now", None),
    ("A T-shirt and an X-ray", None),
    ("It is 5 p.m. in the C++ course", None),
    ("A 3-year-old boy", None),
    ("Answer with the option's letter from the given choices directly.", None),
    ("Respond with only the letter (A, B, C, or D) of the correct option.", None),
    # a small letter counts alone or with its option's text, elsewhere if asked for
    ("b", "B"),
    ("(b)", "B"),
    (" c.", "C"),
    ("**d**", "D"),
    ("e", None),
    ("option d) yellow", "D"),
    ("d) yellow", "D"),
    ("b. blue", "B"),
    ("option d) red", None),
    ("a red car", "A"),
    ("answer: c", None),
    # taken back
    ("Answer: A. Wait, actually it is B.", "B"),
    ("A. Wait, no. It's B.", "B"),
    ("The answer is A. Hold on, the grass is shown first. The answer is C.", "C"),
    ("I first thought A, but actually B.", "B"),
    ("B. Sorry, I meant C.", "C"),
    ("Correction: D", "D"),
    ("A. I change my answer to C.", "C"),
    ("Answer: C. On second thought, it must be D.", "D"),
    ("A\n\nLet me reconsider. The car is green, so the answer is C.", "C"),
    ("Answer: A. Hmm, wait. A is correct.", "A"),
    ("Answer: A. Wait, is it B?", "A"),
    ("The answer is A. Actually, the sky is blue.", "A"),
    ("B. Actually, it is a blue car.", "B"),
    ("答案是A。等等，应该是B。", "B"),
    # said of what was looked at
    ("Based on the frames, C", "C"),
    ("Based on the video frames, C.", "C"),
    ("According to the video, B", "B"),
    ("Judging by the light, (D)", "D"),
    ("Given the frames shown, the answer is B.", "B"),
    ("From the video, A man walks", None),
    ("Based on the video, the car is green.", "C"),
    ("The best caption for the video is B.", "B"),
    ("The more suitable match for the video is (C) Green.", "C"),
    ("The most fitting description is D.", "D"),
    # Korean
    ("정답은 B입니다.", "B"),
    ("정답: C", "C"),
    ("답은 D", "D"),
    ("B가 정답입니다.", "B"),
    ("B번입니다", "B"),
    ("저는 C를 선택합니다.", "C"),
    ("선택지 D", "D"),
    ("A가 아니라 B입니다.", "B"),
    ("A는 틀렸고, 정답은 C입니다.", "C"),
    ("최종 정답은 D입니다.", "D"),
    ("알 수 없습니다.", None),
    ("A와 B", None),
    # Japanese
    ("答えはBです。", "B"),
    ("正解はC", "C"),
    ("正解：D", "D"),
    ("Bが正解です", "B"),
    ("Bを選びます", "B"),
    ("選択肢B", "B"),
    ("Aではなく、Bです。", "B"),
    ("Aは間違いで、正解はCです。", "C"),
    ("（Ｄ）", "D"),
    ("わかりません", None),
    ("申し訳ありませんが、動画を見ることができません。", None),
    # thoughts
    ("[THINK]A or B?[/THINK]B", "B"),
    ("<seed:think>A, I think.</seed:think>C", "C"),
    ("<reason>A</reason>\nB", "B"),
    ("<reasoning>The answer is A.</reasoning>D", "D"),
    ("<|begin_of_thought|>A?<|end_of_thought|>C", "C"),
    ("<|channel|>analysis<|message|>Maybe A.<|end|><|start|>assistant<|channel|>final<|message|>B", "B"),
    ("analysisWe see grass, so A is out.assistantfinalC", "C"),
    ("<|channel|>analysis<|message|>Maybe A", None),
    ("[THINK]It is A", None),
    ("<seed:think>B because", None),
]


# Written after what models of 2024 reply to TempCompass, whose published replies are read in docs/evaluation.md.
MOTION = ["leftward", "upward", "downward", "rightward"]
CAPTIONS = ["The man is dribbling a basketball.", "A man is dunking a basketball."]
SPEED = ["time-lapse", "normal speed", "slow motion"]
REASON = "This can be inferred from the way in which the things in the background change their places. " * 5
OF_LONG_REPLIES = [
    (f"The camera is moving leftward. {REASON}", MOTION, "A"),
    (f"The camera is moving rightward. {REASON}It is not moving upward.", MOTION, "D"),
    (f"The video is a time-lapse. {REASON}", SPEED, "A"),
    (f'The video is best described as "slow motion." {REASON}', SPEED, "C"),
    (f"The video shows a man on a ladder. {REASON}Things move upward.", MOTION, None),
    (f"The camera moves leftward or rightward. {REASON}", MOTION, None),
    (f"The camera does not move upward. {REASON}", MOTION, None),
    (f"The best option is: Caption B: A man is dunking a basketball. {REASON}", CAPTIONS, "B"),
    (f'The best caption for the video is "The man is dribbling a basketball." {REASON}', CAPTIONS, "A"),
    (f"B. A man is dunking a basketball.\n\n{REASON}", CAPTIONS, "B"),
    ("Neither.", CAPTIONS, None),
    ("Neither caption A nor caption B is correct.", CAPTIONS, None),
    ("It is impossible to tell from the given images.", CAPTIONS, None),
    ("D. downward", MOTION, None),
    ("C. downward", MOTION, "C"),
    ("C: downward.", MOTION, "C"),
]


@pytest.mark.parametrize(("reply", "options", "letter"), OF_LONG_REPLIES)
def test_a_long_reply_names_an_option_in_its_first_sentence_or_firmly(
    reply: str, options: list[str], letter: str | None
) -> None:
    assert read_choice(reply, options).letter == letter


def test_tags_of_ones_own_around_thoughts_are_named_by_setting() -> None:
    assert read_choice("<ponder>The answer is A.</ponder>It is blue", COLOURS).letter == "A"
    assert read_choice("<ponder>The answer is A.</ponder>It is blue", COLOURS, thinking_tags=["ponder"]).letter == "B"


@pytest.mark.parametrize(("reply", "letter"), REPLIES, ids=[repr(reply) for reply, _ in REPLIES])
def test_reply_is_read(reply: str, letter: str | None) -> None:
    assert read_choice(reply, COLOURS).letter == letter


@pytest.mark.parametrize(
    ("reply", "options", "letter"),
    [
        ("A man is dribbling a basketball (B)", BALL, "B"),
        ("A man is dribbling a basketball.", BALL, "B"),
        ("A. dunking a basketball", BALL, "A"),
        ("A dunking a basketball", BALL, "A"),
        ("dribbling a basketball", ["passing", *BALL], "C"),
        ("A cat", ["A dog", "A bird", "A cat"], "C"),
        ("Answer: A cat", ["A dog", "A bird", "A cat"], "C"),
        ("A cat is on the table", ["A dog", "A cat"], "B"),
        ("dark red", ["red", "dark red"], "B"),
        ("It looks dark red to me", ["red", "dark red"], "B"),
        ("moving from left to right", ["left to right", "moving from left to right"], "B"),
        ("Red", ["Red", "Blue", "Red"], None),
        ("5", ["15", "5", "5.5"], "B"),
        ("There are 5.5 of them", ["15", "5", "5.5"], "C"),
        ("-5", ["5", "-5"], "B"),
        ("Yes, there is no doubt.", ["yes", "no"], "A"),
        ("No, it is not.", ["yes", "no"], "B"),
        ("no", ["yes", "no"], "B"),
        ("US", ["us", "US"], "B"),
        ("None of the above", ["Red", "None of the above"], "B"),
        ("It cannot be determined.", ["Red", "Cannot be determined"], "B"),
        ("I", list("abcdefghij"), "I"),
        ("红色", ["红色", "蓝色"], "A"),
        ("这辆车是蓝色的", ["红色", "蓝色"], "B"),
        ("A", [], None),
    ],
)
def test_reply_about_other_options(reply: str, options: list[str], letter: str | None) -> None:
    assert read_choice(reply, options).letter == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("b", "B"),
        ("(b)", "B"),
        ("b. blue", "B"),
        ("answer: c", "C"),
        ("a cat is here", None),
        ("so a cat", None),
        ("e", None),
    ],
)
def test_small_letters_count_by_setting(reply: str, letter: str | None) -> None:
    assert read_choice(reply, COLOURS, lower_case=True).letter == letter


@pytest.mark.parametrize(
    ("reply", "labels", "letter"),
    [
        ("Option 2", ("Option 1: ", "Option 2: "), "B"),
        ("option 2: It is blue.", ("Option 1: ", "Option 2: "), "B"),
        ("The answer is Option 1.", ("Option 1: ", "Option 2: "), "A"),
        ("2", ("Option 1: ", "Option 2: "), "B"),
        ("Sentence B", ("Sentence A: ", "Sentence B: "), "B"),
        ("B", ("Sentence A: ", "Sentence B: "), "B"),
        ("a cat", ("A. ", "B. "), None),
    ],
)
def test_labels_of_the_prompt_name_options(reply: str, labels: tuple[str, ...], letter: str | None) -> None:
    assert read_choice(reply, COLOURS[:2], labels=labels).letter == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [("A", None), ("B.", None), ("(A)", None), ("The answer is A.", None), ("Yes", "A"), ("A: no, it is not.", "B")],
)
def test_letters_say_nothing_where_the_question_lists_no_options(reply: str, letter: str | None) -> None:
    assert read_choice(reply, ["yes", "no"], labels=None).letter == letter


ACTIONS = ["{} man runs", "{} man sits", "{} man jumps", "{} man swims"]


@pytest.mark.parametrize("article", ["A", "The"])
@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) {0} (B) {1} (C) {2} (D) {3}", None),
        ("A. {0}\nB. {1}\nC. {2}\nD. {3}", None),
        ("A: {0}. B: {1}. C: {2}. D: {3}.", None),
        ("Options: A. {0} B. {1} C. {2} D. {3} Answer: C", "C"),
        ("The answer is not A. {0}.", None),
        ("It is not A. {0}, but B. {1}", "B"),
        ("A. {0} is incorrect. B. {1} is correct.", "B"),
        ("A. {0} or B. {1}", None),
        ("B. {1} and C. {2}", None),
        ("B. {1}", "B"),
        ("{1}", "B"),
    ],
)
def test_options_that_begin_with_an_article_are_no_letters(article: str, reply: str, letter: str | None) -> None:
    options = [text.format(article) for text in ACTIONS]
    assert read_choice(reply.format(*options), options).letter == letter


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("", Choice(None, "empty")),
        ("<think>hm", Choice(None, "unfinished thinking")),
        ("B", Choice("B", "letter")),
        ("F", Choice(None, "beyond the options")),
        (r"\boxed{B}", Choice("B", "boxed")),
        ("<answer>B</answer>", Choice("B", "tagged")),
        ("green", Choice("C", "option text")),
        ("A. Green", Choice(None, "letter and text disagree")),
        ("Final answer: B", Choice("B", "final answer")),
        ("The answer is B.", Choice("B", "stated")),
        ("B. It is seen at once.", Choice("B", "leading")),
        ("The sky (B) it is", Choice("B", "hinted")),
        ("A car that is green", Choice("C", "option text inside")),
        ("A or B", Choice(None, "two options")),
        ("I cannot tell.", Choice(None, "refusal")),
        ("A cat", Choice(None, "nothing named")),
    ],
)
def test_rule_is_named(reply: str, choice: Choice) -> None:
    assert read_choice(reply, COLOURS) == choice


PHRASES = [
    "a red car",
    "the blue van",
    "a dog runs left",
    "two birds",
    "opening the door",
    "a man sits",
    "in the kitchen",
]
BY_TEXT = ["{}", "{}.", "**{}**", "The answer is {}.", "Answer: {}", "It shows {}", "<think>A or B</think>{}"]
BY_LETTER = ["{}", "({})", "{}.", "The answer is {}.", "**{}**", "\\boxed{{{}}}", "Option {}", "选{}"]
shuffled = st.permutations(PHRASES).map(lambda texts: texts[:5])


@settings(deadline=None)
@given(shuffled, st.data())
def test_permuting_the_options_permutes_the_letter_of_a_text(texts: list[str], data: st.DataObject) -> None:
    named = data.draw(st.sampled_from(texts))
    reply = data.draw(st.sampled_from(BY_TEXT)).format(named)
    permuted = data.draw(st.permutations(texts))
    assert read_choice(reply, texts).letter == ascii_uppercase[texts.index(named)]
    assert read_choice(reply, permuted).letter == ascii_uppercase[permuted.index(named)]


@settings(deadline=None)
@given(shuffled, st.data())
def test_permuting_the_options_leaves_a_letter_alone(texts: list[str], data: st.DataObject) -> None:
    letter = data.draw(st.sampled_from("ABCDE"))
    reply = data.draw(st.sampled_from(BY_LETTER)).format(letter)
    assert read_choice(reply, data.draw(st.permutations(texts))).letter == letter


@settings(deadline=None)
@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=5))
def test_any_reply_gives_an_option_or_none(reply: str, options: list[str]) -> None:
    letter = read_choice(reply, options).letter
    assert letter is None or letter in ascii_uppercase[: len(options)]
