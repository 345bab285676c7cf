#include "cuda/topk.cuh"
