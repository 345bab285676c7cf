#include "cuda/bpr.cuh"
