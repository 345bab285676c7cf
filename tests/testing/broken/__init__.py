"""For each check a recommender that breaks exactly its promise and no other, beside healthy ones."""

from __future__ import annotations

from broken.answers import (
    AllowsAllWhenNothingIsAllowed,
    ClampsK,
    DependsOnThreads,
    DividesByZero,
    ForgetsTheLastNewcomer,
    HasNoFallback,
    IgnoresDeny,
    IgnoresExclude,
    ItemOrderForNewcomers,
    LeastAlikeFirst,
    LikeItself,
    LikesTheUnknown,
    NeverWarnsOfItems,
    NeverWarnsOfUsers,
    PadsFirst,
    PadsWithTheFirstItem,
    RepeatsAnItem,
    Rises,
    ScalesByTheBatch,
    SkipsStrangers,
    SkipsUnknownItems,
    TiesTheOtherWay,
    TooManyAlike,
)
from broken.deployment import BoostsItsTables, BoostsOutsideItsForm, OwnForm
from broken.healthy import Averages, Neighbors, NeighborsConfig
from broken.quality import Guesses, GuessesForEach, KnowsTheAnswers
from broken.training import (
    AnswersUnfitted,
    CalculatesWithIds,
    DescribesNothing,
    FitReturnsNothing,
    LearnsFromLooks,
    NeedsASetting,
    NeedsEventsOfAllUsers,
    NeedsTwoItems,
    ProgressFalls,
    ProgressInShares,
    ProgressMovesItsGoal,
    ProgressOvershoots,
    RemembersTheFirstFit,
    ScalesItsSettings,
    SearchesTooFar,
    StopsLate,
    SwallowsStops,
    TakesAnySetting,
    Unseeded,
    WritesIntoItsInput,
)
from broken.updating import ForgetsNewItems, ShufflesItsUsers, WritesIntoTheOldForm
from broken.user_features import (
    MixesAskers,
    PraisesTheDescribed,
    ReadsTowns,
    ReadsTownsForNothing,
    ReadsTownsOfNewcomersOnly,
    TakesStrangersForThirty,
)
from recsys_core import Recommender

__all__ = ["BROKEN", "SETTINGS", "Averages", "IgnoresDeny", "Neighbors", "NeighborsConfig", "ReadsTowns"]

BROKEN: dict[str, list[type[Recommender]]] = {
    "defaults": [NeedsASetting, DescribesNothing],
    "config_round_trip": [ScalesItsSettings, TakesAnySetting],
    "search_space": [SearchesTooFar],
    "not_fitted": [AnswersUnfitted],
    "fit_returns_self": [FitReturnsNothing],
    "fit_is_repeatable": [Unseeded],
    "refit_forgets": [RemembersTheFirstFit],
    "fit_keeps_its_input": [WritesIntoItsInput],
    "progress_rises": [ProgressFalls, ProgressOvershoots, ProgressMovesItsGoal, ProgressInShares],
    "progress_can_stop": [SwallowsStops, StopsLate],
    "watching_changes_nothing": [LearnsFromLooks],
    "partial_fit": [ShufflesItsUsers, ForgetsNewItems, WritesIntoTheOldForm],
    "single_event": [NeedsTwoItems],
    "empty_rows": [NeedsEventsOfAllUsers],
    "id_types": [CalculatesWithIds],
    "finite_scores": [DividesByZero],
    "order": [TiesTheOtherWay, Rises, RepeatsAnItem, PadsFirst],
    "batch_equals_single": [ScalesByTheBatch],
    "threads": [DependsOnThreads],
    "large_k": [ClampsK, PadsWithTheFirstItem],
    "filters": [IgnoresDeny, IgnoresExclude, AllowsAllWhenNothingIsAllowed],
    "unknown_users": [SkipsStrangers, NeverWarnsOfUsers, HasNoFallback],
    "unknown_items": [SkipsUnknownItems, NeverWarnsOfItems],
    "empty_history": [ForgetsTheLastNewcomer, ItemOrderForNewcomers],
    "similar_items": [LikeItself, LeastAlikeFirst, TooManyAlike, LikesTheUnknown],
    "onnx_parity": [OwnForm],
    "bundle_round_trip": [BoostsOutsideItsForm],
    "runtime": [BoostsItsTables],
    "user_features": [
        ReadsTownsForNothing,
        ReadsTownsOfNewcomersOnly,
        MixesAskers,
        PraisesTheDescribed,
        TakesStrangersForThirty,
    ],
    "quality": [Guesses, GuessesForEach, KnowsTheAnswers],
}
"""Name of a check to the recommenders that fail it alone; ``inert_plugin`` needs a plugin, which its test writes."""

SETTINGS = {NeedsASetting: {"shrinkage": 1.0}}
