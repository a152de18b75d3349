/* SpMM, y[i] = sum over the edges e of row i of values[e] * x[indices[e]], and SDDMM,
 * out[e] = left[i] . right[indices[e]], for float32 and bfloat16 rows; sums in float32.
 *
 * A row's sums stay in registers, 64 columns at a time; the rows that the next edges name are prefetched; rows are
 * dealt to threads in small runs, so that a hub, or a core with other work, delays nobody. One thread sums a row, in
 * the order of its edges: the result does not depend on the number of threads. Plain C with vector types and nothing
 * of Python or torch in it; OpenMP's functions are those that torch has loaded.
 */
#include "../kernel.h"

#define AHEAD 16 /* edges between a prefetch and its use */
#define RUN 64   /* rows dealt at a time */
#define ROOM 256 /* edges packed at a time */

/* float32: a vector is 16 columns */
#define COLUMNS_f32 16
#define SUMS_f32 1
INLINE void add_f32(floats *sum, float weight, const float *x) {
    floats row;
    memcpy(&row, x, sizeof row);
    sum[0] += weight * row;
}
INLINE void multiply_f32(floats *sum, const float *x, const float *y) {
    floats left, right;
    memcpy(&left, x, sizeof left);
    memcpy(&right, y, sizeof right);
    *sum += left * right;
}
INLINE void put_f32_f32(float *y, floats *sum, const float *more) {
    if (more) add_f32(sum, 1.0f, more);
    memcpy(y, sum, sizeof *sum);
}
INLINE float narrow_f32(float x) { return x; }

typedef uint32_t half_bits __attribute__((vector_size(32)));
typedef uint64_t longs __attribute__((vector_size(64)));

/* bfloat16, the upper half of a float32: a vector is 32 columns, the even ones in sum[0], the odd ones in sum[1] */
#define COLUMNS_bf16 32
#define SUMS_bf16 2
INLINE void add_bf16(floats *sum, float weight, const uint16_t *x) {
    bits pair;
    memcpy(&pair, x, sizeof pair);
    sum[0] += weight * (floats)(pair << 16);
    sum[1] += weight * (floats)(pair & 0xffff0000u);
}
INLINE void multiply_bf16(floats *sum, const uint16_t *x, const uint16_t *y) {
    bits left, right;
    memcpy(&left, x, sizeof left);
    memcpy(&right, y, sizeof right);
    *sum += (floats)(left << 16) * (floats)(right << 16);
    *sum += (floats)(left & 0xffff0000u) * (floats)(right & 0xffff0000u);
}
INLINE void put_bf16_bf16(uint16_t *y, floats *sum, const uint16_t *more) {
    if (more) add_bf16(sum, 1.0f, more);
    const bits pair = (rounded(sum[0]) >> 16) | (rounded(sum[1]) & 0xffff0000u);
    memcpy(y, &pair, sizeof pair);
}
INLINE void put_bf16_f32(float *y, floats *sum, const float *more) {
    for (int half = 0; half < 2; half++) {
        half_bits even, odd;
        memcpy(&even, (const char *)&sum[0] + 32 * half, sizeof even);
        memcpy(&odd, (const char *)&sum[1] + 32 * half, sizeof odd);
        floats both = (floats)(__builtin_convertvector(even, longs) | __builtin_convertvector(odd, longs) << 32);
        put_f32_f32(y + 16 * half, &both, more ? more + 16 * half : 0);
    }
}
/* The edges start .. stop whose column has a slot, with the slot in place of the column. Without a branch: which
 * columns these are cannot be predicted. */
INLINE int64_t pack(int64_t start, int64_t stop, const int32_t *indices, const float *values, const int32_t *slot,
                    int32_t *at, float *weight) {
    int64_t n = 0;
    for (int64_t e = start; e < stop; e++) {
        at[n] = slot[indices[e]];
        weight[n] = values ? values[e] : 1.0f;
        n += at[n] >= 0;
    }
    return n;
}

