"""Sharpness and flatness of minima: every measure with its error, and which rescalings it survives."""
