/*
 * The main thread ends, and others go on: however it ends, and whether the first PGM socket is made before or after,
 * the process ends with the last thread of its own.
 */
#include "check.h"
#include <pthread.h>
#include <threads.h>

enum how { BEFORE_SOCKET, AFTER_SOCKET, C11, CANCELLED, CANCELLED_BEFORE, FORKED, HOWS };

static pthread_t main_thread;
static enum how how;

static void transmit(void)
{
    int fd = sender(0);
    send_text(fd, "x");
}

static void *other(void *arg)
{
    (void)arg;
    if (how == CANCELLED)
        transmit();
    if (how == CANCELLED || how == CANCELLED_BEFORE)
        EQUAL(pthread_cancel(main_thread), 0);
    EQUAL(pthread_join(main_thread, NULL), 0);
    transmit();
    return NULL;
}

static void program(void *arg)
{
    pthread_t thread;

    (void)arg;
    main_thread = pthread_self();
    if (how == AFTER_SOCKET || how == C11 || how == FORKED)
        transmit();
    if (how == FORKED) {
        pid_t pid = (pid_t)OK(fork());
        if (pid != 0) {
            CHILD_PASSED(pid);
            return;
        }
        begin(10);
    }
    EQUAL(pthread_create(&thread, NULL, other, NULL), 0);
    if (how == C11)
        thrd_exit(0);
    if (how != CANCELLED && how != CANCELLED_BEFORE)
        pthread_exit(NULL);
    for (;;)
        pause();
}

int main(void)
{
    begin(40);
    for (how = 0; how < HOWS; how++) {
        fprintf(stderr, "way %d\n", (int)how);
        /* Where nothing but SIGKILL ends it, it goes with us. */
        pid_t pid = child(10, program, NULL);
        CHILD_PASSED(pid);
    }
    return 0;
}
