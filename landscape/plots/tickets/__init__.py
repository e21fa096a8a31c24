"""Figures of runs: accuracy, density and barriers against weights remaining."""
