/* What the kernels in C share: vector types, and functions compiled for several instruction sets. */
#include <stdint.h>
#include <string.h>

typedef float floats __attribute__((vector_size(64)));
typedef uint32_t bits __attribute__((vector_size(64)));

/* What does the work is defined once an instruction set, by DEFINE(its level, its attribute), and PICK(level, name) is
 * that of a level: 2 is AVX-512, 1 is AVX2, 0 is what every processor of this kind has. The caller passes the level,
 * so that each of them can be tested; kernel_level() is the highest that runs here. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_LEVEL(DEFINE)                                                                                             \
    DEFINE(level0, )                                                                                                   \
    DEFINE(level1, __attribute__((target("arch=x86-64-v3"))))                                                          \
    DEFINE(level2, __attribute__((target("arch=x86-64-v4"))))
#define PICK(level, name) ((level) == 2 ? name##_level2 : (level) == 1 ? name##_level1 : name##_level0)
#else
#define EACH_LEVEL(DEFINE) DEFINE(level0, )
#define PICK(level, name) (name##_level0)
#endif
#define INLINE static inline __attribute__((always_inline))

INLINE float wide_f32(float x) { return x; }
INLINE float wide_bf16(uint16_t x) { /* bfloat16 is the upper half of a float32 */
    const uint32_t all = (uint32_t)x << 16;
    float out;
    memcpy(&out, &all, sizeof out);
    return out;
}
INLINE bits rounded(floats sum) { /* to bfloat16, to nearest, ties to even, in the upper half; NaN stays NaN */
    const bits all = (bits)sum, nan = (bits)((all & 0x7fffffffu) > 0x7f800000u);
    return ((all + 0x7fffu + ((all >> 16) & 1u)) & ~nan) | ((all | 0x400000u) & nan);
}
INLINE uint16_t narrow_bf16(float x) {
    uint32_t all;
    memcpy(&all, &x, sizeof all);
    if ((all & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(all >> 16 | 0x40u);
    return (uint16_t)((all + 0x7fffu + (all >> 16 & 1u)) >> 16);
}
