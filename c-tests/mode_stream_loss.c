/*
 * Unrecoverable loss in stream mode: all octets before the gap, then ECONNRESET once, then 0. With
 * PGM_CONTINUE_ON_LOSS the octets after the gap follow, and nothing tells.
 */
/* c-tests: proto=113 time=60 */
#include "check.h"

enum { BLOCKS = 40000, BLOCK = 1000 };

static int goes_on;

static int stream(void)
{
    return (int)OK(socket(AF_INET, SOCK_STREAM, IPPROTO_PGM));
}

static void transmit(void *arg)
{
    /* 800 Mbit/s and 1 ms: nothing can be repaired for longer. */
    struct pgm_send_window window = {800000, 0, 100000};
    struct sockaddr_in a = group(goes_on);
    int *pipes = arg, fd = stream();
    char block[BLOCK];

    OK(setsockopt(fd, IPPROTO_PGM, RM_RATE_WINDOW_SIZE, &window, sizeof(window)));
    hear(pipes[0]);
    OK(connect(fd, SA(a), sizeof(a)));
    for (uint32_t i = 0; i < BLOCKS; i++) {
        fill(block, BLOCK, 5 + i / 1000);
        EQUAL(send(fd, block, BLOCK, 0), BLOCK);
        if (i == 0)
            hear(pipes[0]); /* the receiver has its session and stands still */
    }
    tell(pipes[3]);
    if (!goes_on)
        hear(pipes[0]);
}

static void receive(void *arg)
{
    struct sockaddr_in a = group(goes_on);
    char expected[BLOCK], buffer[BLOCK];
    int *pipes = arg, rx = stream();
    size_t total = 0;
    int prefix = 1;
    ssize_t n;

    OK(setsockopt(rx, IPPROTO_PGM, PGM_CONTINUE_ON_LOSS, &goes_on, sizeof(goes_on)));
    OK(bind(rx, SA(a), sizeof(a)));
    OK(listen(rx, 1));
    tell(pipes[3]);
    int fd = session(rx);
    CHECK(ready(fd, POLLIN, 10000) & POLLIN);
    tell(pipes[3]);
    raise(SIGSTOP);
    while ((n = recv(fd, buffer, BLOCK - total % BLOCK, 0)) > 0) {
        fill(expected, BLOCK, 5 + (uint32_t)(total / BLOCK / 1000));
        prefix = prefix && memcmp(buffer, expected + total % BLOCK, (size_t)n) == 0;
        total += (size_t)n;
    }
    printf("%zu octets\n", total);
    CHECK(total < (size_t)BLOCKS * BLOCK);
    EQUAL(n, goes_on ? 0 : -1);
    if (!goes_on) {
        EQUAL(errno, ECONNRESET);
        CHECK(prefix);
    }
    EQUAL(recv(fd, buffer, BLOCK, 0), 0);
}

int main(void)
{
    begin(55);
    for (goes_on = 0; goes_on < 2; goes_on++) {
        int to_sender[2], from[2], status;

        OK(pipe(to_sender));
        OK(pipe(from));
        int pipes[4] = {to_sender[0], to_sender[1], from[0], from[1]};
        pid_t tx = child(50, transmit, pipes), rx = child(50, receive, pipes);
        hear(from[0]); /* listening */
        tell(to_sender[1]);
        hear(from[0]); /* first octets there */
        EQUAL(waitpid(rx, &status, WUNTRACED), rx);
        CHECK(WIFSTOPPED(status));
        tell(to_sender[1]);
        hear(from[0]); /* all sent */
        sleep_ms(200);
        OK(kill(rx, SIGCONT));
        CHILD_PASSED(rx);
        tell(to_sender[1]);
        CHILD_PASSED(tx);
    }
    return 0;
}
