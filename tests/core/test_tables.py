"""One table in its three forms, with every sign that one of them gives a meaning to."""

from sparrow.core.tables import Table, counted, mean_and_sd, number, percent

TABLE = Table(
    "A & B",
    ("arm", "score"),
    [("50 % <b> a_1 | *x* {y}", mean_and_sd(0.5, 0.012)), ("[c]", "-1.5"), ("none", "-")],
    note="~ \\ ^ # $",
    bold=frozenset({(0, 1)}),
    marked=True,
)


def test_markdown():
    assert TABLE.markdown() == (
        "### A & B †\n\n"
        "| arm | score |\n"
        "| :-- | --: |\n"
        "| 50 % \\<b> a_1 \\| \\*x\\* {y} | **50.0 ± 1.2** |\n"
        "| [c] | -1.5 |\n"
        "| none | - |\n\n"
        "~ \\ ^ # $\n"
    )


def test_latex_has_the_rules_of_booktabs_and_every_sign_escaped():
    assert TABLE.latex().splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{A \& B $^\dagger$}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"arm & score \\",
        r"\midrule",
        r"50 \% \textless{}b\textgreater{} a\_1 | *x* \{y\} & \textbf{50.0 $\pm$ 1.2} \\",
        r"{}[c] & $-1.5$ \\",
        r"none & -- \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip\footnotesize \textasciitilde{} \textbackslash{} \textasciicircum{} \# \$",
        r"\end{table}",
    ]


def test_plain_text_marks_the_best():
    lines = TABLE.text().splitlines()
    assert lines[0] == "A & B †"
    assert lines[3].split("  ")[-1] == "50.0 ± 1.2*"


def test_plain_text_says_how_it_marks_and_keeps_identifiers_whole():
    name, long = "text_to_image.fallback_fonts", "mixture=world_video,num_samples=40000,clip_rare_share=0.0,seed=0"
    folder = "study/mixture-video+num_samples-40000+clip-rare-share-0.0+seed-0"
    table = Table("T", ("why",), [(f"set {name} to a font",), (long,), (folder,)], note="the best is in bold")
    lines = table.text(width=30).splitlines()
    assert name in lines
    assert lines[-1] == "the best is marked with *"
    assert all(len(line) <= 30 for line in lines)
    assert long in "".join(lines) and "clip-rare-share-0.0+seed-0" in lines


def test_numbers():
    assert [number(None), number(1234.4), number(2 / 3, 2)] == ["-", "1,234", "0.67"]
    assert [percent(-1e-12, signed=True), percent(0.12345, digits=2)] == ["+0.0", "12.35"]
    assert mean_and_sd(0.5, None) == "50.0"
    assert [counted(1, "step"), counted(1200, "step")] == ["1 step", "1,200 steps"]
