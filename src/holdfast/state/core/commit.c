/* Committing one state.
 *
 * A committer
 *   1. finds head still at the version its transaction started from;
 *   2. takes a slot that head does not name: owner 0 -> me, THEN LOOKS AT HEAD AGAIN.  Without
 *      that second look the slot may have been filled, published and released by somebody else
 *      between (1) and (2), and we would overwrite the current version under its readers;
 *   3. marks the slot as being filled, fills it, tags it with the new version;
 *   4. compare-and-swaps head (version, current) -> (version + 1, slot): check and publication
 *      are one instruction, so there is no moment at which they can disagree;
 *   5. gives the slot up (what is published is protected by head, not by its owner);
 *   6. rings if somebody waits.
 *
 * Killed before 4: a slot stays marked with a dead owner's number (slots.c).  Killed after 4: the
 * commit stands and, again, a slot is marked.
 */
#define _GNU_SOURCE
#include "race.h"
#include "slots.h"

#include <sched.h>
#include <unistd.h>

#define BUSY_ATTEMPTS 64

static enum hf_result publish_once(struct hf_region *region, const struct hf_commit *commit,
                                   uint64_t *version) {
    struct hf_header *header = region->header;
    /* pairs with the compare-and-swap below */
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    if (head & HF_HEAD_DELETED) {
        return HF_IS_DELETED;
    }
    if (head & HF_HEAD_PENDING) {
        enum hf_result settled = hf_settle(region, head);
        return settled == HF_OK ? HF_AGAIN : settled;
    }
    *version = hf_head_version(head);
    if (*version != commit->started) {
        return HF_CONFLICT;
    }
    if (*version >= HF_VERSION_MAX) {
        return HF_DAMAGED;
    }
    unsigned slot;
    enum hf_result result = hf_take_slot(region, head, &slot);
    if (result != HF_OK) {
        return result;
    }
    result = hf_fill_slot(region, slot, commit, *version + 1);
    /* seq_cst: the load of `wanted` in hf_ring must not be made before it (pairs with hf_want) */
    if (result == HF_OK &&
        !atomic_compare_exchange_strong_explicit(&header->head, &head, hf_head(*version + 1, slot),
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        result = HF_AGAIN;
    }
    hf_release_slot(region, slot);
    if (result == HF_OK) {
        *version += 1;
        hf_ring(region);
    }
    return result;
}

enum hf_result hf_publish(struct hf_region *region, const struct hf_commit *commit,
                          uint64_t *version) {
    int busy = 0;
    for (;;) {
        enum hf_result result = publish_once(region, commit, version);
        if (result == HF_BUSY && ++busy < BUSY_ATTEMPTS) {
            sched_yield(); /* more committers than processors: let them finish */
        } else if (result != HF_AGAIN) {
            return result; /* HF_AGAIN: head moved, so the next attempt knows more than this one */
        }
    }
}

enum hf_result hf_delete(struct hf_region *region) {
    for (;;) {
        /* acquire: hf_settle reads what head names */
        uint64_t head = atomic_load_explicit(&region->header->head, memory_order_acquire);
        if (head & HF_HEAD_DELETED) {
            return HF_IS_DELETED;
        }
        if (head & HF_HEAD_PENDING) {
            enum hf_result settled = hf_settle(region, head);
            if (settled != HF_OK && settled != HF_AGAIN) {
                return settled;
            }
            continue;
        }
        /* seq_cst for the same reason as in publish_once */
        if (atomic_compare_exchange_strong_explicit(&region->header->head, &head,
                                                    head | HF_HEAD_DELETED, memory_order_seq_cst,
                                                    memory_order_relaxed)) {
            hf_ring(region);
            return HF_OK;
        }
    }
}

/* -- the bell --------------------------------------------------------------------------------------
 *
 * Waiter: wanted += 1, then look at head.  Committer: change head, then look at wanted.  Both
 * sequentially consistent, so at least one of them sees the other (Dekker): the waiter finds the
 * new version by itself or is rung for.  The waiter's look is not part of this file and orders
 * nothing; hence its fence. */

void hf_want(struct hf_region *region) {
    if (region->bell != NULL) {
        /* seq_cst: pairs with the compare-and-swap on head in publish_once */
        atomic_fetch_add_explicit(&region->bell->wanted, 1, memory_order_seq_cst);
        order_want_before_look();
    }
}

void hf_ring(struct hf_region *region) {
    struct hf_bell *bell = region->bell;
    if (bell == NULL) {
        return;
    }
    /* seq_cst: pairs with hf_want */
    uint64_t wanted = atomic_load_explicit(&bell->wanted, memory_order_seq_cst);
    if (wanted == atomic_load_explicit(&bell->rung, memory_order_relaxed)) {
        return;
    }
    /* Ring first, note it afterwards: stopped in between, the next committer rings again.  The
     * result is not needed: a file that cannot be written has no watchers that matter. */
    ssize_t written = pwrite(region->fd, "", 1, HF_RING_OFFSET);
    (void)written;
    /* A late store of an older number costs one needless ring, never a missing one. */
    atomic_store_explicit(&bell->rung, wanted, memory_order_relaxed);
}
