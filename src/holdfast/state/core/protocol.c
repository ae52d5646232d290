/* Reading and committing one state.  See layout.h for the words and protocol.h for the promises.
 *
 * Theory of operation
 * -------------------
 * A reader loads head, which names a version and a slot; checks that the slot's tag is that
 * version's; copies; and checks the tag again.  It does not ask whether head is unchanged: commits
 * go to other slots, so a copy is spoilt only by HF_SLOTS - 1 commits during it.
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
 * Killed before 4: a slot stays marked with a dead owner's number.  Killed after 4: the commit
 * stands and, again, a slot is marked.  Numbers are never given twice, so whoever runs short of
 * slots may ask the kernel whether that owner still holds its lock and, if not, take the slot.
 */
#define _GNU_SOURCE
#include "protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_ATTEMPTS 64
#define BUSY_ATTEMPTS 64

#if defined(__SANITIZE_THREAD__)
#define RACE_DETECTOR 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACE_DETECTOR 1
#endif
#endif

/* -- bytes that others may be overwriting ---------------------------------------------------------
 *
 * The copy races with a writer by design; the tag tells afterwards whether it mattered.  The race
 * detector does not know fences, so for it the bytes themselves carry the order. */
#ifdef RACE_DETECTOR
static void copy_out(void *target, const uint8_t *source, uint32_t size) {
    uint8_t *bytes = target;
    for (uint32_t i = 0; i < size; i++) {
        /* pairs with the release store in copy_in */
        bytes[i] = atomic_load_explicit((const _Atomic uint8_t *)source + i, memory_order_acquire);
    }
}
static void copy_in(uint8_t *target, const void *source, uint32_t size) {
    const uint8_t *bytes = source;
    for (uint32_t i = 0; i < size; i++) {
        /* pairs with the acquire load in copy_out */
        atomic_store_explicit((_Atomic uint8_t *)target + i, bytes[i], memory_order_release);
    }
}
static void order_loads_before_tag(void) {}
static void order_tag_before_stores(void) {}
#else
static void copy_out(void *target, const uint8_t *source, uint32_t size) {
    memcpy(target, source, size);
}
static void copy_in(uint8_t *target, const void *source, uint32_t size) {
    memcpy(target, source, size);
}
static void order_loads_before_tag(void) {
    /* pairs with the release fence in order_tag_before_stores: whoever has copied one byte of the
     * next content finds the tag changed */
    atomic_thread_fence(memory_order_acquire);
}
static void order_tag_before_stores(void) {
    /* pairs with the acquire fence in order_loads_before_tag */
    atomic_thread_fence(memory_order_release);
}
#endif

/* -- making and auditing -------------------------------------------------------------------------- */

uint32_t hf_checksum(const struct hf_header *header) {
    /* FNV-1a: enough to notice a damaged file, and no claim to more. */
    uint32_t hash = UINT32_C(2166136261);
    const uint8_t *constants = (const uint8_t *)&header->constants;
    for (size_t i = 0; i < offsetof(struct hf_constants, checksum); i++) {
        hash = (hash ^ constants[i]) * UINT32_C(16777619);
    }
    hash = (hash ^ header->name_length) * UINT32_C(16777619);
    for (size_t i = 0; i < HF_NAME_MAX; i++) {
        hash = (hash ^ (uint8_t)header->name[i]) * UINT32_C(16777619);
    }
    return hash;
}

void hf_format(struct hf_header *header, const char *name, uint32_t name_length, uint32_t size,
               uint32_t page_size, uint32_t flags, const uint8_t incarnation[16],
               uint64_t created_ns) {
    struct hf_constants *constants = &header->constants;
    constants->magic = HF_MAGIC;
    constants->layout = HF_LAYOUT;
    constants->endian = HF_ENDIAN;
    constants->page_size = page_size;
    constants->slots = HF_SLOTS;
    memcpy(constants->incarnation, incarnation, sizeof constants->incarnation);
    constants->created_ns = created_ns;
    constants->flags = flags;
    constants->first_capacity = (size + HF_LINE - 1) / HF_LINE * HF_LINE;
    header->name_length = name_length;
    memcpy(header->name, name, name_length);
    constants->checksum = hf_checksum(header);
    /* Nobody else can see the file yet: the order of these stores does not matter. */
    atomic_init(&header->next_subscriber, 1);
    for (unsigned i = 0; i < HF_SLOTS; i++) {
        atomic_init(&header->slot[i].extent, hf_place(constants, i, size));
        atomic_init(&header->slot[i].size, size);
    }
    atomic_init(&header->slot[0].tag, hf_tag(0));
    atomic_init(&header->head, hf_head(0, 0));
}

