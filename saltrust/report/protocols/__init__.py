"""Printed tables, figures and methods of the published protocols."""
