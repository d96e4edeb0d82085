"""Reading an analysis: tables as text, figures, and one self-contained HTML page."""