static bool sound_extent(const struct hf_region *region, uint64_t extent) {
    uint64_t offset = hf_extent_offset(extent);
    uint64_t capacity = hf_extent_capacity(extent);
    return offset >= HF_HEADER_SIZE && offset % HF_LINE == 0 && capacity >= HF_LINE &&
           capacity % HF_LINE == 0 && offset + capacity <= region->length;
}

enum hf_result hf_audit(const struct hf_region *region) {
    struct hf_header *header = region->header;
    uint64_t needed = HF_HEADER_SIZE;
    for (unsigned i = 0; i < HF_SLOTS; i++) {
        /* pairs with the release store in extend_slot: a new extent is in the file before it is
         * named, so the size asked for below covers it */
        uint64_t extent = atomic_load_explicit(&header->slot[i].extent, memory_order_acquire);
        uint64_t end = (uint64_t)hf_extent_offset(extent) + hf_extent_capacity(extent);
        if (!sound_extent(region, extent)) {
            return HF_DAMAGED;
        }
        needed = end > needed ? end : needed;
    }
    struct stat file;
    if (fstat(region->fd, &file) != 0 || (uint64_t)file.st_size < needed) {
        return HF_DAMAGED; /* truncated: a reader would get SIGBUS */
    }
    struct hf_look look;
    enum hf_result found = hf_look(region, &look);
    for (int i = 0; found == HF_AGAIN && i < LOOK_ATTEMPTS; i++) {
        found = hf_look(region, &look);
    }
    /* Commits may overtake one look, or sixty-four; not 4,096 of them. */
    return found == HF_AGAIN ? HF_DAMAGED : found;
}

/* -- reading -------------------------------------------------------------------------------------- */

/* A head that a several-state commit has marked: old or new, as that commit's one status word says.
 * HF_AGAIN where the head has moved on meanwhile. */
static enum hf_result resolve_pending(const struct hf_region *region, struct hf_look *look) {
    struct hf_header *header = region->header;
    unsigned slot = hf_head_new(look->head);
    if (slot >= HF_SLOTS || region->table == NULL) {
        return HF_DAMAGED;
    }
    /* ordered by the acquire load of head in hf_look: the installer wrote both before its CAS */
    uint64_t id = atomic_load_explicit(&header->slot[slot].descriptor, memory_order_relaxed);
    uint32_t flags = atomic_load_explicit(&header->slot[slot].flags, memory_order_relaxed);
    const struct hf_descriptor *descriptor = &region->table[hf_descriptor_index(id)];
    /* pairs with the compare-and-swap that decides the commit */
    uint64_t status = atomic_load_explicit(&descriptor->status, memory_order_acquire);
    /* The second look: without it a slot used again meanwhile could name another commit. */
    if (atomic_load_explicit(&header->head, memory_order_relaxed) != look->head ||
        hf_status_sequence(status) != hf_descriptor_sequence(id)) {
        return HF_AGAIN;
    }
    if (hf_status_of(status) == HF_COMMITTED && !(flags & HF_IDENTITY)) {
        look->version += 1;
        look->slot = slot;
    }
    return HF_OK;
}

static enum hf_result look_once(const struct hf_region *region, struct hf_look *look) {
    struct hf_header *header = region->header;
    /* pairs with the compare-and-swap in hf_publish: the slot's tag, facts and bytes come with it */
    look->head = atomic_load_explicit(&header->head, memory_order_acquire);
    if (look->head & HF_HEAD_DELETED) {
        return HF_IS_DELETED;
    }
    look->version = hf_head_version(look->head);
    look->slot = hf_head_current(look->head);
    if (look->head & HF_HEAD_PENDING) {
        enum hf_result resolved = resolve_pending(region, look);
        if (resolved != HF_OK) {
            return resolved;
        }
    }
    if (look->slot >= HF_SLOTS) {
        return HF_DAMAGED;
    }
    struct hf_slot *slot = &header->slot[look->slot];
    look->tag = hf_tag(look->version);
    /* pairs with the release stores of the tag in fill_slot */
    if (atomic_load_explicit(&slot->tag, memory_order_acquire) != look->tag) {
        /* Either head has moved on and the slot is used again, or this is no sound state: what head
         * names is never modified.  Never a reason to look for ever. */
        bool moved = atomic_load_explicit(&header->head, memory_order_relaxed) != look->head;
        return moved ? HF_AGAIN : HF_DAMAGED;
    }
    uint64_t extent = atomic_load_explicit(&slot->extent, memory_order_relaxed);
    look->size = atomic_load_explicit(&slot->size, memory_order_relaxed);
    look->flags = atomic_load_explicit(&slot->flags, memory_order_relaxed);
    look->time_ns = atomic_load_explicit(&slot->time_ns, memory_order_relaxed);
    look->pid = atomic_load_explicit(&slot->pid, memory_order_relaxed);
    look->offset = hf_extent_offset(extent);
    if (!hf_still(region, look)) {
        return HF_AGAIN; /* the facts may be of two versions */
    }
    /* A hostile writer may write anything here; it must not lead a reader out of its mapping. */
    bool sound = sound_extent(region, extent) && look->size >= 1 &&
                 look->size <= hf_extent_capacity(extent) && !(look->flags & ~(uint32_t)HF_SLOT_FLAGS);
    return sound ? HF_OK : HF_DAMAGED;
}

