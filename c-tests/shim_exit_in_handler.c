/* A signal handler that calls _exit, whatever it has interrupted: the process ends, and soon. */
#include "check.h"

enum { CHILDREN = 12 };

static void leave(int signal)
{
    (void)signal;
    _exit(7);
}

static void busy(int ready_fd)
{
    struct pgm_sender_stats stats;
    socklen_t len;
    int fd = sender(0);

    signal(SIGUSR1, leave);
    for (int i = 0; i < 50; i++)
        send_text(fd, "to be repaired");
    tell(ready_fd);
    for (;;) {
        free(malloc(200000));
        len = sizeof(stats);
        OK(getsockopt(fd, IPPROTO_PGM, RM_SENDER_STATISTICS, &stats, &len));
        send(fd, "more", 4, MSG_DONTWAIT);
    }
}

int main(void)
{
    pid_t pids[CHILDREN];
    int ends[2], status;

    begin(60);
    setenv("PGM_LINGER", "300", 1);
    OK(pipe(ends));
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = (pid_t)OK(fork());
        if (pids[i] == 0) {
            begin(50);
            busy(ends[1]);
        }
    }
    for (int i = 0; i < CHILDREN; i++)
        hear(ends[0]);
    long long start = now_ms();
    for (int i = 0; i < CHILDREN; i++) {
        sleep_ms(3 * i);
        OK(kill(pids[i], SIGUSR1));
    }
    for (int i = 0; i < CHILDREN; i++) {
        EQUAL(waitpid(pids[i], &status, 0), pids[i]);
        CHECK(WIFEXITED(status));
        EQUAL(WEXITSTATUS(status), 7);
    }
    CHECK(now_ms() - start < 15000);
    return 0;
}
