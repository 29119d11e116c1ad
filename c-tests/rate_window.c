/* RM_RATE_WINDOW_SIZE: any one, two or three members; rate = bytes * 8 / ms; the rate is kept. */
#include "check.h"

static struct pgm_send_window get(int fd)
{
    struct pgm_send_window w;
    socklen_t len = sizeof(w);
    OK(getsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &w, &len));
    EQUAL(len, sizeof(w));
    return w;
}

static int set(int fd, uint32_t rate, uint32_t ms, uint32_t bytes)
{
    struct pgm_send_window w = {rate, ms, bytes};
    return setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &w, sizeof(w));
}

static void is(int fd, uint32_t rate, uint32_t ms, uint32_t bytes)
{
    struct pgm_send_window w = get(fd);
    EQUAL(w.rate_kbits_per_sec, rate);
    EQUAL(w.window_size_in_msecs, ms);
    EQUAL(w.window_size_in_bytes, bytes);
}

/* 250 kB at 2 Mbit/s last a second, not less. */
static void keeps_the_rate(void)
{
    struct sockaddr_in a = group(1);
    char message[1000], buffer[1001];

    int rx = listener(1), tx = pgm_socket(0);
    OK(set(tx, 2000, 0, 10000000));
    OK(connect(tx, SA(a), sizeof(a)));
    fill(message, sizeof(message), 1);
    EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    int fd = session(rx);
    EQUAL(recv(fd, buffer, sizeof(buffer), 0), sizeof(message));
    long long start = now_ms();
    for (int i = 0; i < 250; i++)
        EQUAL(send(tx, message, sizeof(message), 0), sizeof(message));
    for (int i = 0; i < 250; i++)
        EQUAL(recv(fd, buffer, sizeof(buffer), 0), sizeof(message));
    long long ms = now_ms() - start;
    if (ms < 900 || ms > 4000)
        FAIL("250 kB at 2 Mbit/s took %lld ms, expected 1 s and headers", ms);
}

int main(void)
{
    begin(40);
    int fd = pgm_socket(0);
    is(fd, 100000, 800, 10000000); /* the default */
    OK(set(fd, 1000, 0, 0)); /* only a rate: the bytes stay */
    is(fd, 1000, 80000, 10000000);
    OK(set(fd, 0, 0, 1000000)); /* only bytes: the rate stays */
    is(fd, 1000, 8000, 1000000);
    OK(set(fd, 0, 1000, 0)); /* only a time: the rate stays */
    is(fd, 1000, 1000, 125000);
    OK(set(fd, 8000, 100, 0));
    is(fd, 8000, 100, 100000);
    OK(set(fd, 8000, 0, 500000));
    is(fd, 8000, 500, 500000);
    OK(set(fd, 0, 500, 1000000));
    is(fd, 16000, 500, 1000000);
    OK(set(fd, 8000, 100, 100000));
    /* Callers divide in either order: both results are accepted. */
    OK(set(fd, 1001, 333, 1001 * 333 / 8));
    OK(set(fd, 1001, 333, 1001 / 8 * 333));

    /* Contradictions change nothing. */
    OK(set(fd, 8000, 100, 100000));
    FAILS(set(fd, 8000, 100, 200000), EINVAL);
    FAILS(set(fd, 8000, 200, 100000), EINVAL);
    FAILS(set(fd, 0xffffffff, 0xffffffff, 1), EINVAL);
    FAILS(set(fd, 0xffffffff, 0xffffffff, 0), EINVAL); /* the bytes do not fit */
    FAILS(set(fd, 0, 0, 0), EINVAL);
    is(fd, 8000, 100, 100000);

    keeps_the_rate();
    return 0;
}
