"""Figures of episodes."""
