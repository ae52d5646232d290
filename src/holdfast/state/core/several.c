/* Committing several states at once, in files and under permissions of their own.
 *
 * The committer
 *   1. takes a descriptor: its status word becomes (a new sequence, undecided);
 *   2. for each member: takes and fills a slot as for one state, and installs: compare-and-swaps head
 *      from (version, current) to pending(commit, new slot, current).  To readers that is no change:
 *      the commit is undecided, so `current` counts;
 *   3. decides: compare-and-swaps the status word from undecided to committed.  That is the one
 *      instant at which all members change, for everybody;
 *   4. settles each head to (version + 1, new slot), rings, gives up the slots, frees the descriptor.
 *
 * Killed before 3: the commit is undecided for ever, which readers take for old.  Killed after 3:
 * it is committed, which readers take for new.  Readers never wait, write or help.  The next writer
 * of each member settles that member's head, and no other: it needs no permission on the rest.
 *
 * A writer that meets an undecided commit waits about a microsecond and then aborts it, which is
 * always safe: the owner's compare-and-swap in 3 fails, it takes its installations back and, if no
 * member has changed, begins again.  So a conflict still means that somebody has changed the data.
 *
 * This is DSTM's locator (Herlihy, Luchangco, Moir, Scherer, 2003) laid into files, with Fraser's
 * status word (UCAM-CL-TR-579).  Only the owner installs, so no RDCSS is needed; a pending head is
 * unique for ever, so no stale compare-and-swap can hit a later one.
 */
#define _GNU_SOURCE
#include "slots.h"

#include <sched.h>

#define PATIENCE 128      /* looks at an undecided commit before it is aborted: about 1 us */
#define ABORT_ATTEMPTS 256 /* beginnings of a commit that others keep aborting */

static _Atomic uint64_t *status_word(struct hf_table *table, uint64_t commit) {
    return &table->descriptor[hf_commit_descriptor(commit)].status;
}

/* -- settling ------------------------------------------------------------------------------------- */

/* What becomes of a pending head, once its commit is decided.  HF_AGAIN: the head has moved on. */
static enum hf_result settled_head(struct hf_region *region, uint64_t head, bool committed,
                                   uint64_t *settled) {
    struct hf_header *header = region->header;
    unsigned current = hf_head_current(head);
    unsigned fresh = hf_pending_new(head);
    if (current >= HF_SLOTS || fresh >= HF_SLOTS) {
        return HF_DAMAGED;
    }
    /* Both belong to this head only if it is still there: the caller's compare-and-swap finds out. */
    uint64_t tag = atomic_load_explicit(&header->slot[current].tag, memory_order_acquire);
    uint32_t flags = atomic_load_explicit(&header->slot[fresh].flags, memory_order_acquire);
    uint64_t version = hf_tag_version(tag);
    *settled = committed && !(flags & HF_IDENTITY) ? hf_head(version + 1, fresh)
                                                   : hf_head(version, current);
    return HF_OK;
}

enum hf_result hf_settle(struct hf_region *region, uint64_t head) {
    if (region->table == NULL) {
        return HF_NEED_TABLE;
    }
    uint64_t commit = hf_pending_commit(head);
    uint64_t undecided = hf_status_word(hf_commit_sequence(commit), HF_UNDECIDED);
    _Atomic uint64_t *word = status_word(region->table, commit);
    /* pairs with the deciding compare-and-swap, as in resolve_pending */
    uint64_t status = atomic_load_explicit(word, memory_order_acquire);
    for (int i = 0; status == undecided && i < PATIENCE; i++) {
        status = atomic_load_explicit(word, memory_order_acquire); /* the same */
    }
    uint64_t aborted = hf_status_word(hf_commit_sequence(commit), HF_ABORTED);
    /* On failure `status` is the decision that came first: acquire, as above. */
    if (status == undecided &&
        atomic_compare_exchange_strong_explicit(word, &status, aborted, memory_order_acq_rel,
                                                memory_order_acquire)) {
        status = aborted;
    }
    bool committed = status == hf_status_word(hf_commit_sequence(commit), HF_COMMITTED);
    uint64_t settled;
    enum hf_result result = settled_head(region, head, committed, &settled);
    if (result == HF_OK) {
        /* release: whoever reads the settled head gets the slot's content, as in publish_once; a
         * failure means that somebody else has settled it.  seq_cst for hf_ring. */
        atomic_compare_exchange_strong_explicit(&region->header->head, &head, settled,
                                                memory_order_seq_cst, memory_order_relaxed);
    }
    return result;
}

