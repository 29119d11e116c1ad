/*
 * A sender ends while its other threads are in the middle of malloc, which has one heap for all: whoever takes over must
 * not wait for them. Every octet arrives, nothing hangs, nothing is left behind.
 */
#include "check.h"
#include "last.h"
#include <pthread.h>

enum { TIMES = 6, MESSAGES = 300, SIZE = 1300, THREADS = 4 };

static void *churn(void *arg)
{
    for (;;) {
        void *volatile memory = malloc(30000);
        free(memory);
    }
    return arg;
}

static int program(int n)
{
    char message[SIZE];
    pthread_t thread;

    begin(60);
    int fd = sender(n);
    for (int i = 0; i < THREADS; i++)
        EQUAL(pthread_create(&thread, NULL, churn, NULL), 0);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(fd, message, SIZE, 0), SIZE);
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    char message[SIZE + 1], number[8];
    char *args[] = {argv[0], number, NULL};

    if (argc > 1)
        return program(atoi(argv[1]));
    begin(90);
    setenv("MALLOC_ARENA_MAX", "1", 1);
    setenv("PGM_FAULT_LOSS", "0.05", 1);
    for (int n = 0; n < TIMES; n++) {
        int rx = listener(n);
        pid_t pid = (pid_t)OK(fork());
        snprintf(number, sizeof(number), "%d", n);
        if (pid == 0) {
            execv("/proc/self/exe", args);
            FAIL("execv: %s", errno_text(errno));
        }
        CHILD_PASSED(pid);
        int fd = session(rx);
        for (uint32_t i = 0; i < MESSAGES; i++) {
            EQUAL(recv(fd, message, sizeof(message), 0), SIZE);
            CHECK(matches(message, SIZE, i, 0));
        }
        EQUAL(recv(fd, message, sizeof(message), 0), 0);
        OK(close(fd));
        OK(close(rx));
    }
    expect_nobody();
    return 0;
}
