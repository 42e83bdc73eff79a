"""Seeds: what they are made of, how they enter the host, and the stages of their life."""

from tamiyo_trl.seeds.lifecycle import LIVE, TRANSITIONS, Lifecycle, LifecycleConfig, Stage, blend_alpha

__all__ = ["LIVE", "TRANSITIONS", "Lifecycle", "LifecycleConfig", "Stage", "blend_alpha"]
