/*
 * A message with RM_SET_MESSAGE_BOUNDARY whose sends had to wait for room, and a sender that ends right after
 * it: by close, shutdown or exit. Receivers get all of it, what follows it and then the end.
 */
/* c-tests: time=60 */
#include "check.h"

enum { LONG = 6 << 20, PART = 50000 };
static enum way { CLOSE, SHUTDOWN, EXIT, WAYS } way;

static void transmit(void *arg)
{
    char *message = malloc(LONG);
    uint32_t size = LONG;

    CHECK(message != NULL);
    fill(message, LONG, (uint32_t)way);
    hear(*(int *)arg);
    int fd = sender((int)way);
    OK(setsockopt(fd, IPPROTO_PGM, RM_SET_MESSAGE_BOUNDARY, &size, sizeof(size)));
    for (size_t at = 0; at < LONG; at += PART) {
        size_t len = PART < LONG - at ? PART : LONG - at;
        EQUAL(send(fd, message + at, len, 0), len);
    }
    send_text(fd, "after");
    if (way == CLOSE)
        OK(close(fd));
    if (way == SHUTDOWN)
        OK(shutdown(fd, SHUT_WR));
    free(message);
}

int main(void)
{
    char *message = malloc(LONG);
    pid_t pids[WAYS];
    int go[2], listening[WAYS];

    begin(50);
    CHECK(message != NULL);
    OK(pipe(go));
    for (way = CLOSE; way < WAYS; way++)
        pids[way] = child(40, transmit, go);
    for (int i = 0; i < WAYS; i++)
        listening[i] = listener(i);
    for (int i = 0; i < WAYS; i++) {
        tell(go[1]);
        /* Whichever child heard it. */
        struct pollfd ready[WAYS];
        for (int n = 0; n < WAYS; n++)
            ready[n] = (struct pollfd){listening[n], POLLIN, 0};
        if (poll(ready, WAYS, 10000) <= 0)
            FAIL("no session within 10 s");
        for (uint32_t n = 0; n < WAYS; n++) {
            if (ready[n].revents == 0)
                continue;
            int fd = session(listening[n]);
            EQUAL(recv(fd, message, LONG, MSG_WAITALL), LONG);
            CHECK(matches(message, LONG, n, 0));
            EXPECT_TEXT(fd, "after");
            EQUAL(recv(fd, message, LONG, 0), 0);
            OK(close(fd));
        }
    }
    for (int i = 0; i < WAYS; i++)
        CHILD_PASSED(pids[i]);
    return 0;
}
