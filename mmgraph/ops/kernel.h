/* What the kernels in C share: vector types, and functions compiled for several widths of registers. */
#include <stdint.h>
#include <string.h>

typedef float floats __attribute__((vector_size(64)));
typedef uint32_t bits __attribute__((vector_size(64)));

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TUNED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TUNED
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE float wide_f32(float x) { return x; }
INLINE float wide_bf16(uint16_t x) { /* bfloat16 is the upper half of a float32 */
    const uint32_t all = (uint32_t)x << 16;
    float out;
    memcpy(&out, &all, sizeof out);
    return out;
}
