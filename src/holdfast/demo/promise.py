"""What was promised, what was seen, and what there is to show for it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Promise"]


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that never happens.

    Attributes:
        name: The thing itself: "torn reads".
        seen: How often it did happen.
        of: How many chances it had.
        unit: What these chances are: "reads".
        evidence: What else a doubter would ask, in a few words.
        counts: The same, in numbers for programs.
    """

    name: str
    seen: int
    of: int
    unit: str
    evidence: str
    counts: dict[str, int | float] = field(default_factory=dict)

    @property
    def kept(self) -> bool:
        """It never happened; and it could have: a check that saw nothing has shown nothing."""
        return self.seen == 0 and self.of > 0

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "name": self.name,
            "seen": self.seen,
            "of": self.of,
            "unit": self.unit,
            "evidence": self.evidence,
            "counts": self.counts,
            "kept": self.kept,
        }
