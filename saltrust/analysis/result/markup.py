"""A table as Markdown, LaTeX or HTML; whatever stands in its cells stays literal."""

from __future__ import annotations

import html
import re

from saltrust.analysis.result.cells import Cells

# Markdown -----------------------------------------------------------------------------------

_MARKDOWN_SPECIAL = re.compile(r"[\\`_|<>\[\]]")
# A run of asterisks between spaces cannot open or close emphasis: stars of significance stay.
_MARKDOWN_STARS = re.compile(r"(?<=[^\s*])\*+|(?<!\*)\*+(?=[^\s*])")


def escape_markdown(text: str) -> str:
    r"""Make a text literal in a cell of a Markdown table.

    Examples
    --------
    >>> print(escape_markdown("grad_cam|a*b"), escape_markdown("0.5 (0.4, 0.6) ***"))
    grad\_cam\|a\*b 0.5 (0.4, 0.6) ***
    """
    text = _MARKDOWN_SPECIAL.sub(lambda match: "\\" + match.group(), text)
    return _MARKDOWN_STARS.sub(lambda match: "\\*" * len(match.group()), text)


def markdown(cells: Cells, title: str, note: str) -> str:
    """A table with its title above and a note below; numbers flush right.

    Parameters
    ----------
    cells : Cells
    title : str
        Empty for none.
    note : str
        Empty for none.

    Returns
    -------
    str
        Ends with a newline.
    """
    lines = [f"**{escape_markdown(title)}**", ""] if title else []
    if not cells.headings:
        return "\n".join([*lines, "(no rows)", ""])
    rows = [tuple(map(escape_markdown, cells.headings)),
            *(tuple(text if numeric else escape_markdown(text)
                    for text, numeric in zip(row, cells.numeric, strict=True))
              for row in cells.rows)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * (width - 1) + ":" if numeric else ":" + "-" * (width - 1)
            for width, numeric in zip(widths, cells.numeric, strict=True)]
    for number, row in enumerate(rows):
        texts = [text.rjust(width) if numeric else text.ljust(width)
                 for text, width, numeric in zip(row, widths, cells.numeric, strict=True)]
        lines.append("| " + " | ".join(texts) + " |")
        if number == 0:
            lines.append("| " + " | ".join(rule) + " |")
    return "\n".join([*lines, *(["", f"({note}; json and csv have all)"] if note else []), ""])


# LaTeX --------------------------------------------------------------------------------------

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "|": r"\textbar{}", "\N{MINUS SIGN}": "$-$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "\N{GREEK SMALL LETTER RHO}": r"$\rho$",
    "\N{LESS-THAN OR EQUAL TO}": r"$\leq$", "\N{GREATER-THAN OR EQUAL TO}": r"$\geq$",
}
_NEGATIVE = re.compile(r"(?<![\w.)])-(?=[\d.]|inf)")


def escape_latex(text: str) -> str:
    r"""Make a text literal in a cell of a LaTeX table.

    Examples
    --------
    >>> print(escape_latex("50% of grad_cam & more"))
    50\% of grad\_cam \& more
    """
    return "".join(_LATEX.get(character, character) for character in text)


def latex(cells: Cells, title: str, note: str) -> str:
    """A table with its title above and a note below; for booktabs.

    Parameters
    ----------
    cells : Cells
    title : str
        Empty for none.
    note : str
        Empty for none.

    Returns
    -------
    str
        Ends with a newline.
    """
    lines = [f"% {title}"] if title else []
    if not cells.headings:
        return "\n".join([*lines, "% no rows", ""])
    alignment = "".join("r" if numeric else "l" for numeric in cells.numeric)
    lines += ["% \\usepackage{booktabs}", f"\\begin{{tabular}}{{{alignment}}}", "\\toprule",
              " & ".join(map(escape_latex, cells.headings)) + r" \\", "\\midrule"]
    for row in cells.rows:
        line = " & ".join(_NEGATIVE.sub("$-$", escape_latex(text)) for text in row)
        # After \\ a bracket or an asterisk would be taken for its argument.
        lines.append((f"{{{line[0]}}}{line[1:]}" if line[:1] in {"[", "*"} else line) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}"]
    return "\n".join([*lines, *([f"% {note}; json and csv have all"] if note else []), ""])


# HTML ---------------------------------------------------------------------------------------

_TABLE = "border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;font-size:small"
_HEAD = "border-bottom:1px solid;padding:2px 10px"
_CELL = "padding:1px 10px"


def html_table(cells: Cells, caption: str, notes: list[str]) -> str:
    """A table ruled as in print: a caption above, lines only above, below and under the head.

    Parameters
    ----------
    cells : Cells
    caption : str
    notes : list of str
        One paragraph each, below the table.

    Returns
    -------
    str
        HTML that needs no style sheet; ends with a newline.
    """
    def line(tag: str, texts: tuple[str, ...], style: str) -> str:
        return "<tr>" + "".join(
            f'<{tag} style="{style};text-align:{"right" if numeric else "left"}">'
            f"{html.escape(text)}</{tag}>"
            for text, numeric in zip(texts, cells.numeric, strict=True)) + "</tr>"

    body = "\n".join(line("td", row, _CELL) for row in cells.rows)
    rows = (f"<thead>{line('th', cells.headings, _HEAD)}</thead>\n<tbody>\n{body}\n</tbody>"
            if cells.headings else "<tbody><tr><td>no rows</td></tr></tbody>")
    return "\n".join([
        f'<table style="{_TABLE}">',
        f'<caption style="caption-side:top;text-align:left">{html.escape(caption)}</caption>',
        rows, "</table>",
        *(f'<p style="font-size:small;max-width:60em">{html.escape(note)}</p>'
          for note in notes), ""])
