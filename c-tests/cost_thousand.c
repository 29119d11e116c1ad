/*
 * A thousand PGM sockets in one process: senders of one group, listeners of one group, and groups. Every
 * message arrives, every stream ends, one thread does it all, and nothing is left open.
 */
/* c-tests: time=290 */
#include "check.h"
#include "many.h"

static int rx[MANY], tx[MANY], fd[MANY];

static void close_all(int *sockets)
{
    for (int i = 0; i < MANY; i++)
        OK(close(sockets[i]));
}

/* The number that a session's only message holds; then the session ends. */
static uint32_t last_word(int session_fd)
{
    uint32_t word;

    EQUAL(recv(session_fd, &word, sizeof(word), 0), sizeof(word));
    EQUAL(recv(session_fd, &word, sizeof(word), 0), 0);
    OK(close(session_fd));
    return word;
}

static void send_word(int to, uint32_t word)
{
    EQUAL(send(to, &word, sizeof(word), 0), sizeof(word));
}

/* One listener, a thousand senders: a session for each. */
static void senders_of_one_group(void)
{
    static char seen[MANY];
    int listening = listener(0);

    for (int i = 0; i < MANY; i++)
        tx[i] = sender(0);
    for (int i = 0; i < MANY; i++)
        send_word(tx[i], (uint32_t)i);
    close_all(tx);
    for (int i = 0; i < MANY; i++)
        fd[i] = session(listening);
    for (int i = 0; i < MANY; i++) {
        uint32_t word = last_word(fd[i]);
        CHECK(word < MANY && !seen[word]);
        seen[word] = 1;
    }
    OK(close(listening));
}

/* One sender, a thousand listeners. */
static void listeners_of_one_group(void)
{
    for (int i = 0; i < MANY; i++)
        rx[i] = listener(1);
    int to = sender(1);
    send_word(to, 42);
    OK(close(to));
    for (int i = 0; i < MANY; i++)
        EQUAL(last_word(session(rx[i])), 42);
    close_all(rx);
}

/* A thousand groups, a sender and a listener for each: more than a socket may join
 * (net.ipv4.igmp_max_memberships). */
static void groups(void)
{
    for (int i = 0; i < MANY; i++)
        rx[i] = listener(2 + i);
    for (int i = 0; i < MANY; i++)
        tx[i] = sender(2 + i);
    for (int i = 0; i < MANY; i++)
        send_word(tx[i], (uint32_t)i);
    for (int i = 0; i < MANY; i++)
        fd[i] = session(rx[i]);
    EQUAL(field("/proc/self/status", "Threads:"), 2);
    close_all(tx);
    for (int i = 0; i < MANY; i++)
        EQUAL(last_word(fd[i]), (uint32_t)i);
    close_all(rx);
}

/* Wait until no more descriptors are open than the engine's own few. */
static void nothing_is_left(void)
{
    int open;

    for (int tries = 0; tries < 300; tries++) {
        open = 0;
        for (int i = 3; i < DESCRIPTORS; i++)
            open += is_open(i);
        if (open <= 8)
            return;
        sleep_ms(100);
    }
    FAIL("%d descriptors are still open", open);
}

int main(void)
{
    begin(280);
    raise_limit();
    long long start = now_ms();
    senders_of_one_group();
    printf("senders of one group: %lld ms\n", now_ms() - start), start = now_ms();
    listeners_of_one_group();
    printf("listeners of one group: %lld ms\n", now_ms() - start), start = now_ms();
    groups();
    printf("groups: %lld ms\n", now_ms() - start), start = now_ms();
    nothing_is_left();
    printf("lingering: %lld ms\n", now_ms() - start);
    return 0;
}
