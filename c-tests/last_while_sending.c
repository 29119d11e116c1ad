/*
 * PGM_LINGER=block: the end of a process waits for what was sent before it, not for what another thread goes
 * on sending meanwhile. Receivers get whole messages in order and a clean end.
 */
/* c-tests: time=60 */
#include "check.h"
#include <pthread.h>

enum { SIZE = 20000 };

static void *send_on(void *arg)
{
    char message[SIZE];
    int fd = *(int *)arg;

    for (uint32_t i = 0;; i++) {
        fill(message, sizeof(message), i);
        send(fd, message, sizeof(message), MSG_NOSIGNAL);
    }
    return NULL;
}

static void transmit(void *arg)
{
    pthread_t thread;

    hear(*(int *)arg);
    int fd = sender(0);
    EQUAL(pthread_create(&thread, NULL, send_on, &fd), 0);
    sleep_ms(500);
}

int main(void)
{
    static char message[SIZE];
    ssize_t n;
    int go[2];

    begin(50);
    OK(setenv("PGM_LINGER", "block", 1));
    OK(pipe(go));
    pid_t pid = child(30, transmit, go);
    int listening = listener(0);
    tell(go[1]);
    int fd = session(listening);
    for (uint32_t i = 0; (n = recv(fd, message, sizeof(message), 0)) > 0; i++) {
        EQUAL(n, SIZE);
        CHECK(matches(message, SIZE, i, 0));
    }
    EQUAL(n, 0);
    CHILD_PASSED(pid);
    return 0;
}
