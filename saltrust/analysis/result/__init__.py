"""What every analysis returns, how it reads as text, and how it is written."""

from saltrust.analysis.result.result import ESTIMATE_COLUMNS, Result, plain, records

__all__ = ["ESTIMATE_COLUMNS", "Result", "plain", "records"]
