"""Published protocols as a whole: every analysis of one, and its tables as they are printed."""
