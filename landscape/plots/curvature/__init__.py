"""Figures and pages of curvature: spectra, sweeps over networks, scale against curvature."""
