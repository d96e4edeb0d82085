"""Models that R's lme4 gets as they are written: what the built-in engine does not fit."""
