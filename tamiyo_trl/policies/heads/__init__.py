"""Heads: one exact joint distribution over several masked categorical choices."""

from tamiyo_trl.policies.heads.masked_heads import CompositeMaskedHeads, MaskedHeads

__all__ = ["CompositeMaskedHeads", "MaskedHeads"]
