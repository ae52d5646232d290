/* The shared-memory layout of one state, and of the table of several-state commits.
 *
 * A state is one file, `NAME.state`, mapped whole by every subscriber (readers: PROT_READ).
 * Nothing that a reader does can be seen in it.
 *
 *   offset  what                                    written by
 *   ------  --------------------------------------  ---------------------------------------------
 *        0  constants (one cache line, checksummed) the creator, before anybody can see the file
 *       64  head: the one word that is the state    compare-and-swap by committers
 *      128  next subscriber number                  fetch-and-add by each writing subscriber
 *      192  owner[8]: who is filling which slot     compare-and-swap by committers
 *      256  slot[8]: one cache line of facts each   the owner of that slot
 *      768  name                                    the creator
 *      976  persistence (reserved)                  -
 *     1024  first extents: 8 x first_capacity       the owner of the slot that lies there
 *    ....   growth area, page aligned               the same; allocated only when a state has grown
 *
 * head     version:52 | deleted:1 | pending:1 | spare:2 | spare:4    | current:4
 *          commit:54             | deleted:1 | pending:1 | new:4      | current:4   while pending
 *
 *   One compare-and-swap on it both validates a commit ("nobody has committed since I started")
 *   and publishes it.  52 bits of version last 35 years at four million commits a second, so a
 *   version is never used twice and A -> B -> A is seen as two changes.
 *
 *   While a commit of several states is under way, its members' heads are pending: they name the
 *   commit instead of the version (which is that of the current slot's tag), and whether `new` or
 *   `current` counts is for that commit's status word to say.  A commit's number is never used
 *   twice, so neither is a pending head: whoever acts on one that he read long ago, fails.
 *
 * slot     The published slot is never modified.  `tag` is 0 while the slot is being filled, else
 *          version << 1 | 1, so that 0 is no version's tag.  A reader that finds the tag it
 *          expects before and after its copy has copied that version and nothing else.
 *
 * extent   Each slot says where its bytes lie, so growth is an ordinary commit into a slot whose
 *          extent is larger, and no reader needs to know that it happened.  A slot's places are a
 *          function of the slot and of the capacity (hf_extent below) and nothing is ever moved:
 *          no allocator whose state a kill could tear, and two growing writers cannot collide.
 *          The mapping covers the growth area from the start (a mapping may reach beyond the end
 *          of its file), so no reader ever maps again.
 *
 * Shared words are little-endian 64-bit; `endian` says so.  The layout number changes whenever a
 * byte changes its meaning; a file of another layout is refused, never guessed at.
 */
#ifndef HOLDFAST_STATE_LAYOUT_H
#define HOLDFAST_STATE_LAYOUT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HF_MAGIC UINT64_C(0x74736166646c6f48) /* "Holdfast" as little-endian bytes */
#define HF_LAYOUT 1u
#define HF_ENDIAN UINT32_C(0x01020304)
#define HF_SLOTS 8u
#define HF_HEADER_SIZE 1024u
#define HF_NAME_MAX 200u
#define HF_LINE 64u

/* One byte of the header that means nothing.  Writing it with write(2) is how a committer wakes
 * those who watch the file: a store through a mapping raises no inotify event (inotify(7)). */
#define HF_RING_OFFSET 60

/* Open-file-description locks are taken on bytes far behind the data: one byte that all readers
 * share, and a byte for each writing subscriber.  The kernel drops them when their holder dies,
 * reaped or not, in whatever PID namespace it was. */
#define HF_LOCK_READERS (INT64_C(1) << 40)
#define HF_LOCK_WRITERS (HF_LOCK_READERS + 1)
#define HF_LOCK_LENGTH (INT64_C(1) << 41)

/* -- head --------------------------------------------------------------------------------------- */

#define HF_HEAD_DELETED (UINT64_C(1) << 9)
#define HF_HEAD_PENDING (UINT64_C(1) << 8)
#define HF_VERSION_MAX ((UINT64_C(1) << 52) - 1)

static inline uint64_t hf_head(uint64_t version, unsigned current) {
    return version << 12 | (current & 15u);
}
static inline uint64_t hf_head_version(uint64_t head) { return head >> 12; }
static inline unsigned hf_head_current(uint64_t head) { return (unsigned)(head & 15u); }

