"""How alike embeddings are."""

from __future__ import annotations

from torch import Tensor


def embedding_similarity(
    batch: Tensor, similarity: str = "cosine", reduction: str = "none", zero_diagonal: bool = True
) -> Tensor:
    """How alike each two embeddings [N, D] of a batch are, [N, N]; or its "mean" or "sum" of rows, [N].

    Args:
        similarity: "cosine" of the angle, or "dot" product.
        zero_diagonal: whether an embedding and itself have 0.
    """
    if similarity == "cosine":
        batch = batch / batch.norm(dim=1, keepdim=True)
    alike = batch @ batch.T
    if zero_diagonal:
        alike = alike.fill_diagonal_(0)
    return {"mean": alike.mean(-1), "sum": alike.sum(-1)}.get(reduction, alike)
