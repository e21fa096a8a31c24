"""Figures and pages of surfaces: lines, planes, trajectories, persistence."""
