"""What is played: all acts, and what can be spoilt in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.demo.acts import (
    counting,
    gathering,
    leading,
    pacing,
    pairing,
    rallying,
    sampling,
    vanishing,
    waking,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from holdfast.demo.acts.act import Act
    from holdfast.demo.stage import Stage

__all__ = ["ACTS", "SABOTAGE"]

ACTS: dict[str, Callable[[Stage], Act]] = {
    "sampling": sampling.Sampling,
    "counting": counting.Counting,
    "rallying": rallying.Rallying,
    "pairing": pairing.Pairing,
    "leading": leading.Leading,
    "pacing": pacing.Pacing,
    "vanishing": vanishing.Vanishing,
    "gathering": gathering.Gathering,
    "waking": waking.Waking,
}

# What can be spoilt on purpose: for each promise, one way to break it.
SABOTAGE: dict[str, str] = {
    **sampling.SABOTAGE,
    **counting.SABOTAGE,
    **rallying.SABOTAGE,
    **pairing.SABOTAGE,
    **leading.SABOTAGE,
    **pacing.SABOTAGE,
    **vanishing.SABOTAGE,
    **gathering.SABOTAGE,
    **waking.SABOTAGE,
    "litter": "a state is retained, and so left behind",
}
