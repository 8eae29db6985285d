"""Ravel: train a neural instrument from a folder of recordings and play it live."""

__version__ = "0.1.0"
