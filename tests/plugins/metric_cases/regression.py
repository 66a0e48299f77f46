"""Regression: references of scikit-learn and SciPy, or formulas written out in float64."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats
from sklearn import metrics as sk
from sklearn.metrics.pairwise import cosine_similarity
from torch import Generator, Tensor

from fulmen.metrics import regression as classes
from fulmen.metrics.functional import regression as functions

from .case import Batch, Case

Reference = Callable[[np.ndarray, np.ndarray], Any]


def pairs(
    generator: Generator, outputs: int = 0, positive: bool = False, grades: int = 0, offset: float = 0.0
) -> list[Batch]:
    """Predictions that follow targets; `outputs` of 0 has no second dimension, `grades` makes ties."""
    batches: list[Batch] = []
    for size in (37, 3, 101, 5):
        shape = (size, outputs) if outputs else (size,)
        target = torch.randn(shape, generator=generator)
        preds = target + 0.7 * torch.randn(shape, generator=generator)
        if grades:
            target, preds = (target * grades).round(), (preds * grades).round()
        if positive:
            target, preds = target.abs() + 0.25, preds.abs() + 0.25
        batches.append((preds + offset, target + offset))
    return batches


def float64(reference: Reference) -> Callable[[Tensor, Tensor], Any]:
    """The reference, of float64 arrays."""
    return lambda preds, target: reference(preds.double().numpy(), target.double().numpy())


def by_output(reference: Reference) -> Reference:
    """The reference of each column."""
    return lambda p, t: np.array([reference(p[:, i], t[:, i]) for i in range(p.shape[1])])


def of_scikit_learn(score: Callable[..., Any], **options: Any) -> Reference:
    return lambda p, t: score(t, p, **options)


def concordance(p: np.ndarray, t: np.ndarray) -> float:
    return 2 * np.cov(p, t, ddof=0)[0, 1] / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)


def adjusted_r2(p: np.ndarray, t: np.ndarray, variables: int) -> float:
    if len(t) - 1 <= variables:
        return sk.r2_score(t, p)
    return 1 - (1 - sk.r2_score(t, p)) * (len(t) - 1) / (len(t) - variables - 1)


def kendall_a(p: np.ndarray, t: np.ndarray) -> float:
    upper = np.triu_indices(len(p), 1)
    signs = np.sign(p[:, None] - p[None, :]) * np.sign(t[:, None] - t[None, :])
    return signs[upper].mean()


def kendall(variant: str, p_value: bool = False, alternative: str = "two-sided") -> Reference:
    def of(p: np.ndarray, t: np.ndarray) -> Any:
        result: Any = stats.kendalltau(p, t, variant=variant, method="asymptotic", alternative=alternative)
        return (result.statistic, result.pvalue) if p_value else result.statistic

    return of


def cosine(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.diag(cosine_similarity(p, t)).copy()


def case(
    name: str, function: str, reference: Reference, drawn: dict[str, Any] | None = None, **options: Any
) -> Case:
    """A class and its functional form with the same options, but those that the function sees."""
    metric = getattr(classes, name.partition("_")[0])
    functional = getattr(functions, function)
    takes = functional.__code__.co_varnames[: functional.__code__.co_argcount]
    return Case(
        name,
        partial(metric, **options),
        partial(pairs, **drawn or {}),
        float64(reference),
        partial(functional, **{key: value for key, value in options.items() if key in takes}),
        tolerance=2e-6,
        half=drawn is not FAR,
    )


THREE = {"outputs": 3}
POSITIVE = {"positive": True}
FAR = {"offset": 1e6}
TIED = {"grades": 2}

CASES = [
    case("MeanSquaredError", "mean_squared_error", of_scikit_learn(sk.mean_squared_error)),
    case("MeanSquaredError_far", "mean_squared_error", of_scikit_learn(sk.mean_squared_error), FAR),
    case(
        "MeanSquaredError_root",
        "mean_squared_error",
        of_scikit_learn(sk.root_mean_squared_error),
        squared=False,
    ),
    case(
        "MeanSquaredError_outputs",
        "mean_squared_error",
        of_scikit_learn(sk.mean_squared_error, multioutput="raw_values"),
        THREE,
        num_outputs=3,
    ),
    case("MeanSquaredError_flat", "mean_squared_error", of_scikit_learn(sk.mean_squared_error), THREE),
    case("MeanAbsoluteError", "mean_absolute_error", of_scikit_learn(sk.mean_absolute_error)),
    case(
        "MeanAbsoluteError_outputs",
        "mean_absolute_error",
        of_scikit_learn(sk.mean_absolute_error, multioutput="raw_values"),
        THREE,
        num_outputs=3,
    ),
    case(
        "MeanAbsolutePercentageError",
        "mean_absolute_percentage_error",
        of_scikit_learn(sk.mean_absolute_percentage_error),
        POSITIVE,
    ),
    case(
        "SymmetricMeanAbsolutePercentageError",
        "symmetric_mean_absolute_percentage_error",
        lambda p, t: np.mean(2 * np.abs(p - t) / (np.abs(p) + np.abs(t))),
    ),
    case(
        "WeightedMeanAbsolutePercentageError",
        "weighted_mean_absolute_percentage_error",
        lambda p, t: np.abs(p - t).sum() / np.abs(t).sum(),
        THREE,
    ),
    case(
        "MeanSquaredLogError", "mean_squared_log_error", of_scikit_learn(sk.mean_squared_log_error), POSITIVE
    ),
    case("LogCoshError", "log_cosh_error", lambda p, t: np.mean(np.log(np.cosh(p - t)))),
    case(
        "LogCoshError_outputs",
        "log_cosh_error",
        lambda p, t: np.log(np.cosh(p - t)).mean(0),
        THREE,
        num_outputs=3,
    ),
    case("MinkowskiDistance", "minkowski_distance", lambda p, t: (np.abs(p - t) ** 3).sum() ** (1 / 3), p=3),
    case("R2Score", "r2_score", of_scikit_learn(sk.r2_score)),
    case("R2Score_far", "r2_score", of_scikit_learn(sk.r2_score), FAR),
    case("R2Score_adjusted", "r2_score", partial(adjusted_r2, variables=5), adjusted=5),
    *(
        case(
            f"R2Score_{multioutput}",
            "r2_score",
            of_scikit_learn(sk.r2_score, multioutput=multioutput),
            THREE,
            multioutput=multioutput,
        )
        for multioutput in ("raw_values", "uniform_average", "variance_weighted")
    ),
    case("ExplainedVariance", "explained_variance", of_scikit_learn(sk.explained_variance_score)),
    *(
        case(
            f"ExplainedVariance_{multioutput}",
            "explained_variance",
            of_scikit_learn(sk.explained_variance_score, multioutput=multioutput),
            THREE,
            multioutput=multioutput,
        )
        for multioutput in ("raw_values", "uniform_average", "variance_weighted")
    ),
    case("PearsonCorrCoef", "pearson_corrcoef", lambda p, t: stats.pearsonr(p, t)[0]),
    case("PearsonCorrCoef_far", "pearson_corrcoef", lambda p, t: stats.pearsonr(p, t)[0], FAR),
    case(
        "PearsonCorrCoef_outputs",
        "pearson_corrcoef",
        by_output(lambda p, t: stats.pearsonr(p, t)[0]),
        THREE,
        num_outputs=3,
    ),
    case("ConcordanceCorrCoef", "concordance_corrcoef", concordance),
    case("ConcordanceCorrCoef_outputs", "concordance_corrcoef", by_output(concordance), THREE, num_outputs=3),
    case("SpearmanCorrCoef", "spearman_corrcoef", lambda p, t: stats.spearmanr(p, t)[0]),
    case("SpearmanCorrCoef_ties", "spearman_corrcoef", lambda p, t: stats.spearmanr(p, t)[0], TIED),
    case(
        "SpearmanCorrCoef_outputs",
        "spearman_corrcoef",
        by_output(lambda p, t: stats.spearmanr(p, t)[0]),
        THREE,
        num_outputs=3,
    ),
    case("KendallRankCorrCoef", "kendall_rank_corrcoef", kendall("b")),
    case("KendallRankCorrCoef_ties", "kendall_rank_corrcoef", kendall("b"), TIED),
    case("KendallRankCorrCoef_a", "kendall_rank_corrcoef", kendall_a, TIED, variant="a"),
    case("KendallRankCorrCoef_c", "kendall_rank_corrcoef", kendall("c"), TIED, variant="c"),
    *(
        case(
            f"KendallRankCorrCoef_{alternative}",
            "kendall_rank_corrcoef",
            kendall("b", True, alternative),
            TIED,
            t_test=True,
            alternative=alternative,
        )
        for alternative in ("two-sided", "less", "greater")
    ),
    case(
        "KendallRankCorrCoef_outputs", "kendall_rank_corrcoef", by_output(kendall("b")), THREE, num_outputs=3
    ),
    case("CosineSimilarity", "cosine_similarity", lambda p, t: cosine(p, t).sum(), THREE),
    case(
        "CosineSimilarity_mean",
        "cosine_similarity",
        lambda p, t: cosine(p, t).mean(),
        THREE,
        reduction="mean",
    ),
    case("CosineSimilarity_none", "cosine_similarity", cosine, THREE, reduction="none"),
]
