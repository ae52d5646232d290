/* Slots, as those who commit use them: taken, filled, published or not, given up. */
#ifndef HOLDFAST_STATE_SLOTS_H
#define HOLDFAST_STATE_SLOTS_H

#include "protocol.h"

/* Take a slot that `head` (which is not pending) does not name.  HF_AGAIN: head has moved meanwhile.
 * HF_BUSY: every slot is being filled by somebody who lives.  Makes a system call only to find out
 * who lives, when none is free. */
enum hf_result hf_take_slot(struct hf_region *region, uint64_t head, unsigned *taken);

/* Fill a slot of ours with what shall be `version`.  HF_NO_SPACE: it has no room and gets none. */
enum hf_result hf_fill_slot(struct hf_region *region, unsigned slot,
                            const struct hf_commit *commit, uint64_t version);

/* Give a slot up, published or not: what is published is protected by head. */
void hf_release_slot(struct hf_region *region, unsigned slot);

#endif
