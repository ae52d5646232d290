/* Bytes that others may be overwriting.
 *
 * A reader's copy races with a writer by design; the slot's tag tells afterwards whether it mattered.
 * The race detector does not know fences, so for it the bytes themselves carry the order.
 */
#ifndef HOLDFAST_STATE_RACE_H
#define HOLDFAST_STATE_RACE_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define RACE_DETECTOR 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACE_DETECTOR 1
#endif
#endif

#ifdef RACE_DETECTOR
static inline void copy_out(void *target, const uint8_t *source, uint32_t size) {
    uint8_t *bytes = target;
    for (uint32_t i = 0; i < size; i++) {
        /* pairs with the release store in copy_in */
        bytes[i] = atomic_load_explicit((const _Atomic uint8_t *)source + i, memory_order_acquire);
    }
}
static inline void copy_in(uint8_t *target, const void *source, uint32_t size) {
    const uint8_t *bytes = source;
    for (uint32_t i = 0; i < size; i++) {
        /* pairs with the acquire load in copy_out */
        atomic_store_explicit((_Atomic uint8_t *)target + i, bytes[i], memory_order_release);
    }
}
static inline void order_loads_before_tag(void) {}
static inline void order_tag_before_stores(void) {}
static inline void order_want_before_look(void) {}
#else
static inline void copy_out(void *target, const uint8_t *source, uint32_t size) {
    memcpy(target, source, size);
}
static inline void copy_in(uint8_t *target, const void *source, uint32_t size) {
    memcpy(target, source, size);
}
static inline void order_loads_before_tag(void) {
    /* pairs with the release fence in order_tag_before_stores: whoever has copied one byte of the
     * next content finds the tag changed */
    atomic_thread_fence(memory_order_acquire);
}
static inline void order_tag_before_stores(void) {
    /* pairs with the acquire fence in order_loads_before_tag */
    atomic_thread_fence(memory_order_release);
}
static inline void order_want_before_look(void) {
    /* pairs with the compare-and-swap on head and the load of `wanted` in hf_ring: the load of head
     * that follows is not made before the addition to `wanted` */
    atomic_thread_fence(memory_order_seq_cst);
}
#endif

#endif
