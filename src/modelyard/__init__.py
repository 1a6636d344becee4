"""Modelyard: one config.yaml takes a model from data to a live, watched, self-renewing endpoint."""

__version__ = "0.1.0"
