/*
 * Processes that read one session: each octet goes to one of them, whatever the length of messages and buffers, and
 * whatever other threads close: the kernel drops a process's record locks on a socket with each of its descriptors.
 */
/* c-tests: time=120 */
#include "check.h"
#include <pthread.h>
#include <sys/mman.h>

#define ROUNDS 40
#define LONG 50000 /* words of a message that travels as a file */
#define SHORT 30
#define WORDS (ROUNDS * (LONG + 3 * SHORT))
#define READERS 3
#define WAYS 8 /* from the third on others close */

/* How often each word arrived. */
static unsigned char *seen;

static void read_all(int fd, size_t size)
{
    static uint32_t buffer[100000];

    for (;;) {
        ssize_t n = OK(recv(fd, buffer, size, 0));
        if (n == 0)
            return;
        EQUAL(n % 4, 0);
        for (ssize_t i = 0; i < n / 4; i++) {
            CHECK(buffer[i] < WORDS);
            __atomic_fetch_add(&seen[buffer[i]], 1, __ATOMIC_RELAXED);
        }
    }
}

/* Closing one descriptor of the session, in whatever way, disturbs nobody at another. */
static void *close_others(void *arg)
{
    int fd = *(int *)arg, way = 0;

    for (;; way = (way + 1) % 3) {
        int other = (int)OK(dup(fd));
        if (way == 1)
            OK(dup2(0, other));
        else if (way == 2)
            OK(close_range((unsigned)other, (unsigned)other, 0));
        if (way != 2)
            OK(close(other));
    }
    return NULL;
}

static void send_all(int fd)
{
    static uint32_t message[LONG];
    uint32_t next = 0;

    for (int i = 0; i < ROUNDS * 4; i++) {
        size_t words = i % 4 == 0 ? LONG : SHORT;
        for (size_t at = 0; at < words; at++)
            message[at] = next++;
        EQUAL(send(fd, message, words * 4, 0), words * 4);
    }
}

int main(void)
{
    /* All of a message, and a part. */
    static const size_t sizes[] = {400000, 30000};

    begin(110);
    seen = mmap(NULL, WORDS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(seen != MAP_FAILED);
    for (int way = 0; way < WAYS; way++) {
        memset(seen, 0, WORDS);
        int rx = listener(way), tx = sender(way);
        pid_t readers[READERS];

        send_text(tx, "word");
        int fd = session(rx);
        EXPECT_TEXT(fd, "word");
        for (int i = 0; i < READERS; i++) {
            readers[i] = (pid_t)OK(fork());
            if (readers[i] == 0) {
                begin(100);
                /* The stream ends with the last of its descriptors. */
                OK(close(tx));
                pthread_t thread;
                for (int n = 0; n < 2 && way >= 2; n++)
                    EQUAL(pthread_create(&thread, NULL, close_others, &fd), 0);
                read_all(fd, sizes[way % 2]);
                _exit(0);
            }
        }
        send_all(tx);
        OK(close(tx));
        for (int i = 0; i < READERS; i++)
            CHILD_PASSED(readers[i]);
        for (size_t i = 0; i < WORDS; i++)
            if (seen[i] != 1)
                FAIL("word %zu arrived %d times", i, seen[i]);
        OK(close(fd));
        OK(close(rx));
    }
    return 0;
}