static inline uint64_t hf_pending(uint64_t commit, unsigned fresh, unsigned current) {
    return commit << 10 | HF_HEAD_PENDING | (uint64_t)(fresh & 15u) << 4 | (current & 15u);
}
static inline uint64_t hf_pending_commit(uint64_t head) { return head >> 10; }
static inline unsigned hf_pending_new(uint64_t head) { return (unsigned)(head >> 4 & 15u); }

/* -- slot --------------------------------------------------------------------------------------- */

#define HF_TAG_FILLING UINT64_C(0)

static inline uint64_t hf_tag(uint64_t version) { return version << 1 | 1u; }
static inline uint64_t hf_tag_version(uint64_t tag) { return tag >> 1; }

/* Offset and capacity travel in one word: a reader never pairs the one with another's other. */
static inline uint64_t hf_extent(uint32_t offset, uint32_t capacity) {
    return (uint64_t)offset << 32 | capacity;
}
static inline uint32_t hf_extent_offset(uint64_t extent) { return (uint32_t)(extent >> 32); }
static inline uint32_t hf_extent_capacity(uint64_t extent) { return (uint32_t)extent; }

enum hf_slot_flags {
    HF_WRITTEN = 1,  /* somebody has committed data (a change of size alone does not count: K23) */
    HF_IDENTITY = 2, /* of a pending head's `new`: a condition of the commit, not changed by it */
    HF_SLOT_FLAGS = HF_WRITTEN | HF_IDENTITY,
};

struct hf_slot {
    _Atomic uint64_t tag;        /* HF_TAG_FILLING, or hf_tag(version of these bytes) */
    _Atomic uint64_t extent;     /* hf_extent(offset, capacity): where the bytes lie */
    _Atomic uint32_t size;       /* bytes in use, 1..page_size */
    _Atomic uint32_t flags;      /* enum hf_slot_flags */
    _Atomic int64_t time_ns;     /* CLOCK_BOOTTIME of the commit */
    _Atomic int32_t pid;         /* of the committer, in its own PID namespace */
    uint32_t unused[7];
};

/* -- header ------------------------------------------------------------------------------------- */

enum hf_flags {
    HF_RETAIN = 1, /* stays when its last subscriber has gone */
};

struct hf_constants {
    uint64_t magic;
    uint32_t layout;
    uint32_t endian;
    uint32_t page_size;
    uint32_t slots;
    uint8_t incarnation[16]; /* random: two states of one name are told apart by it */
    uint64_t created_ns;     /* CLOCK_REALTIME, for people */
    uint32_t flags;          /* enum hf_flags */
    uint32_t first_capacity; /* of each slot's first extent, a multiple of HF_LINE */
    uint32_t checksum;       /* of all the above and the name */
    uint8_t ring;            /* HF_RING_OFFSET */
    uint8_t unused[3];
};

struct hf_header {
    struct hf_constants constants;
    _Atomic uint64_t head;
    uint64_t pad_head[7];
    _Atomic uint64_t next_subscriber; /* never given twice, so a dead owner stays dead */
    uint64_t pad_subscriber[7];
    _Atomic uint64_t owner[HF_SLOTS]; /* 0, or the subscriber number that fills the slot */
    struct hf_slot slot[HF_SLOTS];
    uint32_t name_length;
    char name[HF_NAME_MAX];
    uint8_t pad_name[4];
    uint64_t persistence[6];
};

_Static_assert(sizeof(struct hf_slot) == HF_LINE, "a slot's facts fill one cache line");
_Static_assert(sizeof(struct hf_constants) == HF_LINE, "the constants fill one cache line");
_Static_assert(offsetof(struct hf_constants, ring) == HF_RING_OFFSET, "the ring byte moved");
_Static_assert(offsetof(struct hf_header, head) == 64, "head has a cache line of its own");
_Static_assert(offsetof(struct hf_header, owner) == 192, "owners fill one cache line");
_Static_assert(offsetof(struct hf_header, slot) == 256, "slots follow the owners");
_Static_assert(offsetof(struct hf_header, name) == 772, "the name follows the slots");
_Static_assert(sizeof(struct hf_header) == HF_HEADER_SIZE, "the header is 1,024 bytes");

