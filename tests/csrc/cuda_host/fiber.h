// Stacks to run threads on, and the switch between them: a few instructions where we know the
// processor (blocks have up to 1024 threads, and each waits thousands of times), ucontext
// elsewhere.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_host {

#if defined(__x86_64__)

using Context = void*;  // the stack pointer; the registers that a call preserves lie above it

extern "C" void cuda_host_switch(Context* from, Context* to);
asm(R"(
.text
.local cuda_host_switch
.type cuda_host_switch, @function
cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cuda_host_switch, .-cuda_host_switch
)");

inline void prepare(Context* context, char* stack, size_t size, void (*entry)()) {
  auto* top =
      reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t(63));
  *--top = 0;  // where entry would return to; it never does
  *--top = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < 6; ++i) *--top = 0;
  *context = top;
}

#else

using Context = ucontext_t;

inline void cuda_host_switch(Context* from, Context* to) { swapcontext(from, to); }

inline void prepare(Context* context, char* stack, size_t size, void (*entry)()) {
  getcontext(context);
  context->uc_stack.ss_sp = stack;
  context->uc_stack.ss_size = size;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
}

#endif

// A stack that lives as long as the process.
class Fiber {
 public:
  // The tops of the stacks are spread over a page's cache lines.
  explicit Fiber(size_t index) : skew_(index * 192 % 4096) {
    void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<char*>(memory);
    mprotect(stack_, kGuard, PROT_NONE);  // an overflow is a fault
  }

  void start(void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
    // The frames of the thread before were left, never returned from.
    __asan_unpoison_memory_region(stack_ + kGuard, kSize - kGuard);
#endif
    prepare(&own_, stack_ + kGuard, kSize - kGuard - skew_, entry);
  }

  // From the scheduler's stack to this one, until `leave`.
  void enter() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_ + kGuard, kSize - kGuard);
    cuda_host_switch(&scheduler_, &own_);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    cuda_host_switch(&scheduler_, &own_);
#endif
  }

  void leave() {
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, scheduler_stack, scheduler_size);
    cuda_host_switch(&own_, &scheduler_);
    entered();
    (void)fake;
#else
    cuda_host_switch(&own_, &scheduler_);
#endif
  }

  // The first thing to call on a stack that has been switched to.
  static void entered() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
#endif
  }

 private:
  static constexpr size_t kGuard = 4096;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kSize = 512 * 1024;
  static inline const void* scheduler_stack = nullptr;
  static inline size_t scheduler_size = 0;
#else
  static constexpr size_t kSize = 128 * 1024;
#endif
  char* stack_;
  size_t skew_;
  Context own_{}, scheduler_{};
};

}  // namespace cuda_host
