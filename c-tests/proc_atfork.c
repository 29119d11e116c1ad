/* Handlers of pthread_atfork that use PGM sockets, registered before the first of them: nothing of the library is held. */
#include "check.h"
#include <pthread.h>

enum { FORKS = 3, LONG = 100000 };

static int tx = -1, opened;
static char message[LONG];

/* More than fits anywhere: the library's thread must work meanwhile. */
static void send_much(void)
{
    if (tx >= 0)
        for (int i = 0; i < 20; i++)
            EQUAL(send(tx, message, LONG, 0), LONG);
}

static void prepare(void)
{
    send_much();
    if (tx >= 0) {
        int fd = (int)OK(socket(AF_INET, SOCK_RDM, protocol()));
        OK(close(fd));
        opened++;
    }
}

static void parent(void)
{
    send_much();
}

static void in_child(void)
{
    if (tx >= 0)
        EQUAL(send(tx, "child", 5, 0), 5);
}

int main(void)
{
    static char buffer[LONG];
    int other[2];

    begin(50);
    EQUAL(pthread_atfork(prepare, parent, in_child), 0);
    OK(pipe(other));
    pid_t pid = (pid_t)OK(fork());
    if (pid == 0) {
        /* The receiver. */
        int rx = listener(0), all = 0, children = 0;
        ssize_t n;
        begin(45);
        tell(other[1]);
        int fd = session(rx);
        while ((n = OK(recv(fd, buffer, sizeof(buffer), 0))) > 0) {
            all += n == LONG;
            children += n == 5;
        }
        EQUAL(children, FORKS);
        EQUAL(all, FORKS * 40);
        exit(0);
    }
    hear(other[0]);
    tx = sender(0);
    for (int i = 0; i < FORKS; i++) {
        pid_t forked = (pid_t)OK(fork());
        if (forked == 0)
            _exit(0);
        CHILD_PASSED(forked);
    }
    EQUAL(opened, FORKS);
    OK(close(tx));
    CHILD_PASSED(pid);
    return 0;
}