/* -- extents ------------------------------------------------------------------------------------ */

/* Where the growth area starts: behind the first extents, page aligned. */
static inline uint32_t hf_growth_start(uint32_t page_size, uint32_t first_capacity) {
    uint32_t end = HF_HEADER_SIZE + HF_SLOTS * first_capacity;
    return (end + page_size - 1) / page_size * page_size;
}

/* How much of address space one state takes: every place that any slot can ever have.  Capacities
 * in the growth area are page_size, page_size / 2, ... 128; together less than two pages a slot. */
static inline uint32_t hf_mapping_length(uint32_t page_size, uint32_t first_capacity) {
    return hf_growth_start(page_size, first_capacity) + 2u * HF_SLOTS * page_size;
}

/* The place of a slot for `size` bytes: its first extent if that is large enough, else the one
 * in the growth area whose capacity is the next power of two.  The largest come first, so that
 * they are page aligned. */
static inline uint64_t hf_place(const struct hf_constants *constants, unsigned slot,
                                uint32_t size) {
    uint32_t capacity = constants->first_capacity;
    if (size <= capacity) {
        return hf_extent(HF_HEADER_SIZE + slot * capacity, capacity);
    }
    uint32_t start = hf_growth_start(constants->page_size, capacity);
    for (capacity = 2u * HF_LINE; capacity < size;) {
        capacity *= 2u;
    }
    uint32_t larger = 2u * HF_SLOTS * (constants->page_size - capacity); /* those before it */
    return hf_extent(start + larger + slot * capacity, capacity);
}

/* -- NAME.bell: who waits ------------------------------------------------------------------------
 *
 * A file of its own because those who wait must write it and a handle that only reads maps the state
 * read-only, so that no slip of its process can harm the state.
 * A waiter adds one to `wanted` when it begins to wait.  A committer that finds wanted != rung
 * rings and then stores the `wanted` it had seen into `rung`.  Two counters and not one flag: a
 * committer stopped or killed anywhere between never leaves a waiter unheard by the next one. */
struct hf_bell {
    _Atomic uint64_t wanted;
    _Atomic uint64_t rung;
};
#define HF_BELL_SIZE 4096

/* -- .txn: the table of several-state commits ----------------------------------------------------
 *
 * One status word decides the commit of all its members at once (Herlihy et al., DSTM, 2003;
 * Fraser, UCAM-CL-TR-579).  A commit's number says which word, and which use of it:
 *
 *   commit   sequence:48 | descriptor:6
 *   status   sequence:48 | unused:14 | status:2
 *
 * A word is used again when no head names its commit any more.  A commit that was aborted may
 * still be installed in a head by its stopped owner later on; so a head whose sequence is not the
 * word's own was aborted. */
enum hf_status { HF_FREE, HF_UNDECIDED, HF_COMMITTED, HF_ABORTED };

#define HF_DESCRIPTORS 64u
#define HF_PARTICIPANTS 64u

struct hf_descriptor {
    _Atomic uint64_t status;
    uint64_t unused[7];
};
struct hf_table {
    struct hf_descriptor descriptor[HF_DESCRIPTORS];
};
_Static_assert(sizeof(struct hf_descriptor) == HF_LINE, "a descriptor fills one cache line");
_Static_assert(sizeof(struct hf_table) == 4096, "the table fills one small page");

static inline uint64_t hf_commit_number(uint64_t sequence, unsigned descriptor) {
    return sequence << 6 | (descriptor & 63u);
}
static inline unsigned hf_commit_descriptor(uint64_t commit) { return (unsigned)(commit & 63u); }
static inline uint64_t hf_commit_sequence(uint64_t commit) { return commit >> 6; }

static inline uint64_t hf_status_word(uint64_t sequence, enum hf_status status) {
    return sequence << 16 | (uint64_t)status;
}
static inline uint64_t hf_status_sequence(uint64_t word) { return word >> 16; }
static inline enum hf_status hf_status_of(uint64_t word) { return (enum hf_status)(word & 3u); }

#endif
