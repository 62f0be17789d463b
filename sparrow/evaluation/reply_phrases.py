"""The phrases in which models state, hint at, deny and refuse answers, as patterns: English, Chinese, Japanese, Korean.

Patterns named `..._BEFORE` end where an option is named, those named `..._AFTER` begin behind it. They meet text in
Unicode's NFKC form, so that full-width letters, brackets and colons need no mention.
"""

from __future__ import annotations

import re
from functools import cache


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.VERBOSE | re.IGNORECASE)


# Names of tags around thoughts, <think> or [THINK]: also of Seed-OSS and Magistral.
THINKING_TAGS = ("think", "thinking", "thought", "thoughts", "reason", "reasoning", "seed:think")


@cache
def thinking(further_tags: tuple[str, ...] = ()) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Patterns of whole thoughts, of their end and of their begin, for the known tags, further ones and Harmony.

    A tokenizer that leaves special tokens out writes Harmony's channels as `analysis...assistantfinal...`.
    """
    tags = "|".join(map(re.escape, (*THINKING_TAGS, *further_tags)))
    ends = rf"</(?:{tags})>|\[/(?:{tags})\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>\s*final\s*<\|message\|>"
    starts = rf"<(?:{tags})>|\[(?:{tags})\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>\s*(?:analysis|commentary)\b"
    plain = r"\A\s*analysis(?s:.*)assistant\s*final(?=[^a-z]|(?-i:[A-Z]))"
    return _words(rf"(?:{starts})(?s:.*?)(?:{ends})"), _words(rf"{ends}|{plain}"), _words(starts)


SPECIAL_TOKENS = _words(r"think|thought|reason|channel|message")  # kept where they mark thoughts
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
TAGGED = _words(r"<answer>((?s:.*?))(?:</answer>|$)")
LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
MARKUP = re.compile(r"\*+|`+|\b_+|_+\b|(?m:^[ \t]*[#>]+[ \t]*)|\$|\\[()\[\]]|<\|[^|<>]*\|>|</?s>")
LABELLED = re.compile(r"\W*(?:[Oo]ption\s+|[Cc]hoice\s+)?([A-Z](?:\s*[.):,-]+\s*|\s+)|[a-z]\s*[.):]\s*)(.+)", re.DOTALL)

# A letter by itself: not in a word, an abbreviation (D.C.), a compound (T-shirt) or a question (A?).
LETTER = re.compile(
    r"(?<![A-Za-z0-9'’_&+-])(?<![A-Za-z]\.)[A-Za-z](?![A-Za-z0-9_+#%])(?!['’][A-Za-z])(?![.-][A-Za-z])(?!\s*[\"')\]]*\?)"
)
# What may follow a letter that is an answer: "A cat" and "I think" begin sentences.
CLOSED_AFTER = _words(
    r"""["'”’)\]}>]* \s* (?:$|\n|[.,:;!|/&=)–—-]|[。、」]|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3]
    |(?:because|since|as|for|due|based|which|is|isn['’]t|was|according|given|considering|seems|appears|would|must|but
    |so|and|or|not|rather|instead|here)\b)"""
)

_OPEN = r"""[\s"'“‘「(\[{<]*(?:(?:an?|the)\s+)?["'“‘(\[]*$"""
_NOUN = r"(?:answer|option|choice|response|selection|letter|caption|sentence|statement|description|match)"
_QUALITY = r"(?:correct|right|best|true|accurate|most\s+(?:likely|accurate|appropriate|suitable|fitting))"
_IS = r"(?:(?:is|was|be|seems\s+to\s+be|appears\s+to\s+be)\b|['’]s\b|[:=–—-]>?|→)"
_HEDGE = r"(?:(?:most\s+likely|likely|probably|clearly|definitely|therefore|thus|simply|indeed|just)\s+)*"

FINAL_BEFORE = _words(
    rf"""(?:\bfinal\s+{_NOUN}|最终(?:答案|选项)|最終的?な?(?:答え|回答|解答)|최종\s*(?:정답|답))
    [\w\s]{{0,40}}?(?:{_IS}|是|为|は|은)\s*:?\s*(?:{_NOUN}\s*:?)?{_OPEN}"""
)
STATED_BEFORE = _words(
    rf"""(?: \b{_NOUN}["'”]?(?:\s+[\w'’]+){{0,8}}?\s*{_IS}\s*:?
           | \b(?:choose|chose|chosen|choosing|pick|picked|picking|select|selected|selecting|go(?:ing)?\s+with|opt\s+for
               |answer\s+with|settle\s+on):?
           | (?:答案|选项)\s*(?:应该|应当|应|就)?\s*(?:是|为|选|:)?\s*:?
           | (?<![不可能])选择?\s*:?
           | (?:答え|正解|解答|回答)\s*(?:は|:)?\s*:? | (?:정답|답변?)\s*(?:은|는|:)?\s*:?
         )\s*{_HEDGE}(?:(?:the\s+)?(?:{_QUALITY}\s+)?{_NOUN}\s*:?|选项|答案|選択肢|선택지|보기)?{_OPEN}"""
)
STATED_AFTER = _words(
    rf"""["'”’)\]]*\s*(?:选项)?\s*
    (?:(?:is|was|seems|appears|looks|would\s+be|must\s+be)\s+(?:to\s+be\s+)?(?:(?:the|my)\s+)?(?:one\s+|final\s+)?
       (?:{_QUALITY}|{_NOUN})\b
      |(?:是|最|是最)?(?:正确|对(?!应|于)|符合|合适)
      |[がを]\s*(?:最も)?(?:正解|正しい|答え|適切|選)|(?:번\s*)?[이가을를]\s*(?:가장\s*)?(?:정답|답|맞|옳|적절|선택|고르|고릅))"""
)
LINE_BEFORE = re.compile(r"(?:^|\n|[.!?:;。]\s)[\s\"'“‘(\[•-]*$")
LINE_AFTER = re.compile(r"[\"'”’)\].。!]*\s*(?:$|\n)")
# Behind these an option's text in a long reply proves nothing: the first sentence is over, or denies.
NOT_SAID_BEFORE = re.compile(r"[.!?。]\s|\n|\b(?:not|never|neither|no|without)\b|n['’]t\b", re.IGNORECASE)
LEADING_BEFORE = _words(rf"^[^\w]*{_OPEN}")
TEXT_LEADING_AFTER = re.compile(r"[\"'”’)\]]*\s*(?:$|[.,:;!\n。])")
HINTED_BEFORE = _words(
    rf"""(?:\b(?:is|it['’]s|be|meant?|think|believe|guess|say|probably|likely|definitely|so|thus|hence|therefore|but|rather|maybe
    |perhaps|either|both|{_NOUN})|\b(?:no|yes|well|okay|so|thus|hence|therefore|leaving),?|=>|->|[:→是]|选项|選択肢|선택지|보기|아니라|(?:では|じゃ)なく、?
    |(?:^|[.!?\n]\s*)(?:based\s+on|according\s+to|given|considering|judging\s+(?:by|from)|looking\s+at|from)\b
        [^.!?\n]{{0,90}},)\s*{_OPEN}"""
)
OPTION_BEFORE = re.compile(r"\b(?:[Oo]ption|[Cc]hoice)\s*[\"'(\[]*$")
BRACKET_BEFORE = re.compile(r"[(\[]\s*$")
BRACKET_AFTER = re.compile(r"\s*[)\]]")
SEPARATOR = re.compile(r"[\"')\]]*\s*[.:,–—-]*\s*[\"'(]?(?:(?:an?|the)\s+)?", re.IGNORECASE)
LISTED = re.compile(r"[\"')\]]*[.,;]?\s*[•(\[-]*")
JOINT = re.compile(
    r"[\s\"')\].]*(?:,|,?\s*\band/or\b|,?\s*\band\b|,?\s*\bor\b|,?\s*\bnor\b|&|/|、|和|或者?|与|と|または|[와과]|또는)\s*(?:[Oo]ption\s+)?[\"'(\[\s]*"
)

_FILLER = rf"""(?:\s*\b(?:think|believe|say|that|it|it['’]s|this|is|are|be|been|the|an?|either|my|likely|necessarily
    |really|actually|of|to|going|with|choose|pick|select|show|match|fit|{_NOUN}|{_QUALITY})\b)*"""
DENIED_BEFORE = _words(
    rf"""(?:\b(?:no|not|never|neither|nor|cannot|without|except|excluding|excluded?|eliminat(?:e[sd]?|ing)|discard(?:ed)?
        |reject(?:ed)?|instead\s+of|rather\s+than|unlike|rul(?:e[sd]?|ing)\s+out)|n['’]t){_FILLER}{_OPEN}
    |\b(?:wrong|incorrect|false)\s+{_NOUN}\s*(?:is|:)?{_OPEN}
    |(?:不是|不选|不应选|不能选|并非|排除|而非|不会是|不可能是|不应该是)\s*(?:选项|答案)?{_OPEN}"""
)
DENIED_AFTER = _words(
    rf"""["'”’」)\]]*\s*(?:选项|{_NOUN}\b)?\s*
    (?:(?:is|are|was|were|does|do|did|can|could|would|should|has|seems|looks|must\s+be)
        (?:\s+(?:clearly|definitely|also|obviously|likely|just|to\s+be|both))*
        (?:n['’]t\b|\s+(?:not|never|incorrect|wrong|false|unlikely|impossible|irrelevant|inaccurate|ruled\s+out|eliminated
            |excluded|out)\b)
      |cannot\b|(?:是|都)?(?:不|错)|(?:可以|被)?排除
      |(?:で|じゃ)は?(?:ない|なく|ありません)|[はが]\s*(?:間違|誤|不正解|違)
      |(?:번\s*)?[이가은는]?\s*(?:아니|아닙|아닌|틀[린렸립]))"""
)
REFUSAL = _words(
    r"""(?:\bcan['’]t|\bcannot|\bcan\s+not|\bunable\s+to|\bnot\s+able\s+to|\b(?:im|not\s+)possible\s+to|\bdifficult\s+to)\s+
        (?:be\s+)?(?:\w+ly\s+)?(?:determine|tell|see|answer|say|identify|view|watch|provide|access|know|decide|choose|help
        |assist|select|process|analy[sz]e)
    |\bdo(?:n['’]t|\s+not)\s+know\b|\bnot\s+sure\b|\b(?:none|neither|all|any)\s+of\s+(?:the|these|them|those)\b
    |\bno\s+(?:correct|right|valid)\s+(?:answer|option)|\b(?:not\s+enough|insufficient)\s+information
    |\bn/a\b|无法|看不(?:到|清)|对不起|抱歉|不能确定|不确定|不知道|以上(?:都|皆)|都不(?:对|是|正确)|没有正确
    |(?:分|わ)かりません|判断でき|判断できない|申し訳|알\s*수\s*없|(?:판단|확인)할\s*수\s*없|모르겠|죄송"""
)
CLAUSE = _words(
    r"""[.;!?\n。]\s*|,\s*(?:but|so|and|it|the|i|my|probably|perhaps|maybe)\b|\bbut\b|,(?=[\u4e00-\u9fff])|而是|ではなく、?|じゃなく、?|아니라"""
)
# Words at the begin of a clause by which a model takes back what it said.
CORRECTION = _words(
    r"""(?:^|[.!?;:,\n。…–—-]\s*)(?:(?:oh|hmm|no|but|sorry|oops)[,.!\s]+)*
    (?:wait|actually|hold\s+on|correction|scratch\s+that|on\s+second\s+thoughts?|oops|sorry|my\s+mistake
       |let\s+me\s+(?:correct|reconsider|re-?check|re-?think)|i\s+(?:made\s+a\s+mistake|stand\s+corrected|take\s+that\s+back)
       |(?:i(?:['’]ll|\s+will|\s+would)?\s+)?chang(?:e|ing)\s+my\s+(?:answer|mind)|等等|等一下|不对|更正|いや|訂正|待って|아니|잠깐|정정)
    (?![a-z])[,.:;!。、…\s-]*(?:to\b)?"""
)
