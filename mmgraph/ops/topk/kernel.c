/* The k largest of each row of scores, largest first, equal ones in the order of their columns.
 *
 * The columns are cut into blocks. The k-th largest of the blocks' maxima is at most the k-th largest score, so what
 * is below it is passed over, and then what does not exceed the smallest of the k found so far.
 * NaN is never at most anything, so it is always met; then 1 is returned and the result means nothing.
 */
#include "../kernel.h"

#define BLOCK 128   /* scores compared before a branch */
#define GROUPS 1024 /* maxima a row, at most */

INLINE floats larger(floats a, floats b) {
    const bits first = (bits)(a > b);
    return (floats)(((bits)a & first) | ((bits)b & ~first));
}

#define LANES_f32 16
INLINE bits above_f32(const float *x, float bound) { /* where one of LANES_f32 scores is not at most the bound */
    floats part;
    memcpy(&part, x, sizeof part);
    return ~(bits)(part <= bound);
}

INLINE void most_f32(floats *most, const float *x) {
    floats part;
    memcpy(&part, x, sizeof part);
    *most = larger(*most, part);
}

#define LANES_bf16 32
INLINE bits above_bf16(const uint16_t *x, float bound) {
    bits pair;
    memcpy(&pair, x, sizeof pair);
    return ~(bits)((floats)(pair << 16) <= bound) | ~(bits)((floats)(pair & 0xffff0000u) <= bound);
}

INLINE void most_bf16(floats *most, const uint16_t *x) {
    bits pair;
    memcpy(&pair, x, sizeof pair);
    *most = larger(*most, larger((floats)(pair << 16), (floats)(pair & 0xffff0000u)));
}

INLINE int some(bits any) {
    uint64_t parts[8], out = 0;
    memcpy(parts, &any, sizeof any);
    for (int v = 0; v < 8; v++) out |= parts[v];
    return out != 0;
}

INLINE float nextbelow(float x) { /* the largest float that is smaller; -inf for itself */
    int32_t all;
    if (x == 0) x = 0;
    if (!(x > -__builtin_inff())) return x;
    memcpy(&all, &x, sizeof all);
    all = x > 0 ? all - 1 : x < 0 ? all + 1 : INT32_MIN + 1;
    memcpy(&x, &all, sizeof x);
    return x;
}

/* The k-th largest of n numbers, which are reordered; 1 <= k <= n. */
static float kth_largest(float *x, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = x[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i <= j) {
                const float swap = x[i];
                x[i++] = x[j];
                x[j--] = swap;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            break;
    }
    return x[k - 1];
}

/* Larger for a larger score, then for a lower column; 0 and -0 are one score. */
INLINE uint64_t key(float score, int64_t column) {
    uint32_t all;
    score += 0.0f;
    memcpy(&all, &score, sizeof all);
    all = all & 0x80000000u ? ~all : all | 0x80000000u;
    return (uint64_t)all << 32 | (0xffffffffu - (uint32_t)column);
}
INLINE int64_t column_of(uint64_t key) { return 0xffffffffu - (uint32_t)key; }

/* Into keys in descending order, of which the last goes when there are k. */
INLINE int64_t insert(uint64_t *keys, int64_t found, int64_t k, uint64_t new) {
    int64_t low = 0, high = found;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (keys[middle] > new)
            low = middle + 1;
        else
            high = middle;
    }
    const int64_t kept = found < k ? found : k - 1;
    memmove(keys + low + 1, keys + low, (kept - low) * sizeof *keys);
    keys[low] = new;
    return kept + 1;
}

/* `indptr`, `indices`: columns to pass over, ascending within a row; NULL for none. `which`: the row of that pattern
 * for each row of scores. */
