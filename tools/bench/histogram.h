/* A histogram of times in nanoseconds with steps of 1.6 to 3 %, and its quantiles in microseconds (see load.c). */
#include <stdint.h>
#include <stdio.h>

enum {
    STEPS = 64,
    BUCKETS = 40 * STEPS / 2  /* up to 2^44 ns */
};

struct histogram {
    uint64_t buckets[BUCKETS], count, min, max;
    double sum;
};

/* Histogram: values below STEPS have a bucket each; above, STEPS / 2 buckets for each power of two. */

static unsigned bucket_of(uint64_t value) {
    unsigned shift = 0;
    while (value >> shift >= STEPS)
        shift++;
    unsigned bucket = shift * (STEPS / 2) + (unsigned)(value >> shift);
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

static uint64_t bucket_top(unsigned bucket) {
    if (bucket < STEPS)
        return bucket;
    unsigned shift = bucket / (STEPS / 2) - 1;
    return (((uint64_t)(bucket - shift * (STEPS / 2)) + 1) << shift) - 1;
}

static void note(struct histogram *h, uint64_t value) {
    h->buckets[bucket_of(value)]++;
    if (!h->count || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum += (double)value;
}

/* The least value that this share of all values does not exceed, up to the histogram's step. */
static uint64_t quantile(const struct histogram *h, double share) {
    uint64_t seen = 0;
    for (unsigned k = 0; k < BUCKETS; k++) {
        seen += h->buckets[k];
        if (seen && (double)seen >= share * (double)h->count)
            return bucket_top(k) < h->max ? bucket_top(k) : h->max;
    }
    return h->max;
}

/* As a member of a JSON object that goes on. */
static void print_histogram(const char *name, const struct histogram *h) {
    static const struct { const char *name; double share; } rows[] = {
        {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    printf("\"%s\": {\"min\": %.3f", name, (double)h->min / 1e3);
    for (unsigned k = 0; k < sizeof rows / sizeof *rows; k++)
        printf(", \"%s\": %.3f", rows[k].name, (double)quantile(h, rows[k].share) / 1e3);
    printf(", \"max\": %.3f, \"mean\": %.3f}, ", (double)h->max / 1e3, h->count ? h->sum / (double)h->count / 1e3 : 0);
}
