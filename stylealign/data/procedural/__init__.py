"""Procedural people and cats: an endless, labelled and freely usable pair of related domains."""

from stylealign.data.procedural.attributes import Domain, draw_attributes, label_schema
from stylealign.data.procedural.render import render

__all__ = ["Domain", "draw_attributes", "label_schema", "render"]