enum hf_result hf_look(const struct hf_region *region, struct hf_look *look) {
    for (int i = 0; i < LOOK_ATTEMPTS; i++) {
        enum hf_result result = look_once(region, look);
        if (result != HF_AGAIN) {
            return result;
        }
    }
    return HF_AGAIN;
}

bool hf_still(const struct hf_region *region, const struct hf_look *look) {
    order_loads_before_tag();
    struct hf_slot *slot = &region->header->slot[look->slot];
    /* ordered after every load of the content by the fence above */
    return atomic_load_explicit(&slot->tag, memory_order_relaxed) == look->tag;
}

bool hf_copy(const struct hf_region *region, const struct hf_look *look, void *target,
             uint32_t start, uint32_t size) {
    copy_out(target, (const uint8_t *)region->header + look->offset + start, size);
    return hf_still(region, look);
}

/* -- committing ----------------------------------------------------------------------------------- */

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

static void release_slot(struct hf_region *region, unsigned slot) {
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
        release_slot(region, slot);
        return HF_AGAIN;
    }
    return HF_OK;
}

/* Take a slot that `head` does not name.  Slots are taken in turn, so that a version's bytes stay
 * where they are for as many commits as can be: HF_SLOTS - 1 when nobody else commits. */
static enum hf_result take_slot(struct hf_region *region, uint64_t head, unsigned *taken) {
    struct hf_header *header = region->header;
    unsigned current = hf_head_current(head);
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

static enum hf_result fill_slot(struct hf_region *region, unsigned index,
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
    atomic_store_explicit(&slot->descriptor, 0, memory_order_relaxed);
    /* pairs with the acquire load of the tag in look_once */
    atomic_store_explicit(&slot->tag, hf_tag(version), memory_order_release);
    return HF_OK;
}

static enum hf_result publish_once(struct hf_region *region, const struct hf_commit *commit,
                                   uint64_t *version) {
    struct hf_header *header = region->header;
    /* pairs with the compare-and-swap below */
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    if (head & HF_HEAD_DELETED) {
        return HF_IS_DELETED;
    }
    *version = hf_head_version(head);
    if (*version != commit->started) {
        return HF_CONFLICT;
    }
    if (hf_head_current(head) >= HF_SLOTS || *version >= HF_VERSION_MAX) {
        return HF_DAMAGED;
    }
    unsigned slot;
    enum hf_result result = take_slot(region, head, &slot);
    if (result != HF_OK) {
        return result;
    }
    result = fill_slot(region, slot, commit, *version + 1);
    /* seq_cst: the load of `wanted` in hf_ring must not be made before it (pairs with hf_want) */
    if (result == HF_OK &&
        !atomic_compare_exchange_strong_explicit(&header->head, &head, hf_head(*version + 1, slot),
                                                 memory_order_seq_cst, memory_order_relaxed)) {
        result = HF_AGAIN;
    }
    release_slot(region, slot);
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
    /* relaxed: nothing is read through it */
    uint64_t head = atomic_load_explicit(&region->header->head, memory_order_relaxed);
    do {
        if (head & HF_HEAD_DELETED) {
            return HF_IS_DELETED;
        }
        /* seq_cst for the same reason as in publish_once */
    } while (!atomic_compare_exchange_weak_explicit(&region->header->head, &head,
                                                    head | HF_HEAD_DELETED, memory_order_seq_cst,
                                                    memory_order_relaxed));
    hf_ring(region);
    return HF_OK;
}

/* -- the bell --------------------------------------------------------------------------------------
 *
 * Waiter: wanted += 1, then look at head.  Committer: change head, then look at wanted.  Both
 * sequentially consistent, so at least one of them sees the other (Dekker): the waiter finds the
 * new version by itself or is rung for. */

void hf_want(struct hf_region *region) {
    if (region->bell != NULL) {
        /* seq_cst: pairs with the compare-and-swap on head in publish_once */
        atomic_fetch_add_explicit(&region->bell->wanted, 1, memory_order_seq_cst);
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
