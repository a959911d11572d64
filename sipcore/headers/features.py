"""Feature sets, `*;feature;feature="value"`: Feature-Caps (RFC 6809), Accept-Contact, Reject-Contact (RFC 3841).

Does not match features against each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sipcore.headers.grammar import Cursor, parse_list
from sipcore.headers.parameters import NO_PARAMETERS, Parameters, read_parameters


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """One `*` with its feature tags or feature-capability indicators in the order sent."""

    features: Parameters = NO_PARAMETERS

    @property
    def require(self) -> bool:
        """Accept-Contact: only contacts that match (RFC 3841 section 9.2)."""
        return "require" in self.features

    @property
    def explicit(self) -> bool:
        return "explicit" in self.features

    def __str__(self) -> str:
        return format_feature_set(self)


def read_feature_set(cursor: Cursor) -> FeatureSet:
    cursor.expect("*")
    return FeatureSet(read_parameters(cursor))


def parse_feature_sets(text: str) -> tuple[FeatureSet, ...]:
    return parse_list(text, read_feature_set)


def format_feature_set(value: FeatureSet) -> str:
    return f"*{value.features}"


def format_feature_sets(values: Sequence[FeatureSet]) -> str:
    return ", ".join(map(format_feature_set, values))
