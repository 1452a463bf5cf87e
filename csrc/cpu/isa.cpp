// Chooses the instruction set once, at the first use: IMPCORE_ISA, or the best one this CPU has.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "simd/chunk_kernels.h"

namespace impcore::cpu {

namespace portable {
extern const ChunkKernels kernels[4];
}
#if defined(IMPCORE_X86_SIMD)
namespace avx2 {
extern const ChunkKernels kernels[4];
}
namespace avx512 {
extern const ChunkKernels kernels[4];
}
#endif

namespace {

struct Isa {
  const char* name;
  const ChunkKernels* kernels;
};

bool has_avx2() {
#if defined(IMPCORE_X86_SIMD)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool has_avx512() {
#if defined(IMPCORE_X86_SIMD)
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
#else
  return false;
#endif
}

Isa choose() {
  const char* forced = std::getenv("IMPCORE_ISA");
  const std::string want = forced ? forced : "";
  const auto takes = [&](const char* name) { return want.empty() || want == name; };
#if defined(IMPCORE_X86_SIMD)
  if (takes("avx512") && has_avx512()) return {"avx512", avx512::kernels};
  if (takes("avx2") && has_avx2()) return {"avx2", avx2::kernels};
#endif
  if (takes("portable")) return {"portable", portable::kernels};
  const bool known = want == "avx512" || want == "avx2";
  throw std::invalid_argument("IMPCORE_ISA=" + want +
                              (known ? " is not supported by this CPU" : " is unknown") +
                              "; known are avx512, avx2 and portable");
}

const Isa& isa() {
  static const Isa chosen = choose();
  return chosen;
}

}  // namespace

const ChunkKernels& chunk_kernels(DType dtype) { return isa().kernels[static_cast<int>(dtype)]; }

const char* isa_name() { return isa().name; }

}  // namespace impcore::cpu
