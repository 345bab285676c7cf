"""What this plugin offers: descriptions only, so that listing the models imports neither them nor torch."""

from __future__ import annotations

from recsys_core.registry import EncoderSpec, RecommenderSpec, hookimpl

_SEQUENCES = frozenset({"known-users", "histories", "sequences", "similar-items"})


@hookimpl
def recsys_recommenders() -> list[RecommenderSpec]:
    """The neural recommenders."""
    return [
        RecommenderSpec(
            "sasrec",
            "recsys_neural.models.sasrec:Sasrec",
            "recsys_neural.models.sasrec:SasrecConfig",
            "Causal self-attention over the history (Kang and McAuley 2018).",
            _SEQUENCES,
        ),
        RecommenderSpec(
            "hstu",
            "recsys_neural.models.hstu:Hstu",
            "recsys_neural.models.hstu:HstuConfig",
            "Pointwise gated attention over the history (Zhai et al. 2024).",
            _SEQUENCES,
        ),
        RecommenderSpec(
            "gru4rec",
            "recsys_neural.models.gru4rec:Gru4rec",
            "recsys_neural.models.gru4rec:Gru4recConfig",
            "A recurrent network over the history (Hidasi et al. 2016).",
            _SEQUENCES,
        ),
        RecommenderSpec(
            "caser",
            "recsys_neural.models.caser:Caser",
            "recsys_neural.models.caser:CaserConfig",
            "Convolutions over the newest items (Tang and Wang 2018).",
            _SEQUENCES,
        ),
    ]


@hookimpl
def recsys_encoders() -> list[EncoderSpec]:
    """The encoders of users and items."""
    return []
