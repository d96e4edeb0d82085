"""What a run of a protocol gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from saltrust.analysis.result import Result


@dataclass(frozen=True, repr=False, eq=False)
class ProtocolResult(Result):
    """The printed tables of a protocol, and the analyses they are made from.

    Attributes
    ----------
    results : dict of str to Result
        Every analysis with all digits.
    captions : dict of str to (str, str)
        What stands above and below printed tables, where they have more than their name.
    missing : dict of str to str
        Parts that could not be had, and why.
    methods_text : str
        What :meth:`methods` gives.
    """

    results: dict[str, Result] = field(default_factory=dict)
    captions: dict[str, tuple[str, str]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    methods_text: str = ""

    def caption(self, table: str) -> tuple[str, str]:
        """Title and legend of a printed table.

        Parameters
        ----------
        table : str
        """
        return self.captions.get(table, (table, ""))

    def methods(self) -> str:
        """Every definition and choice, ready for a methods section, in Markdown."""
        return self.methods_text
