/*
 * What an idle PGM socket costs: at most 64 KiB of this process's memory and four descriptors, and all of
 * them one thread. Socket buffers are the kernel's and count nowhere here; they are empty.
 */
/* c-tests: time=200 */
#include "check.h"
#include "many.h"

static long pages_kib(void)
{
    return field("/proc/self/smaps_rollup", "Private_Dirty:");
}

static int descriptors(void)
{
    int open = 0;

    for (int fd = 0; fd < DESCRIPTORS; fd++)
        open += is_open(fd);
    return open;
}

static long kib, threads;
static int open_before;

static void before(void)
{
    kib = pages_kib();
    open_before = descriptors();
}

/* What MANY sockets have cost since `before`. */
static void after(const char *what, int most_descriptors)
{
    long each = (pages_kib() - kib) * 1024 / MANY;
    double open = (double)(descriptors() - open_before) / MANY;

    printf("%-9s %6ld octets, %.2f descriptors\n", what, each, open);
    if (each > 64 * 1024)
        FAIL("a %s takes %ld octets", what, each);
    if (open > most_descriptors + 0.02)
        FAIL("a %s takes %.2f descriptors", what, open);
    EQUAL(field("/proc/self/status", "Threads:"), threads);
}

int main(void)
{
    static int tx[MANY], rx[MANY], fd[MANY];

    begin(190);
    raise_limit();
    EQUAL(field("/proc/self/status", "Threads:"), 1);

    /* One of each first: engine, buffers of a batch. */
    int first_rx = listener(MANY), first_tx = sender(MANY);
    send_text(first_tx, "x");
    int first = session(first_rx);
    EXPECT_TEXT(first, "x");
    threads = field("/proc/self/status", "Threads:");
    EQUAL(threads, 2);

    before();
    for (int i = 0; i < MANY; i++)
        rx[i] = pgm_socket(0);
    after("fresh", 2);
    for (int i = 0; i < MANY; i++) {
        struct sockaddr_in a = group(i);
        OK(bind(rx[i], SA(a), sizeof(a)));
    }
    after("bound", 2);
    for (int i = 0; i < MANY; i++)
        OK(listen(rx[i], 5));
    after("listener", 3);

    before();
    for (int i = 0; i < MANY; i++)
        tx[i] = sender(i);
    after("sender", 4);

    before();
    for (int i = 0; i < MANY; i++)
        send_text(tx[i], "x");
    after("sent one", 2); /* sessions begin to wait at their listeners */
    for (int i = 0; i < MANY; i++) {
        fd[i] = session(rx[i]);
        EXPECT_TEXT(fd[i], "x");
    }
    after("session", 2);
    return 0;
}
