/* The protocol under the race detector: threads that read and commit, each as its own subscriber, through
 * one mapping (the detector goes by addresses: through two mappings it would see no race).
 *
 * Each writer adds one to the number that fills the state, by transactions that retry on conflict;
 * each reader checks that what it copied is one number, repeated, and that numbers never go back.
 * At the end the number is exactly WRITERS * COMMITS.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol.h"

#define WRITERS 4
#define READERS 3
#define COMMITS 4000
#define SIZE 512u
#define WORDS (SIZE / 8)
#define PAGE 4096u

static char path[] = "/dev/shm/holdfast-stress-XXXXXX";
static atomic_bool done;
static atomic_ulong reads;
static atomic_ulong conflicts;

static void fail(const char *what) {
    fprintf(stderr, "stress: %s\n", what);
    unlink(path);
    exit(1);
}

static struct hf_header *mapped;

static struct hf_region attach(bool writer) {
    struct hf_region region = {
        .header = mapped,
        .length = hf_mapping_length(PAGE, SIZE),
        .fd = open(path, O_RDWR | O_CLOEXEC),
        .pid = getpid(),
    };
    if (region.fd < 0 || hf_audit(&region) != HF_OK) {
        fail("cannot attach");
    }
    if (writer) {
        region.number =
            atomic_fetch_add_explicit(&region.header->next_subscriber, 1, memory_order_relaxed);
        struct flock lock = {
            .l_type = F_WRLCK,
            .l_whence = SEEK_SET,
            .l_start = HF_LOCK_WRITERS + (off_t)region.number,
            .l_len = 1,
        };
        if (fcntl(region.fd, F_OFD_SETLK, &lock) != 0) {
            fail("cannot lock");
        }
    }
    return region;
}

static uint64_t snapshot(const struct hf_region *region, uint64_t *words, uint64_t *version) {
    struct hf_look look;
    for (;;) {
        enum hf_result result = hf_look(region, &look);
        if (result == HF_OK && hf_copy(region, &look, words, 0, SIZE)) {
            *version = look.version;
            for (unsigned i = 1; i < WORDS; i++) {
                if (words[i] != words[0]) {
                    fail("torn read");
                }
            }
            return words[0];
        }
        if (result != HF_OK && result != HF_AGAIN) {
            fail("look failed");
        }
    }
}

static void *write_numbers(void *unused) {
    struct hf_region region = attach(true);
    uint64_t words[WORDS];
    for (unsigned committed = 0; committed < COMMITS;) {
        uint64_t version;
        uint64_t value = snapshot(&region, words, &version) + 1;
        for (unsigned i = 0; i < WORDS; i++) {
            words[i] = value;
        }
        struct hf_commit commit = {
            .started = version, .data = words, .size = SIZE, .flags = HF_WRITTEN, .time_ns = 1};
        enum hf_result result = hf_publish(&region, &commit, &version);
        if (result == HF_OK) {
            committed++;
        } else if (result == HF_CONFLICT) {
            atomic_fetch_add(&conflicts, 1);
        } else if (result != HF_BUSY) {
            fail("commit failed");
        }
    }
    return unused;
}

static void *read_numbers(void *unused) {
    struct hf_region region = attach(false);
    uint64_t words[WORDS];
    uint64_t last = 0, version = 0, newest = 0;
    while (!atomic_load(&done)) {
        uint64_t value = snapshot(&region, words, &version);
        if (value < last || version < newest || value != version) {
            fail("a version went back, or holds another's number");
        }
        last = value;
        newest = version;
        atomic_fetch_add(&reads, 1);
    }
    return unused;
}

static void create(void) {
    int fd = mkstemp(path);
    struct hf_header *header = calloc(1, sizeof *header);
    uint8_t incarnation[16] = {1};
    uint64_t length = HF_HEADER_SIZE + HF_SLOTS * SIZE;
    if (fd < 0 || header == NULL || posix_fallocate(fd, 0, (off_t)length) != 0) {
        fail("cannot create");
    }
    hf_format(header, "stress", 6, SIZE, PAGE, 0, incarnation, 0);
    if (pwrite(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header) {
        fail("cannot write");
    }
    free(header);
    mapped = mmap(NULL, hf_mapping_length(PAGE, SIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) {
        fail("cannot map");
    }
    close(fd);
}

int main(void) {
    create();
    struct hf_region watcher = attach(false);
    pthread_t readers[READERS], writers[WRITERS];
    for (unsigned i = 0; i < READERS; i++) {
        pthread_create(&readers[i], NULL, read_numbers, NULL);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_create(&writers[i], NULL, write_numbers, NULL);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(writers[i], NULL);
    }
    atomic_store(&done, true);
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    uint64_t words[WORDS], version;
    uint64_t total = snapshot(&watcher, words, &version);
    unlink(path);
    printf("commits %llu of %d, conflicts %lu, reads %lu, torn 0\n", (unsigned long long)total,
           WRITERS * COMMITS, (unsigned long)conflicts, (unsigned long)reads);
    return total == WRITERS * COMMITS ? 0 : 1;
}
