"""Figures of barriers and paths."""
