"""Simulations by what they are of; each draws one data set and says how an estimate fared."""
