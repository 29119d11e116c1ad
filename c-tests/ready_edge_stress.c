/*
 * A minute of edges: readers that wait for the next edge only when a call said EAGAIN, as nginx and libuv do,
 * on sessions and on senders whose window is full most of the time. An edge that is lost is a hang.
 * CHECK_STRESS_SECONDS makes it another time than a minute.
 */
/* c-tests: time=150 */
#include "check.h"
#include <pthread.h>
#include <sys/epoll.h>

enum { PAIRS = 3, MAX_SIZE = 3000 };
/* Now and then a reader sleeps, so that everything before it fills, and its writer waits until all has come. */
enum { BURST = 3000, ASLEEP_AT = 2000, ASLEEP_MS = 200 };

static volatile int stop;
static int tx[PAIRS], rx[PAIRS], fd[PAIRS];
static unsigned long sent[PAIRS], received[PAIRS], edges[PAIRS];

static size_t size_of(unsigned long n)
{
    return 8 + n * 37 % (MAX_SIZE - 8);
}

static int watch(int which, uint32_t events)
{
    int ep = (int)OK(epoll_create1(EPOLL_CLOEXEC));
    struct epoll_event e = {.events = events | EPOLLET};

    OK(epoll_ctl(ep, EPOLL_CTL_ADD, which, &e));
    return ep;
}

/* Nothing is on its way any more: if an edge was lost, nothing that comes later makes up for it. */
static void wait_for_reader(int pair)
{
    long long begun = now_ms();

    while (__atomic_load_n(&received[pair], __ATOMIC_RELAXED) < sent[pair]) {
        if (now_ms() - begun > 20000)
            FAIL("pair %d: %lu sent, %lu received after 20 s", pair, sent[pair], received[pair]);
        sleep_ms(1);
    }
}

/* The next edge; 20 s without one is a hang. */
static uint32_t edge(int ep, const char *who, int pair)
{
    struct epoll_event e;
    int n;

    do
        n = epoll_wait(ep, &e, 1, 20000);
    while (n == -1 && errno == EINTR);
    if (n != 1)
        FAIL("%s %d: no edge within 20 s; %lu sent, %lu received", who, pair, sent[pair],
             received[pair]);
    return e.events;
}

static void *transmit(void *arg)
{
    int pair = (int)(intptr_t)arg, ep = watch(tx[pair], EPOLLOUT);
    unsigned char message[MAX_SIZE];

    while (!stop) {
        size_t size = size_of(sent[pair]);
        fill(message, size, (uint32_t)sent[pair]);
        ssize_t n = send(tx[pair], message, size, 0);
        if (n == -1) {
            EQUAL(errno, EAGAIN);
            edge(ep, "sender", pair);
            continue;
        }
        EQUAL(n, size);
        sent[pair]++;
        if (sent[pair] % BURST == 0)
            wait_for_reader(pair);
        /* Pauses of many lengths, so that the reader drains at all moments. */
        if (pair > 0 && sent[pair] % 16 == 0)
            usleep((useconds_t)(sent[pair] * 7 % 400));
    }
    OK(close(tx[pair]));
    OK(close(ep));
    return NULL;
}

static void *receive(void *arg)
{
    int pair = (int)(intptr_t)arg, ep = watch(fd[pair], EPOLLIN | EPOLLRDHUP);
    unsigned char message[MAX_SIZE + 1];
    size_t got = 0;

    for (;;) {
        edge(ep, "receiver", pair);
        edges[pair]++;
        for (;;) {
            /* Pair 2 reads in parts. */
            size_t room = pair == 2 ? 700 : sizeof(message);
            if (room > sizeof(message) - got)
                room = sizeof(message) - got;
            ssize_t n = recv(fd[pair], message + got, room, 0);
            if (n == -1) {
                EQUAL(errno, EAGAIN);
                break;
            }
            if (n == 0) {
                OK(close(ep));
                return NULL;
            }
            got += (size_t)n;
            size_t size = size_of(received[pair]);
            CHECK(got <= size);
            if (got == size) {
                CHECK(matches(message, size, (uint32_t)received[pair], 0));
                __atomic_fetch_add(&received[pair], 1, __ATOMIC_RELAXED);
                got = 0;
                if (received[pair] % BURST == ASLEEP_AT)
                    sleep_ms(ASLEEP_MS);
            }
        }
    }
}

int main(void)
{
    struct pgm_send_window windows[PAIRS] = {
        {20000, 0, 1000000}, {80000, 0, 10000000}, {50000, 0, 10000000}};
    const char *seconds = getenv("CHECK_STRESS_SECONDS");
    pthread_t writers[PAIRS], readers[PAIRS];

    begin(140);
    for (int i = 0; i < PAIRS; i++) {
        struct sockaddr_in a = group(i);
        rx[i] = listener(i);
        tx[i] = pgm_socket(SOCK_NONBLOCK);
        OK(setsockopt(tx[i], IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &windows[i], sizeof(windows[i])));
        OK(connect(tx[i], SA(a), sizeof(a)));
        EQUAL(pthread_create(&writers[i], NULL, transmit, (void *)(intptr_t)i), 0);
        EQUAL(ready(rx[i], POLLIN, 20000), POLLIN);
        fd[i] = (int)OK(accept4(rx[i], NULL, NULL, SOCK_NONBLOCK));
        EQUAL(pthread_create(&readers[i], NULL, receive, (void *)(intptr_t)i), 0);
    }
    sleep_ms(1000 * (seconds != NULL ? atoi(seconds) : 60));
    stop = 1;
    for (int i = 0; i < PAIRS; i++)
        EQUAL(pthread_join(writers[i], NULL), 0);
    for (int i = 0; i < PAIRS; i++) {
        EQUAL(pthread_join(readers[i], NULL), 0);
        printf("pair %d: %lu messages, %lu edges\n", i, received[i], edges[i]);
        EQUAL(received[i], sent[i]);
        CHECK(received[i] > 100);
        CHECK(edges[i] > 10);
    }
    return 0;
}
