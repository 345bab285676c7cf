// The operations on a device, compiled once for the tests of them; the kernels are in headers that any test may
// include.
#include "cuda/als.cuh"
#include "cuda/fold_in.cuh"
#include "cuda/sgd.cuh"
#include "cuda/topk.cuh"
