"""Top-k on a device beside torch, faiss and cuVS."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from cuda_checks import check_topk
from cuda_timing import Contenders, report, timed, torch_with_cuda, wait_for_nothing

from recsys_core import ops


def bench_topk(n_queries: int, n_items: int, d: int, k: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    items = (rng.normal(size=(n_items, d)) * np.exp(0.3 * rng.normal(size=(n_items, 1)))).astype(np.float32)
    queries = rng.normal(size=(n_queries, d)).astype(np.float32)
    torch = torch_with_cuda()
    index = ops.cuda.ItemIndex(items)
    given = queries if torch is None else torch.from_numpy(queries).cuda()
    contenders: Contenders = {
        "recsys_core auto": lambda: index.topk(given, k),
        "recsys_core float32": lambda: index.topk(given, k, method="float32"),
    }
    answers = {name: call()[0].numpy() for name, call in contenders.items()}  # type: ignore[index]
    synchronize: Callable[[], None] = wait_for_nothing if torch is None else torch.cuda.synchronize
    if torch is None:
        contenders = {name: (lambda call=call: call()[1].numpy()) for name, call in contenders.items()}
    else:
        device_items = torch.from_numpy(items).cuda()
        for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
            matrix, vectors = device_items.to(dtype), given.to(dtype)

            def multiply(matrix=matrix, vectors=vectors):
                rows = max(1, (1 << 31) // n_items)  # score matrices of at most 2 billion entries
                return torch.cat([torch.topk(part @ matrix.T, k).indices for part in vectors.split(rows)])

            contenders[f"torch matmul + topk {name}"] = multiply
            answers[f"torch matmul + topk {name}"] = multiply().cpu().numpy()
    try:
        import faiss

        flat = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, faiss.IndexFlatIP(d))
        flat.add(items)
        contenders["faiss flat"] = lambda: flat.search(queries, k)
        answers["faiss flat"] = flat.search(queries, k)[1]
    except (ImportError, AttributeError):
        pass
    try:
        from cuvs.neighbors import brute_force
    except ImportError:
        pass
    else:
        if torch is not None:  # its arrays are what cuVS is given
            built = brute_force.build(device_items, metric="inner_product")
            contenders["cuvs brute force"] = lambda: brute_force.search(built, given, k)
            answers["cuvs brute force"] = torch.as_tensor(brute_force.search(built, given, k)[1]).cpu().numpy()
    for name, indices in answers.items():
        check_topk(indices, queries, items, k, name)
    operations = 2.0 * n_queries * n_items * d
    report(f"{n_queries} x {n_items} x {d}, {k}", timed(contenders, repeats, synchronize), operations)