/* -- descriptors ---------------------------------------------------------------------------------- */

/* Take a descriptor that is free; its commit number, or 0. */
static uint64_t take_descriptor(struct hf_table *table, uint64_t hint) {
    for (unsigned i = 0; i < HF_DESCRIPTORS; i++) {
        unsigned index = (unsigned)((hint + i) % HF_DESCRIPTORS);
        _Atomic uint64_t *word = &table->descriptor[index].status;
        uint64_t status = atomic_load_explicit(word, memory_order_relaxed); /* a hint */
        uint64_t sequence = hf_status_sequence(status) + 1;
        /* acq_rel: what the last owner did with the word is over (pairs with free_descriptor) */
        if (hf_status_of(status) == HF_FREE &&
            atomic_compare_exchange_strong_explicit(word, &status,
                                                    hf_status_word(sequence, HF_UNDECIDED),
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            return hf_commit_number(sequence, index);
        }
    }
    return 0;
}

/* A commit is decided and every head is settled: its word may be used again.  If it was already
 * taken away as unneeded (hf_free_descriptors), it is somebody else's now and left alone. */
static void free_descriptor(struct hf_table *table, uint64_t commit) {
    _Atomic uint64_t *word = status_word(table, commit);
    uint64_t status = atomic_load_explicit(word, memory_order_relaxed); /* ours, or passed on */
    if (hf_status_sequence(status) == hf_commit_sequence(commit)) {
        /* release: pairs with take_descriptor */
        atomic_compare_exchange_strong_explicit(
            word, &status, hf_status_word(hf_commit_sequence(commit), HF_FREE),
            memory_order_release, memory_order_relaxed);
    }
}

uint64_t hf_named_commit(const struct hf_header *header) {
    /* acquire: the descriptor's word is looked at after it */
    uint64_t head = atomic_load_explicit(&header->head, memory_order_acquire);
    return head & HF_HEAD_PENDING ? hf_pending_commit(head) : 0;
}

void hf_note_descriptors(struct hf_table *table, uint64_t noted[HF_DESCRIPTORS]) {
    for (unsigned i = 0; i < HF_DESCRIPTORS; i++) {
        /* acquire: the heads are looked at after it */
        noted[i] = atomic_load_explicit(&table->descriptor[i].status, memory_order_acquire);
    }
}

/* Those that were decided when they were noted had been installed everywhere by then: no head names
 * them, so all are settled.  Those that were undecided are aborted, which is always safe; should their
 * owner install one later, its head will name a sequence that is no longer the word's: aborted. */
void hf_free_descriptors(struct hf_table *table, const uint64_t noted[HF_DESCRIPTORS],
                         const uint64_t *named, size_t count) {
    for (unsigned index = 0; index < HF_DESCRIPTORS; index++) {
        _Atomic uint64_t *word = &table->descriptor[index].status;
        uint64_t status = noted[index];
        uint64_t sequence = hf_status_sequence(status);
        bool needed = hf_status_of(status) == HF_FREE;
        for (size_t i = 0; i < count && !needed; i++) {
            needed = named[i] == hf_commit_number(sequence, index);
        }
        if (needed) {
            continue;
        }
        uint64_t aborted = hf_status_word(sequence, HF_ABORTED);
        if (hf_status_of(status) == HF_UNDECIDED) {
            /* acq_rel: as in hf_settle */
            if (!atomic_compare_exchange_strong_explicit(word, &status, aborted,
                                                         memory_order_acq_rel,
                                                         memory_order_relaxed)) {
                continue; /* decided since: its heads may be pending */
            }
            status = aborted;
        }
        /* release: as in free_descriptor */
        atomic_compare_exchange_strong_explicit(word, &status, hf_status_word(sequence, HF_FREE),
                                                memory_order_release, memory_order_relaxed);
    }
}

/* -- committing ----------------------------------------------------------------------------------- */

static bool is_condition(const struct hf_member *member) {
    return (member->commit.flags & HF_IDENTITY) != 0;
}

/* Whether the member's state is still at the version that the transaction started from. */
static enum hf_result still_current(struct hf_member *member) {
    struct hf_look look;
    enum hf_result result = hf_look(member->region, &look);
    if (result == HF_OK) {
        member->version = look.version;
        return look.version == member->commit.started ? HF_OK : HF_CONFLICT;
    }
    return result;
}

/* Steps 2 for one member: take, fill, install. */
static enum hf_result install_once(struct hf_member *member, uint64_t commit) {
    struct hf_region *region = member->region;
    _Atomic uint64_t *head_word = &region->header->head;
    /* pairs with the compare-and-swaps on head */
    uint64_t head = atomic_load_explicit(head_word, memory_order_acquire);
    if (head & HF_HEAD_DELETED) {
        return HF_IS_DELETED;
    }
    if (head & HF_HEAD_PENDING) {
        enum hf_result settled = hf_settle(region, head);
        return settled == HF_OK ? HF_AGAIN : settled;
    }
    member->version = hf_head_version(head);
    if (member->version != member->commit.started) {
        return HF_CONFLICT;
    }
    enum hf_result result = hf_take_slot(region, head, &member->slot);
    if (result != HF_OK) {
        return result;
    }
    member->owned = true;
    result = hf_fill_slot(region, member->slot, &member->commit, member->version + 1);
    if (result != HF_OK) {
        return result;
    }
    member->installed = hf_pending(commit, member->slot, hf_head_current(head));
    /* release: the slot's content comes with head; pairs with the acquire loads of head */
    if (!atomic_compare_exchange_strong_explicit(head_word, &head, member->installed,
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        member->installed = 0;
        return HF_AGAIN;
    }
    return HF_OK;
}

static void give_back_slot(struct hf_member *member) {
    if (member->owned) {
        hf_release_slot(member->region, member->slot);
        member->owned = false;
    }
}

static enum hf_result install(struct hf_member *member, uint64_t commit) {
    for (int busy = 0;;) {
        enum hf_result result = install_once(member, commit);
        if (result == HF_OK) {
            return result;
        }
        give_back_slot(member);
        if (result == HF_BUSY && ++busy < 64) {
            sched_yield();
        } else if (result != HF_AGAIN) {
            return result;
        }
    }
}

/* Step 4, or taking back what was installed: the commit is decided by now. */
static void finish(struct hf_table *table, struct hf_member *members, unsigned count,
                   uint64_t commit, bool committed) {
    for (unsigned i = 0; i < count; i++) {
        struct hf_member *member = &members[i];
        if (member->installed != 0) {
            hf_settle(member->region, member->installed);
        }
        give_back_slot(member);
        if (committed) {
            member->version = member->commit.started + !is_condition(member);
            if (!is_condition(member)) {
                hf_ring(member->region);
            }
        }
    }
    free_descriptor(table, commit);
}

static enum hf_result publish_several_once(struct hf_table *table, struct hf_member *members,
                                           unsigned count, unsigned *failed) {
    uint64_t commit = take_descriptor(table, members[0].region->number);
    if (commit == 0) {
        return HF_TABLE_FULL;
    }
    enum hf_result result = HF_OK;
    for (unsigned i = 0; i < count && result == HF_OK; i++) {
        members[i].installed = 0;
        members[i].owned = false;
    }
    for (unsigned i = 0; i < count && result == HF_OK; i++) {
        *failed = i;
        if (members[i].region->number != 0) {
            result = install(&members[i], commit);
        }
    }
    for (unsigned i = 0; i < count && result == HF_OK; i++) {
        *failed = i;
        if (members[i].region->number == 0) {
            result = still_current(&members[i]); /* may not be installed: looked at last */
        }
    }
    uint64_t sequence = hf_commit_sequence(commit);
    uint64_t status = hf_status_word(sequence, HF_UNDECIDED);
    enum hf_status decision = result == HF_OK ? HF_COMMITTED : HF_ABORTED;
    /* The decision.  seq_cst: the loads of `wanted` in hf_ring must not be made before it; release:
     * whoever sees it sees the installations. */
    bool decided = atomic_compare_exchange_strong_explicit(
        status_word(table, commit), &status, hf_status_word(sequence, decision),
        memory_order_seq_cst, memory_order_relaxed);
    finish(table, members, count, commit, decided && decision == HF_COMMITTED);
    return decided || result != HF_OK ? result : HF_AGAIN; /* aborted by somebody else */
}

enum hf_result hf_publish_several(struct hf_table *table, struct hf_member *members, unsigned count,
                                  unsigned *failed) {
    for (int attempt = 0; attempt < ABORT_ATTEMPTS; attempt++) {
        enum hf_result result = publish_several_once(table, members, count, failed);
        if (result != HF_AGAIN) {
            return result;
        }
        for (int i = 0; i < attempt; i++) {
            sched_yield(); /* whoever has aborted us wants the same states */
        }
    }
    return HF_BUSY;
}
