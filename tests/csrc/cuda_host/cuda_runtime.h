// Found before CUDA's own when the emulator is in use.
#pragma once

#include "cuda_host.h"
