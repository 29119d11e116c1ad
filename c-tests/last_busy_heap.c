/*
 * A sender ends while its threads are in the middle of malloc: with all of them in one heap, with the main thread in it,
 * and by a signal handler that interrupted it there. Whoever takes over must not wait for them. Every octet
 * arrives, nothing hangs, nothing is left behind.
 */
/* c-tests: time=120 */
#include "check.h"
#include "last.h"
#include <pthread.h>

enum { TIMES = 6, MESSAGES = 300, SIZE = 1300, THREADS = 4 };

static char **args;
static int sender_fd;

static void *churn(void *arg)
{
    for (;;) {
        void *volatile blocks[40];
        for (int i = 0; i < 40; i++)
            blocks[i] = malloc(2000 + (size_t)i * 700);
        for (int i = 0; i < 40; i++)
            free(blocks[i]);
    }
    return arg;
}

static void send_all(void)
{
    char message[SIZE];

    for (uint32_t i = 0; i < MESSAGES; i++) {
        fill(message, SIZE, i);
        EQUAL(send(sender_fd, message, SIZE, 0), SIZE);
    }
}

static void leave(int signal)
{
    (void)signal;
    _exit(0);
}

static void *send_and_leave(void *arg)
{
    send_all();
    _exit(0);
    return arg;
}

static void *send_and_signal(void *arg)
{
    send_all();
    OK(kill(getpid(), SIGTERM));
    for (;;)
        pause();
    return arg;
}

static int program(int way, int n)
{
    pthread_t thread;

    begin(60);
    sender_fd = sender(n);
    if (way == 0) {
        for (int i = 0; i < THREADS; i++)
            EQUAL(pthread_create(&thread, NULL, churn, NULL), 0);
        send_all();
        _exit(0);
    }
    if (way == 2) {
        sigset_t term;
        signal(SIGTERM, leave);
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        pthread_sigmask(SIG_BLOCK, &term, NULL);
        EQUAL(pthread_create(&thread, NULL, send_and_signal, NULL), 0);
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
    } else {
        EQUAL(pthread_create(&thread, NULL, send_and_leave, NULL), 0);
    }
    churn(NULL);
    return 1;
}

static void round_of(int way, int n)
{
    char message[SIZE + 1], numbers[2][8];
    char *again[] = {args[0], numbers[0], numbers[1], NULL};
    int rx = listener(n);
    pid_t pid = (pid_t)OK(fork());

    if (pid == 0) {
        snprintf(numbers[0], sizeof(numbers[0]), "%d", way);
        snprintf(numbers[1], sizeof(numbers[1]), "%d", n);
        execv("/proc/self/exe", again);
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

int main(int argc, char **argv)
{
    args = argv;
    if (argc > 2)
        return program(atoi(argv[1]), atoi(argv[2]));
    begin(110);
    setenv("PGM_FAULT_LOSS", "0.1", 1);
    for (int n = 0; n < TIMES; n++)
        for (int way = 0; way < 3; way++) {
            if (way == 0)
                setenv("MALLOC_ARENA_MAX", "1", 1);
            else
                unsetenv("MALLOC_ARENA_MAX");
            round_of(way, 3 * n + way);
        }
    expect_nobody();
    return 0;
}
