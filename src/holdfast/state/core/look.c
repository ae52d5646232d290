/* Making, checking and reading a state.  See layout.h for the words.
 *
 * A reader loads head, which names a version and a slot; checks that the slot's tag is that
 * version's; copies; and checks the tag again.  It does not ask whether head is unchanged: commits
 * go to other slots, so a copy is spoilt only by HF_SLOTS - 1 commits during it.
 */
#include "protocol.h"
#include "race.h"

#include <sys/stat.h>

#define LOOK_ATTEMPTS 64

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

/* Enough for a reader never to leave its mapping, whatever a hostile writer has stored. */
static bool within_mapping(const struct hf_region *region, uint64_t extent) {
    uint64_t offset = hf_extent_offset(extent);
    uint64_t capacity = hf_extent_capacity(extent);
    return offset >= HF_HEADER_SIZE && offset + capacity <= region->length;
}

enum hf_result hf_audit(const struct hf_region *region) {
    struct hf_header *header = region->header;
    uint64_t needed = HF_HEADER_SIZE;
    for (unsigned i = 0; i < HF_SLOTS; i++) {
        /* pairs with the release store in extend_slot: a new extent is in the file before it is
         * named, so the size asked for below covers it */
        uint64_t extent = atomic_load_explicit(&header->slot[i].extent, memory_order_acquire);
        uint32_t capacity = hf_extent_capacity(extent);
        uint64_t end = (uint64_t)hf_extent_offset(extent) + capacity;
        if (capacity > header->constants.page_size ||
            extent != hf_place(&header->constants, i, capacity)) {
            return HF_DAMAGED;
        }
        needed = end > needed ? end : needed;
    }
    /* relaxed: a plausible number, no more */
    uint64_t next = atomic_load_explicit(&header->next_subscriber, memory_order_relaxed);
    if (next < 1 || next >= (uint64_t)(HF_LOCK_LENGTH / 2)) {
        return HF_DAMAGED;
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

/* A head that a commit of several states has marked: old or new, as that commit's one word says. */
static enum hf_result resolve_pending(const struct hf_region *region, struct hf_look *look) {
    struct hf_header *header = region->header;
    unsigned fresh = hf_pending_new(look->head);
    uint64_t commit = hf_pending_commit(look->head);
    if (fresh >= HF_SLOTS || look->slot >= HF_SLOTS) {
        return HF_DAMAGED;
    }
    if (region->table == NULL) {
        return HF_NEED_TABLE;
    }
    struct hf_descriptor *descriptor = &region->table->descriptor[hf_commit_descriptor(commit)];
    /* pairs with the compare-and-swap that decides the commit (hf_publish_several) */
    uint64_t status = atomic_load_explicit(&descriptor->status, memory_order_acquire);
    /* acquire, both: they are to be loaded before head is looked at again */
    uint64_t tag = atomic_load_explicit(&header->slot[look->slot].tag, memory_order_acquire);
    uint32_t flags = atomic_load_explicit(&header->slot[fresh].flags, memory_order_acquire);
    /* The second look.  The slots that head names are not modified as long as it names them, and a
     * pending head never comes back; so the tag was the current version's.  Without this look it
     * could be that of a slot used again meanwhile, and not yet published. */
    if (atomic_load_explicit(&header->head, memory_order_relaxed) != look->head) {
        return HF_AGAIN;
    }
    look->version = hf_tag_version(tag);
    if (status == hf_status_word(hf_commit_sequence(commit), HF_COMMITTED) &&
        !(flags & HF_IDENTITY)) {
        look->version += 1;
        look->slot = fresh;
    }
    return HF_OK;
}

static enum hf_result look_once(const struct hf_region *region, struct hf_look *look) {
    struct hf_header *header = region->header;
    /* pairs with the compare-and-swaps on head: the slot's tag, facts and bytes come with it */
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
    bool sound = within_mapping(region, extent) && look->size >= 1 &&
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