/* A panel of columns of one row: `more`, a row to add to the result, or NULL; `slot` as below. */
#define PANEL(TYPE, KIND, OUT, TO, VECTORS)                                                                            \
    INLINE void add_##VECTORS##_##KIND##_##TO(floats *sum, int64_t start, int64_t stop, int64_t edges,                 \
                                              const int32_t *indices, const float *values, const TYPE *x,              \
                                              int64_t width) {                                                         \
        for (int64_t e = start; e < stop; e++) {                                                                       \
            const char *next = (const char *)(x + width * indices[e + AHEAD < edges ? e + AHEAD : e]);                 \
            for (unsigned b = 0; b < VECTORS * COLUMNS_##KIND * sizeof(TYPE); b += 64) __builtin_prefetch(next + b);   \
            const float weight = values ? values[e] : 1.0f;                                                            \
            for (int v = 0; v < VECTORS; v++)                                                                          \
                add_##KIND(sum + v * SUMS_##KIND, weight, x + width * indices[e] + v * COLUMNS_##KIND);                \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void panel_##VECTORS##_##KIND##_##TO(int64_t start, int64_t stop, int64_t edges, const int32_t *indices,    \
                                                const float *values, const int32_t *slot, const TYPE *x,               \
                                                const OUT *more, OUT *y, int64_t width) {                              \
        floats sum[VECTORS * SUMS_##KIND] = {0};                                                                       \
        if (!slot) add_##VECTORS##_##KIND##_##TO(sum, start, stop, edges, indices, values, x, width);                  \
        for (int64_t e = start; slot && e < stop; e += ROOM) {                                                         \
            int32_t at[ROOM];                                                                                          \
            float weight[ROOM];                                                                                        \
            const int64_t n = pack(e, e + ROOM < stop ? e + ROOM : stop, indices, values, slot, at, weight);           \
            add_##VECTORS##_##KIND##_##TO(sum, 0, n, n, at, weight, x, width);                                         \
        }                                                                                                              \
        for (int v = 0; v < VECTORS; v++)                                                                              \
            put_##KIND##_##TO(y + v * COLUMNS_##KIND, sum + v * SUMS_##KIND, more ? more + v * COLUMNS_##KIND : 0);    \
    }

/* `which`: the rows wanted, or NULL for all. `slot`: where the row of x lies that a column names, -1 for a row of
 * zeros that is not stored; NULL when x has them all. `plus`: rows to add to the result, `plus_slot` says which to each
 * row of A, -1 none; NULL for nothing at all. */
#define RUN_SPMM(TYPE, KIND, OUT, TO, VECTORS, LEVEL, TARGET)                                                          \
    TARGET void run_##KIND##_##TO##_##LEVEL(int64_t first, int64_t end, const int64_t *which, const int64_t *indptr,   \
                                 const int32_t *indices, const float *values, const int32_t *slot, const TYPE *x,      \
                                 const int32_t *plus_slot, const OUT *plus, OUT *y, int64_t width, int64_t edges) {    \
        const int64_t wide = VECTORS * COLUMNS_##KIND;                                                                 \
        for (int64_t i = first; i < end; i++) {                                                                        \
            const int64_t row = which ? which[i] : i, start = indptr[row], stop = indptr[row + 1];                     \
            const int64_t added = plus ? plus_slot[row] : -1;                                                          \
            const OUT *more = added < 0 ? 0 : plus + width * added;                                                    \
            OUT *out = y + width * i;                                                                                  \
            int64_t c = 0;                                                                                             \
            for (; c + wide <= width; c += wide)                                                                       \
                panel_##VECTORS##_##KIND##_##TO(start, stop, edges, indices, values, slot, x + c,                      \
                                                more ? more + c : 0, out + c, width);                                  \
            for (; c + COLUMNS_##KIND <= width; c += COLUMNS_##KIND)                                                   \
                panel_1_##KIND##_##TO(start, stop, edges, indices, values, slot, x + c, more ? more + c : 0, out + c,  \
                                      width);                                                                          \
            for (; c < width; c++) {                                                                                   \
                float sum = more ? wide_##TO(more[c]) : 0.0f;                                                          \
                for (int64_t e = start; e < stop; e++) {                                                               \
                    const int64_t at = slot ? slot[indices[e]] : indices[e];                                           \
                    if (at >= 0) sum += (values ? values[e] : 1.0f) * wide_##KIND(x[width * at + c]);                  \
                }                                                                                                      \
                out[c] = narrow_##TO(sum);                                                                             \
            }                                                                                                          \
        }                                                                                                              \
    }
#define SPMM(TYPE, KIND, OUT, TO)                                                                                      \
    void spmm_to_##TO##_##KIND(int64_t rows, const int64_t *which, const int64_t *indptr, const int32_t *indices,      \
                               const float *values, const int32_t *slot, const TYPE *x, const int32_t *plus_slot,      \
                               const OUT *plus, OUT *y, int64_t width, int64_t edges, int level, int threads) {        \
        _Pragma("omp parallel for schedule(dynamic) num_threads(threads)")                                             \
        for (int64_t first = 0; first < rows; first += RUN)                                                            \
            PICK(level, run_##KIND##_##TO)(first, first + RUN < rows ? first + RUN : rows, which, indptr, indices, values, slot, x,\
                              plus_slot, plus, y, width, edges);                                                       \
    }

