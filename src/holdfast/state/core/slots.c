/* Slots: see slots.h.
 *
 * A slot stays marked with its owner's number when the owner is killed.  Numbers are never given
 * twice, so whoever runs short of slots may ask the kernel whether that owner still holds its lock and,
 * if not, take the slot: nobody can have become that owner meanwhile.
 */
#define _GNU_SOURCE
#include "slots.h"
#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Whether the subscriber of that number lives, by asking the kernel for its lock.  A kernel that
 * will not say is taken to mean that it does: a slot is lost rather than one in use stolen. */
static bool owner_lives(const struct hf_region *region, uint64_t number) {
    if (number == region->number) {
        return true; /* another thread of ours; one's own lock does not show */
    }
    struct flock probe = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = HF_LOCK_WRITERS + (off_t)number,
        .l_len = 1,
    };
    return fcntl(region->fd, F_OFD_GETLK, &probe) != 0 || probe.l_type != F_UNLCK;
}

void hf_release_slot(struct hf_region *region, unsigned slot) {
    /* pairs with the acquire in claim_slot */
    atomic_store_explicit(&region->header->owner[slot], 0, memory_order_release);
}

/* Make the slot ours if its owner is still `expected`, and if head has not moved meanwhile. */
static enum hf_result claim_slot(struct hf_region *region, uint64_t head, unsigned slot,
                                 uint64_t expected) {
    struct hf_header *header = region->header;
    /* acquire: pairs with the release store in release_slot, so that the head which that owner
     * published is seen by the load below */
    if (!atomic_compare_exchange_strong_explicit(&header->owner[slot], &expected, region->number,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        return HF_BUSY;
    }
    /* The second look (step 2 above). */
    if (atomic_load_explicit(&header->head, memory_order_acquire) != head) {
        hf_release_slot(region, slot);
        return HF_AGAIN;
    }
    return HF_OK;
}

/* Take a slot that `head` does not name.  Slots are taken in turn, so that a version's bytes stay
 * where they are for as many commits as can be: HF_SLOTS - 1 when nobody else commits. */
enum hf_result hf_take_slot(struct hf_region *region, uint64_t head, unsigned *taken) {
    struct hf_header *header = region->header;
    unsigned current = hf_head_current(head);
    if (current >= HF_SLOTS) {
        return HF_DAMAGED;
    }
    for (int reclaim = 0; reclaim <= 1; reclaim++) {
        for (unsigned step = 1; step < HF_SLOTS; step++) {
            unsigned slot = (current + step) % HF_SLOTS;
            /* only a hint: claim_slot decides */
            uint64_t owner = atomic_load_explicit(&header->owner[slot], memory_order_relaxed);
            if (owner != 0 && (!reclaim || owner_lives(region, owner))) {
                continue;
            }
            enum hf_result result = claim_slot(region, head, slot, owner);
            if (result != HF_BUSY) {
                *taken = slot;
                return result;
            }
        }
    }
    return HF_BUSY;
}

/* Make room for `size` bytes in a slot of ours.  The kernel is asked before the extent is named, so
 * that a full file system is an error here and not SIGBUS later. */
static enum hf_result extend_slot(struct hf_region *region, unsigned index, uint32_t size) {
    struct hf_slot *slot = &region->header->slot[index];
    uint64_t extent = atomic_load_explicit(&slot->extent, memory_order_relaxed); /* ours alone */
    if (size <= hf_extent_capacity(extent)) {
        return HF_OK;
    }
    extent = hf_place(&region->header->constants, index, size);
    int failed;
    do {
        failed = fallocate(region->fd, 0, hf_extent_offset(extent), hf_extent_capacity(extent));
    } while (failed && errno == EINTR);
    if (failed) {
        return HF_NO_SPACE;
    }
    /* pairs with the acquire load in hf_audit; readers get it with the tag */
    atomic_store_explicit(&slot->extent, extent, memory_order_release);
    return HF_OK;
}

enum hf_result hf_fill_slot(struct hf_region *region, unsigned index,
                                const struct hf_commit *commit, uint64_t version) {
    struct hf_slot *slot = &region->header->slot[index];
    /* From here on a reader of the slot's old content finds out: ordered before every store below
     * by the fence, which pairs with the one in hf_still.  Release: pairs with the load of the tag in
     * look_once, so that whoever sees the slot used again sees as well that head has moved. */
    atomic_store_explicit(&slot->tag, HF_TAG_FILLING, memory_order_release);
    order_tag_before_stores();
    enum hf_result result = extend_slot(region, index, commit->size);
    if (result != HF_OK) {
        return result;
    }
    uint64_t extent = atomic_load_explicit(&slot->extent, memory_order_relaxed); /* ours alone */
    copy_in((uint8_t *)region->header + hf_extent_offset(extent), commit->data, commit->size);
    atomic_store_explicit(&slot->size, commit->size, memory_order_relaxed);
    atomic_store_explicit(&slot->flags, commit->flags, memory_order_relaxed);
    atomic_store_explicit(&slot->time_ns, commit->time_ns, memory_order_relaxed);
    atomic_store_explicit(&slot->pid, region->pid, memory_order_relaxed);
    /* pairs with the acquire load of the tag in look_once */
    atomic_store_explicit(&slot->tag, hf_tag(version), memory_order_release);
    return HF_OK;
}
