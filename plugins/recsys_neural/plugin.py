"""What this plugin offers: descriptions only, so that listing the models imports neither them nor torch."""

from __future__ import annotations

from recsys_core.registry import EncoderSpec, KitSpec, RecommenderSpec, hookimpl

_SEQUENCES = frozenset({"known-users", "histories", "sequences", "similar-items"})
_HISTORIES = frozenset({"known-users", "histories", "similar-items"})


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
        RecommenderSpec(
            "lightgcn",
            "recsys_neural.models.lightgcn:LightGcn",
            "recsys_neural.models.lightgcn:LightGcnConfig",
            "Embeddings propagated over the graph of users and items (He et al. 2020).",
            _HISTORIES,
        ),
        RecommenderSpec(
            "multvae",
            "recsys_neural.models.multvae:MultVae",
            "recsys_neural.models.multvae:MultVaeConfig",
            "Variational autoencoder of histories (Liang et al. 2018).",
            _HISTORIES,
        ),
        RecommenderSpec(
            "neumf",
            "recsys_neural.models.neumf:NeuMf",
            "recsys_neural.models.neumf:NeuMfConfig",
            "A factorization and a perceptron in one score (He et al. 2017).",
            frozenset({"known-users"}),
        ),
        RecommenderSpec(
            "ranker",
            "recsys_neural.models.ranker:Ranker",
            "recsys_neural.models.ranker:RankerConfig",
            "Second stage: features and target attention over a retriever's candidates (Zhou et al. 2018).",
            _HISTORIES | {"features"},
        ),
        RecommenderSpec(
            "two_tower",
            "recsys_neural.models.two_tower:TwoTower",
            "recsys_neural.models.two_tower:TwoTowerConfig",
            "An encoder of users and one of items, with features and texts (Yi et al. 2019).",
            _HISTORIES | {"features", "cold-items"},
        ),
    ]


@hookimpl
def recsys_encoders() -> list[EncoderSpec]:
    """The encoders of users and items."""
    encoders = {
        "attention": ("AttentionEncoder", "AttentionConfig", "Self-attention pooling by learned questions."),
        "cnn": ("CnnEncoder", "CnnConfig", "Convolutions over the tokens, or over tokens by features as an image."),
        "gru": ("GruEncoder", "GruConfig", "Gated recurrent units, oldest token first."),
        "mlp": ("MlpEncoder", "MlpConfig", "Fields side by side through fully connected layers."),
        "text": ("TextEncoder", "TextConfig", "A weighted bag of n-grams and of what else is known."),
        "transformer": ("TransformerEncoder", "TransformerConfig", "Blocks of self-attention."),
    }
    return [
        EncoderSpec(
            name, f"recsys_neural.encoders.{name}:{factory}", f"recsys_neural.encoders.{name}:{config}", summary
        )
        for name, (factory, config, summary) in encoders.items()
    ]


@hookimpl
def recsys_kits() -> list[KitSpec]:
    """The checks of encoders, whose contract is ours."""
    return [KitSpec("encoder", "recsys_neural.testing:encoder_kit", summary="What every encoder promises.")]