#define BELOW(TYPE, KIND)                                                                                              \
    /* a number below the k-th largest score; -inf where there are too few blocks to tell */                           \
    INLINE float below_##KIND(const TYPE *scores, int64_t width, int64_t k) {                                          \
        float maxima[GROUPS];                                                                                          \
        /* of a narrow row single vectors: there are more of them */                                                   \
        const int64_t unit = width / BLOCK < 2 * k ? LANES_##KIND : BLOCK;                                             \
        const int64_t blocks = width / unit, run = (blocks + GROUPS - 1) / GROUPS;                                     \
        if (!blocks || blocks / run < k) return -__builtin_inff();                                                     \
        int64_t groups = 0;                                                                                            \
        for (int64_t first = 0; first + run <= blocks; first += run) {                                                 \
            floats most;                                                                                               \
            float parts[16];                                                                                           \
            for (int v = 0; v < 16; v++) parts[v] = -__builtin_inff();                                                 \
            memcpy(&most, parts, sizeof most);                                                                         \
            for (const TYPE *x = scores + first * unit; x < scores + (first + run) * unit; x += LANES_##KIND)          \
                most_##KIND(&most, x);                                                                                 \
            memcpy(parts, &most, sizeof most);                                                                         \
            for (int v = 1; v < 16; v++) parts[0] = parts[v] > parts[0] ? parts[v] : parts[0];                         \
            maxima[groups++] = parts[0] == parts[0] ? parts[0] : -__builtin_inff();                                    \
        }                                                                                                              \
        return nextbelow(kth_largest(maxima, groups, k));                                                              \
    }
