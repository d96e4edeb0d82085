"""What every analysis returns, and how it reads as text."""

from saltrust.analysis.result.result import ESTIMATE_COLUMNS, Result, plain, records

__all__ = ["ESTIMATE_COLUMNS", "Result", "plain", "records"]
