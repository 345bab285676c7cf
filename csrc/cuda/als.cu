#include "cuda/als.cuh"
#include "cuda/fold_in.cuh"
