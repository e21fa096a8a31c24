"""Figures, tables and pages of flatness."""
