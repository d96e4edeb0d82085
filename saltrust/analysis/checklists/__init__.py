"""Drafts of reporting checklists, filled from the cubes."""
