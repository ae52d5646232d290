/* Reading and committing one state: the whole protocol, without Python and without locks.
 *
 * Every function here is lock-free and, but for the cases that say so, makes no system call.
 * Any process may be killed or stopped at any instruction: nothing needs to be cleaned up, no
 * reader sees anything but a whole committed version, and the next writer goes on.
 */
#ifndef HOLDFAST_STATE_PROTOCOL_H
#define HOLDFAST_STATE_PROTOCOL_H

#include <stdbool.h>

#include "layout.h"

enum hf_result {
    HF_OK,
    HF_AGAIN,      /* overtaken while looking; look again */
    HF_CONFLICT,   /* somebody has committed since the transaction started; nothing was written */
    HF_BUSY,       /* every slot is being filled by a living process; nothing was written */
    HF_NO_SPACE,   /* the file system has no room for a larger extent; nothing was written */
    HF_IS_DELETED, /* the state was deleted */
    HF_DAMAGED,    /* the file breaks its own rules */
    HF_NEED_TABLE, /* a commit of several states is under way: map the table and look again */
    HF_TABLE_FULL, /* every descriptor is in use, or was left by the dead; nothing was written */
};

/* One subscriber's picture of one mapped state. */
struct hf_region {
    struct hf_header *header;
    struct hf_table *table; /* NULL as long as nobody needed it; readers map it read-only */
    struct hf_bell *bell;   /* NULL: may not wait by bell, nor ring it */
    uint32_t length;        /* of the mapping */
    int fd;                 /* of the state's file */
    uint64_t number;        /* subscriber number; 0 for a reader */
    int32_t pid;
};

/* Which version is current, and where it lies. */
struct hf_look {
    uint64_t head; /* the word that said so */
    uint64_t version;
    uint64_t tag; /* what slot[slot].tag must still be after a copy */
    int64_t time_ns;
    unsigned slot;
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    int32_t pid;
};

/* What a commit publishes. */
struct hf_commit {
    uint64_t started; /* the version that the transaction started from */
    const void *data;
    uint32_t size;
    uint32_t flags;
    int64_t time_ns;
};

/* Fill in the constants, name, head and first slots of a fresh, zeroed header. */
void hf_format(struct hf_header *header, const char *name, uint32_t name_length, uint32_t size,
               uint32_t page_size, uint32_t flags, const uint8_t incarnation[16],
               uint64_t created_ns);

uint32_t hf_checksum(const struct hf_header *header);

/* Whether the words that change (head, slots) can be those of a sound file: HF_OK, HF_IS_DELETED or
 * HF_DAMAGED.  For subscribing; asks for the file's size. */
enum hf_result hf_audit(const struct hf_region *region);

/* Find the current version: HF_OK, HF_IS_DELETED, HF_DAMAGED or HF_NEED_TABLE.  Wait-free unless commits overtake it
 * HF_SLOTS - 1 at a time: then it is lock-free, and gives HF_AGAIN after 64 attempts. */
enum hf_result hf_look(const struct hf_region *region, struct hf_look *look);

/* Copy `size` bytes of what was found, from `start`; false: overwritten meanwhile, look again. */
bool hf_copy(const struct hf_region *region, const struct hf_look *look, void *target,
             uint32_t start, uint32_t size);

/* Whether the bytes that were found still lie where they lay, untouched. */
bool hf_still(const struct hf_region *region, const struct hf_look *look);

/* Validate and publish in one compare-and-swap.  HF_OK gives the new version in *version;
 * HF_CONFLICT the current one.  Makes a system call only to give a slot a larger extent, to ask
 * whether the owner of a slot lives when none is free, and to ring when somebody waits. */
enum hf_result hf_publish(struct hf_region *region, const struct hf_commit *commit,
                          uint64_t *version);

/* One state in a commit of several. */
struct hf_member {
    struct hf_region *region;
    struct hf_commit commit; /* flags & HF_IDENTITY: a condition only, nothing is written */
    uint64_t version;        /* out: that it made, or the one that is current */
    /* while the commit is under way */
    uint64_t installed; /* the pending head that it was given, or 0 */
    unsigned slot;
    bool owned;
};

/* Validate and publish several states at once: for every reader all of it happens at one instant,
 * or nothing does, wherever the committer is killed.  Members whose region has no number (they
 * may not be written) are looked at just before the decision.  On HF_CONFLICT, HF_IS_DELETED and
 * the like *failed is the member that it is about.  The table must be mapped for writing. */
enum hf_result hf_publish_several(struct hf_table *table, struct hf_member *members, unsigned count,
                                  unsigned *failed);

/* A head that is pending: see it settled, aborting an undecided commit.  HF_OK: head has changed. */
enum hf_result hf_settle(struct hf_region *region, uint64_t head);

/* The commit that a state's head names, or 0: for finding descriptors that nobody needs. */
uint64_t hf_named_commit(const struct hf_header *header);

/* Clearing up after committers that were killed: note the status words, THEN collect the commits
 * that the heads of all states name, then free those noted that are not among them. */
void hf_note_descriptors(struct hf_table *table, uint64_t noted[HF_DESCRIPTORS]);
void hf_free_descriptors(struct hf_table *table, const uint64_t noted[HF_DESCRIPTORS],
                         const uint64_t *named, size_t count);

/* Mark the state deleted for everybody.  HF_IS_DELETED if it already was. */
enum hf_result hf_delete(struct hf_region *region);

/* Begin to wait: from now on the next committer rings. */
void hf_want(struct hf_region *region);

/* Wake those who wait, if anybody does. */
void hf_ring(struct hf_region *region);

#endif
