"""Figures and pages of curvature: spectra, sweeps over tickets, scale against curvature."""
