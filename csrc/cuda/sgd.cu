#include "cuda/sgd.cuh"