#define ROW(TYPE, KIND, LEVEL, TARGET)                                                                                 \
    TARGET int row_##KIND##_##LEVEL(const TYPE *scores, int64_t width, int64_t k, const int32_t *hidden, const int32_t *last,\
                         float *best, int64_t *column) {                                                               \
        uint64_t *keys = (uint64_t *)column; /* turned into columns at the end */                                      \
        int64_t found = 0, skip = BLOCK;                                                                               \
        float bound = below_##KIND(scores, width, k + (last - hidden));                                                \
        for (int64_t first = 0; first < width; first += skip) {                                                        \
            /* a block, or where something in it is above the bound, its vectors one by one */                         \
            if (first % BLOCK == 0 && first + BLOCK <= width) {                                                        \
                bits any = {0};                                                                                        \
                for (int v = 0; v < BLOCK; v += LANES_##KIND) any |= above_##KIND(scores + first + v, bound);          \
                skip = some(any) ? LANES_##KIND : BLOCK;                                                               \
                if (skip == BLOCK) continue;                                                                           \
            }                                                                                                          \
            skip = LANES_##KIND;                                                                                       \
            const int64_t end = first + skip < width ? first + skip : width;                                           \
            if (end - first == skip && !some(above_##KIND(scores + first, bound))) continue;                           \
            for (int64_t c = first; c < end; c++) {                                                                    \
                const float score = wide_##KIND(scores[c]);                                                            \
                if (score <= bound) continue;                                                                          \
                while (hidden < last && *hidden < c) hidden++;                                                         \
                if (hidden < last && *hidden == c) continue;                                                           \
                if (score != score) return 1;                                                                          \
                found = insert(keys, found, k, key(score, c));                                                         \
                if (found == k) bound = wide_##KIND(scores[column_of(keys[k - 1])]);                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (int64_t i = 0; i < k; i++) {                                                                              \
            column[i] = i < found ? column_of(keys[i]) : -1;                                                           \
            best[i] = i < found ? wide_##KIND(scores[column[i]]) : -__builtin_inff();                                  \
        }                                                                                                              \
        return 0;                                                                                                      \
    }
#define TOPK(TYPE, KIND)                                                                                               \
    int topk_##KIND(int64_t rows, const TYPE *scores, int64_t width, int64_t k, const int64_t *which,                  \
                    const int64_t *indptr, const int32_t *indices, float *best, int64_t *column, int level, int threads) {\
        int nan = 0;                                                                                                   \
        _Pragma("omp parallel for schedule(dynamic, 4) num_threads(threads) reduction(| : nan)")                       \
        for (int64_t i = 0; i < rows; i++) {                                                                           \
            const int32_t *hidden = indptr ? indices + indptr[which[i]] : 0;                                           \
            const int32_t *last = indptr ? indices + indptr[which[i] + 1] : 0;                                         \
            nan |= PICK(level, row_##KIND)(scores + width * i, width, k, hidden, last, best + k * i, column + k * i);  \
        }                                                                                                              \
        return nan;                                                                                                    \
    }

BELOW(float, f32)
#define DEFINE(LEVEL, TARGET) ROW(float, f32, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
TOPK(float, f32)

BELOW(uint16_t, bf16)
#define DEFINE(LEVEL, TARGET) ROW(uint16_t, bf16, LEVEL, TARGET)
EACH_LEVEL(DEFINE)
#undef DEFINE
TOPK(uint16_t, bf16)

#define PART 4096 /* columns dealt at a time */

#define PANEL 256 /* columns scanned at a time */

/* out[i, c] = sum over d of left[i, d] * table[d, c], rounded to bfloat16: a scan for a few rows on the left. The table
 * is read once, in panels that stay in cache for all the rows. `columns`: at most
 * `stride`. */
INLINE void panel_level2(const float *left, const uint16_t *table, uint16_t *out, int64_t width, int64_t stride) {
    floats even[PANEL / 32] = {0}, odd[PANEL / 32] = {0}; /* in registers */
    for (int64_t d = 0; d < width; d++) {
        const uint16_t *x = table + d * stride;
        for (int v = 0; v < PANEL / 32; v++) {
            bits pair;
            __builtin_prefetch(x + PANEL + 32 * v, 0, 2); /* past the end of the table it does nothing */
            memcpy(&pair, x + 32 * v, sizeof pair);
            even[v] += left[d] * (floats)(pair << 16);
            odd[v] += left[d] * (floats)(pair & 0xffff0000u);
        }
    }
    for (int v = 0; v < PANEL / 32; v++) {
        const bits pair = (rounded(even[v]) >> 16) | (rounded(odd[v]) & 0xffff0000u);
        memcpy(out + 32 * v, &pair, sizeof pair);
    }
}
/* of any number of columns, left to the compiler: with narrower registers the sums stay in the cache */
INLINE void panel_of(int64_t columns, const float *left, const uint16_t *table, uint16_t *out, int64_t width,
                     int64_t stride) {
    float sum[PANEL] = {0};
    for (int64_t d = 0; d < width; d++) {
        const uint16_t *x = table + d * stride;
        const float weight = left[d];
        for (int64_t c = 0; c < columns; c += 32) __builtin_prefetch(x + PANEL + c, 0, 2);
        for (int64_t c = 0; c < columns; c++) sum[c] += weight * wide_bf16(x[c]);
    }
    for (int64_t c = 0; c < columns; c++) out[c] = narrow_bf16(sum[c]);
}
INLINE void panel_level1(const float *left, const uint16_t *table, uint16_t *out, int64_t width, int64_t stride) {
    panel_of(PANEL, left, table, out, width, stride);
}
#define panel_level0 panel_level1
#define DEFINE(LEVEL, TARGET)                                                                                          \
    TARGET void scan_##LEVEL(int64_t first, int64_t end, int64_t rows, const float *left, const uint16_t *table,       \
                             uint16_t *out, int64_t width, int64_t stride, int64_t columns) {                          \
        int64_t c = first;                                                                                             \
        for (; c + PANEL <= end; c += PANEL)                                                                           \
            for (int64_t i = 0; i < rows; i++)                                                                         \
                panel_##LEVEL(left + width * i, table + c, out + columns * i + c, width, stride);                      \
        for (int64_t i = 0; c < end && i < rows; i++)                                                                  \
            panel_of(end - c, left + width * i, table + c, out + columns * i + c, width, stride);                      \
    }
EACH_LEVEL(DEFINE)
#undef DEFINE

void scan_bf16(int64_t rows, const float *left, const uint16_t *table, uint16_t *out, int64_t width, int64_t stride,
               int64_t columns, int level, int threads) {
    _Pragma("omp parallel for schedule(dynamic) num_threads(threads)")
    for (int64_t first = 0; first < columns; first += PART)
        PICK(level, scan)(first, first + PART < columns ? first + PART : columns, rows, left, table, out, width, stride,
                           columns);
}