PANEL(float, f32, float, f32, 4)
PANEL(float, f32, float, f32, 1)
#define DEFINE(LEVEL, TARGET) RUN_SPMM(float, f32, float, f32, 4, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
SPMM(float, f32, float, f32)

PANEL(uint16_t, bf16, uint16_t, bf16, 2)
PANEL(uint16_t, bf16, uint16_t, bf16, 1)
#define DEFINE(LEVEL, TARGET) RUN_SPMM(uint16_t, bf16, uint16_t, bf16, 2, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
SPMM(uint16_t, bf16, uint16_t, bf16)

PANEL(uint16_t, bf16, float, f32, 2)
PANEL(uint16_t, bf16, float, f32, 1)
#define DEFINE(LEVEL, TARGET) RUN_SPMM(uint16_t, bf16, float, f32, 2, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
SPMM(uint16_t, bf16, float, f32)

/* out[e] = left[row of e] . right[indices[e]] */
#define DOT(TYPE, KIND)                                                                                                \
    INLINE float dot_##KIND(const TYPE *left, const TYPE *right, int64_t width) {                                      \
        floats sum = {0};                                                                                              \
        float rest = 0, all[16];                                                                                       \
        int64_t c = 0;                                                                                                 \
        for (; c + COLUMNS_##KIND <= width; c += COLUMNS_##KIND) multiply_##KIND(&sum, left + c, right + c);           \
        for (; c < width; c++) rest += wide_##KIND(left[c]) * wide_##KIND(right[c]);                                   \
        memcpy(all, &sum, sizeof all);                                                                                 \
        for (int half = 8; half; half /= 2)                                                                            \
            for (int v = 0; v < half; v++) all[v] += all[v + half];                                                    \
        return all[0] + rest;                                                                                          \
    }
#define RUN_DOTS(TYPE, KIND, LEVEL, TARGET)                                                                            \
    TARGET void dots_##KIND##_##LEVEL(int64_t first, int64_t end, const int64_t *indptr, const int32_t *indices, const TYPE *left,\
                           const TYPE *right, TYPE *out, int64_t width, int64_t edges) {                               \
        for (int64_t i = first; i < end; i++)                                                                          \
            for (int64_t e = indptr[i]; e < indptr[i + 1]; e++) {                                                      \
                const char *next = (const char *)(right + width * indices[e + AHEAD < edges ? e + AHEAD : e]);         \
                for (int64_t b = 0; b < width * (int64_t)sizeof(TYPE); b += 64) __builtin_prefetch(next + b);          \
                out[e] = narrow_##KIND(dot_##KIND(left + width * i, right + width * indices[e], width));               \
            }                                                                                                          \
    }
#define EDGE_DOT(TYPE, KIND)                                                                                           \
    void edge_dot_##KIND(int64_t rows, const int64_t *indptr, const int32_t *indices, const TYPE *left,                \
                         const TYPE *right, TYPE *out, int64_t width, int64_t edges, int level, int threads) {         \
        _Pragma("omp parallel for schedule(dynamic) num_threads(threads)")                                             \
        for (int64_t first = 0; first < rows; first += RUN)                                                            \
            PICK(level, dots_##KIND)(first, first + RUN < rows ? first + RUN : rows, indptr, indices, left, right, out, width,\
                        edges);                                                                                        \
    }

DOT(float, f32)
#define DEFINE(LEVEL, TARGET) RUN_DOTS(float, f32, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
EDGE_DOT(float, f32)

DOT(uint16_t, bf16)
#define DEFINE(LEVEL, TARGET) RUN_DOTS(uint16_t, bf16, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
EDGE_DOT(uint16_t, bf16)

/* Changes whenever what a kernel takes does: the library is not called when it is of another install. */
int kernel_version(void) { return 2; }

int kernel_level(void) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    __builtin_cpu_init();
    return __builtin_cpu_supports("x86-64-v4") ? 2 : __builtin_cpu_supports("x86-64-v3") ? 1 : 0;
#else
    return 0;
#endif
}
