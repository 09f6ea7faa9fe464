"""Answer questions about images on the device itself, with two small models."""

__version__ = "0.1.0"
