"""The phrases in which models state, hint at, deny and refuse answers, in English and Chinese, as patterns.

Patterns named `..._BEFORE` end where an option is named, those named `..._AFTER` begin behind it. They meet text in
Unicode's NFKC form, so that full-width letters, brackets and colons need no mention.
"""

from __future__ import annotations

import re


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.VERBOSE | re.IGNORECASE)


_BLOCK = r"(?:think|thinking|thought|reasoning)"
THINKING = _words(rf"<({_BLOCK})>(?s:.*?)</\1>|◁think▷(?s:.*?)◁/think▷")
THINKING_END = _words(rf"</{_BLOCK}>|◁/think▷")
THINKING_START = _words(rf"<{_BLOCK}>|◁think▷")
BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
TAGGED = _words(r"<answer>((?s:.*?))(?:</answer>|$)")
LATEX_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
MARKUP = re.compile(r"\*+|`+|\b_+|_+\b|(?m:^[ \t]*[#>]+[ \t]*)|\$|\\[()\[\]]|<\|[^|<>]*\|>|</?s>")
LABELLED = re.compile(r"\W*([A-Za-z])(?:\s*[.):,-]+\s*|\s+)(.+)", re.DOTALL)

# A letter by itself: not in a word, an abbreviation (D.C.), a compound (T-shirt) or a question (A?).
LETTER = re.compile(
    r"(?<![A-Za-z0-9'’_&+-])(?<![A-Za-z]\.)[A-Za-z](?![A-Za-z0-9_+#%])(?!['’][A-Za-z])(?![.-][A-Za-z])(?!\s*[\"')\]]*\?)"
)
# What may follow a letter that is an answer: "A cat" and "I think" begin sentences.
CLOSED_AFTER = _words(
    r"""["'”’)\]}>]* \s* (?:$|\n|[.,:;!|/&=)–—-]|[。、」]|[\u3040-\u30ff\u4e00-\u9fff]
    |(?:because|since|as|for|due|based|which|is|isn['’]t|was|according|given|considering|seems|appears|would|must|but
    |so|and|or|not|rather|instead|here)\b)"""
)

_OPEN = r"""[\s"'“‘「(\[{<]*(?:(?:an?|the)\s+)?["'“‘(\[]*$"""
_NOUN = r"(?:answer|option|choice|response|selection|letter)"
_QUALITY = r"(?:correct|right|best|true|accurate|most\s+(?:likely|accurate|appropriate|suitable|fitting))"
_IS = r"(?:(?:is|was|be|seems\s+to\s+be|appears\s+to\s+be)\b|['’]s\b|[:=–—-]>?|→)"
_HEDGE = r"(?:(?:most\s+likely|likely|probably|clearly|definitely|therefore|thus|simply|indeed|just)\s+)*"

FINAL_BEFORE = _words(
    rf"(?:\bfinal\s+{_NOUN}|最终(?:答案|选项))[\w\s]{{0,40}}?(?:{_IS}|是|为)\s*:?\s*(?:{_NOUN}\s*:?)?{_OPEN}"
)
STATED_BEFORE = _words(
    rf"""(?: \b{_NOUN}["'”]?(?:\s+[\w'’]+){{0,8}}?\s*{_IS}\s*:?
           | \b(?:choose|chose|chosen|choosing|pick|picked|picking|select|selected|selecting|go(?:ing)?\s+with|opt\s+for
               |answer\s+with|settle\s+on):?
           | (?:答案|选项)\s*(?:应该|应当|应|就)?\s*(?:是|为|选|:)?\s*:?
           | (?<![不可能])选择?\s*:?
         )\s*{_HEDGE}(?:(?:the\s+)?(?:{_QUALITY}\s+)?{_NOUN}\s*:?|选项|答案)?{_OPEN}"""
)
STATED_AFTER = _words(
    rf"""["'”’)\]]*\s*(?:选项)?\s*
    (?:(?:is|was|seems|appears|looks|would\s+be|must\s+be)\s+(?:to\s+be\s+)?(?:(?:the|my)\s+)?(?:one\s+|final\s+)?
       (?:{_QUALITY}|{_NOUN})\b
      |(?:是|最|是最)?(?:正确|对(?!应|于)|符合|合适))"""
)
LINE_BEFORE = re.compile(r"(?:^|\n|[.!?:;。]\s)[\s\"'“‘(\[•-]*$")
LINE_AFTER = re.compile(r"[\"'”’)\].。!]*\s*(?:$|\n)")
LEADING_BEFORE = _words(rf"^[^\w]*{_OPEN}")
TEXT_LEADING_AFTER = re.compile(r"[\"'”’)\]]*\s*(?:$|[.,:;!\n。])")
HINTED_BEFORE = _words(
    rf"""(?:\b(?:is|it['’]s|be|think|believe|guess|say|probably|likely|definitely|so|thus|hence|therefore|but|rather|maybe
    |perhaps|either|both|{_NOUN})|\b(?:no|yes|well|okay|so|thus|hence|therefore|leaving),?|=>|->|[:→是]|选项)\s*{_OPEN}"""
)
OPTION_BEFORE = re.compile(r"\b(?:[Oo]ption|[Cc]hoice)\s*[\"'(\[]*$")
BRACKET_BEFORE = re.compile(r"[(\[]\s*$")
BRACKET_AFTER = re.compile(r"\s*[)\]]")
SEPARATOR = re.compile(r"[\"')\]]*\s*[.:,–—-]*\s*[\"'(]?(?:(?:an?|the)\s+)?", re.IGNORECASE)
LISTED = re.compile(r"[\"')\]]*[.,;]?\s*[•(\[-]*")
JOINT = re.compile(
    r"[\s\"')\].]*(?:,|,?\s*\band/or\b|,?\s*\band\b|,?\s*\bor\b|,?\s*\bnor\b|&|/|、|和|或者?|与)\s*(?:[Oo]ption\s+)?[\"'(\[\s]*"
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
      |cannot\b|(?:是|都)?(?:不|错)|(?:可以|被)?排除)"""
)
REFUSAL = _words(
    r"""(?:\bcan['’]t|\bcannot|\bcan\s+not|\bunable\s+to|\bnot\s+able\s+to|\b(?:im|not\s+)possible\s+to|\bdifficult\s+to)\s+
        (?:be\s+)?(?:\w+ly\s+)?(?:determine|tell|see|answer|say|identify|view|watch|provide|access|know|decide|choose|help
        |assist|select|process|analy[sz]e)
    |\bdo(?:n['’]t|\s+not)\s+know\b|\bnot\s+sure\b|\b(?:none|neither|all|any)\s+of\s+(?:the|these|them|those)\b
    |\bno\s+(?:correct|right|valid)\s+(?:answer|option)|\b(?:not\s+enough|insufficient)\s+information
    |\bn/a\b|无法|看不(?:到|清)|对不起|抱歉|不能确定|不确定|不知道|以上(?:都|皆)|都不(?:对|是|正确)|没有正确"""
)
CLAUSE = _words(
    r"""[.;!?\n。]\s*|,\s*(?:but|so|and|it|the|i|my|probably|perhaps|maybe)\b|\bbut\b|,(?=[\u4e00-\u9fff])|而是"""
)
