#include "cuda/als.cuh"
