"""The safeguards of the protocol: what each is, and the text of the C code that is it.

A program of the model asks whether a safeguard is in place before it takes the step. The texts tie
the model to the code: when one is no longer where it is said to be, a test says so, and whoever
changed the code looks at the model too.
"""

from __future__ import annotations

from enum import Enum

CORE = "src/holdfast/state/core/"


class Safeguard(Enum):
    """One member a safeguard: a name for people, the file, and its text, white space aside."""

    TAG_BEFORE = (
        "the tag is checked before the copy",
        "look.c",
        "if (atomic_load_explicit(&slot->tag, memory_order_acquire) != look->tag) {",
    )
    TAG_AFTER = (
        "the tag is checked after the copy",
        "look.c",
        "return atomic_load_explicit(&slot->tag, memory_order_relaxed) == look->tag;",
    )
    COPY_FENCE = (
        "an acquire fence between the copy and the second check of the tag",
        "race.h",
        "order_loads_before_tag(void) { /* pairs with the release fence in "
        "order_tag_before_stores: whoever has copied one byte of the * next content finds the "
        "tag changed */ "
        "atomic_thread_fence(memory_order_acquire);",
    )
    HEAD_ACQUIRE = (
        "a reader's load of head acquires",
        "look.c",
        "look->head = atomic_load_explicit(&header->head, memory_order_acquire);",
    )
    PENDING_SECOND_LOOK = (
        "a reader looks at a pending head a second time",
        "look.c",
        "if (atomic_load_explicit(&header->head, memory_order_relaxed) != look->head) { "
        "return HF_AGAIN; } look->version = hf_tag_version(tag);",
    )
    CLAIM_SECOND_LOOK = (
        "a committer looks at head a second time, after it took a slot",
        "slots.c",
        "if (atomic_load_explicit(&header->head, memory_order_acquire) != head) { "
        "hf_release_slot(region, slot); return HF_AGAIN; }",
    )
    OWNER_CHECK = (
        "only slots of the dead are taken from their owners",
        "slots.c",
        "if (owner != 0 && (!reclaim || owner_lives(region, owner))) {",
    )
    UNIQUE_NUMBERS = (
        "a subscriber's number is never given twice",
        "subscription.c",
        "atomic_fetch_add_explicit(&self->region.header->next_subscriber, 1,",
    )
    FILLING_MARK = (
        "the tag is 0 before a slot is filled",
        "slots.c",
        "atomic_store_explicit(&slot->tag, HF_TAG_FILLING, memory_order_release);",
    )
    FILLING_FENCE = (
        "a release fence between that mark and the bytes",
        "slots.c",
        "memory_order_release); order_tag_before_stores(); enum hf_result result = extend_slot(",
    )
    FILLING_RELEASE = (
        "that mark releases",
        "slots.c",
        "atomic_store_explicit(&slot->tag, HF_TAG_FILLING, memory_order_release);",
    )
    TAG_RELEASE = (
        "the new tag releases the bytes",
        "slots.c",
        "atomic_store_explicit(&slot->tag, hf_tag(version), memory_order_release);",
    )
    HEAD_RELEASE = (
        "the swap that publishes releases the slot",
        "commit.c",
        "!atomic_compare_exchange_strong_explicit(&header->head, &head, "
        "hf_head(*version + 1, slot), memory_order_seq_cst, memory_order_relaxed)",
    )
    PUBLISH_VALIDATES = (
        "publication is a compare-and-swap",
        "commit.c",
        "!atomic_compare_exchange_strong_explicit(&header->head, &head, "
        "hf_head(*version + 1, slot),",
    )
    RELEASE_LAST = (
        "a slot is given up after it was published",
        "commit.c",
        "result = HF_AGAIN; } hf_release_slot(region, slot); if (result == HF_OK) {",
    )
    OWNER_RELEASE = (
        "giving a slot up releases, taking it acquires",
        "slots.c",
        "atomic_store_explicit(&region->header->owner[slot], 0, memory_order_release);",
    )
    UNIQUE_PENDING = (
        "a pending head names a commit number that is never used twice",
        "layout.h",
        "return commit << 10 | HF_HEAD_PENDING | (uint64_t)(fresh & 15u) << 4 | (current & 15u);",
    )
    ROLL_FORWARD = (
        "whoever settles a committed head rolls it forward",
        "several.c",
        "*settled = committed && !(flags & HF_IDENTITY) ? hf_head(version + 1, fresh)",
    )
    SETTLE_BEFORE_FREE = (
        "a descriptor is freed after every head was settled",
        "several.c",
        "hf_settle(member->region, member->installed);",
    )
    FREE_OWN_USE = (
        "a committer frees its own use of a descriptor only",
        "several.c",
        "if (hf_status_sequence(status) == hf_commit_sequence(commit)) {",
    )
    STATUS_SEQUENCE = (
        "a status word counts only for the commit whose sequence it has",
        "look.c",
        "if (status == hf_status_word(hf_commit_sequence(commit), HF_COMMITTED) &&",
    )
    NOTE_BEFORE_HEADS = (
        "clearing up notes the status words before it looks at the heads",
        "protocol.h",
        "note the status words, THEN collect the commits",
    )
    CLEARING_VALIDATES = (
        "clearing up takes an undecided commit's word by compare-and-swap",
        "several.c",
        "if (!atomic_compare_exchange_strong_explicit(word, &status, aborted, "
        "memory_order_acq_rel, memory_order_relaxed)) { continue;",
    )
    NOTE_ACQUIRE = (
        "the noted status words acquire what was installed before",
        "several.c",
        "noted[i] = atomic_load_explicit(&table->descriptor[i].status, memory_order_acquire);",
    )
    STATUS_ACQUIRE = (
        "a reader's load of the status word acquires",
        "look.c",
        "uint64_t status = atomic_load_explicit(&descriptor->status, memory_order_acquire);",
    )
    PENDING_ACQUIRE = (
        "a reader's load of the current tag acquires, before the second look",
        "look.c",
        "uint64_t tag = atomic_load_explicit(&header->slot[look->slot].tag, memory_order_acquire);",
    )
    DECISION_RELEASE = (
        "the decision releases the installations",
        "several.c",
        "status_word(table, commit), &status, hf_status_word(sequence, decision), "
        "memory_order_seq_cst, memory_order_relaxed);",
    )
    INSTALL_RELEASE = (
        "an installation releases the slot",
        "several.c",
        "!atomic_compare_exchange_strong_explicit(head_word, &head, member->installed, "
        "memory_order_acq_rel, memory_order_relaxed)",
    )
    ABORT_FIRST = (
        "a helper aborts an undecided commit before it takes an installation back",
        "several.c",
        "if (status == undecided && "
        "atomic_compare_exchange_strong_explicit(word, &status, aborted,",
    )
    DECIDE_LAST = (
        "the decision follows the last installation",
        "several.c",
        "bool decided = atomic_compare_exchange_strong_explicit( "
        "status_word(table, commit), &status,",
    )
    DECISION_VALIDATES = (
        "the decision is a compare-and-swap",
        "several.c",
        "return decided || result != HF_OK ? result : HF_AGAIN; /* aborted by somebody else */",
    )
    CONDITIONS_INSTALLED = (
        "a member that is only required is installed too",
        "several.c",
        "if (members[i].region->number != 0) { result = install(&members[i], commit); }",
    )
    SNAPSHOT_TWICE = (
        "a snapshot looks at every version a second time",
        "joint.c",
        "if (look.version != versions[same]) {",
    )
    RING_FIRST = (
        "rung first, noted afterwards",
        "commit.c",
        'ssize_t written = pwrite(region->fd, "", 1, HF_RING_OFFSET); (void)written; '
        "/* A late store of an older number costs one needless ring, never a missing one. */ "
        "atomic_store_explicit(&bell->rung, wanted, memory_order_relaxed);",
    )
    TWO_COUNTERS = (
        "two counters instead of one flag",
        "commit.c",
        "if (wanted == atomic_load_explicit(&bell->rung, memory_order_relaxed)) {",
    )
    WANT_BEFORE_LOOK = (
        "one who waits says so before it looks",
        "handle.c",
        "if (self->timer_fd >= 0) { quiet(self); } return true;",
    )
    DRAIN_BEFORE_WANT = (
        "one who waits drains old notices before it says so",
        "handle.c",
        "hf_throttle_listen(self, true); hf_want(&self->region); }",
    )
    DEATH_NOTICE = (
        "the death of a committer is a notice too",
        "../watch.py",
        "EVENTS = kernel.IN_MODIFY | kernel.IN_CLOSE_WRITE",
    )
    STRICT_PUBLISH = (
        "the swap that publishes is sequentially consistent with the load of `wanted`",
        "commit.c",
        "uint64_t wanted = atomic_load_explicit(&bell->wanted, memory_order_seq_cst);",
    )
    STRICT_WANT = (
        "`wanted` is raised sequentially consistently",
        "commit.c",
        "atomic_fetch_add_explicit(&region->bell->wanted, 1, memory_order_seq_cst);",
    )

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def file(self) -> str:
        return CORE + self.value[1]

    @property
    def text(self) -> str:
        return self.value[2]


Missing = frozenset[Safeguard]
NOTHING: Missing = frozenset()
